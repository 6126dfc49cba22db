"""Fixtures shared by the whole suite."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with development data that does not ship; tests that need it are skipped where it is
    unset."""
    folder = os.environ.get("SCIDIFF_DATA")
    if not folder:
        pytest.skip("SCIDIFF_DATA is not set: this needs development data that does not ship")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a masked model with random weights; see tests/tiny_models.py for others."""
    from tiny_models import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
