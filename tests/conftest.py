"""Fixtures shared by the whole suite."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Run a test on the CPU, and once more on a GPU where there is one (`-m gpu` runs only
    that)."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device: this half of the test needs one")
    return request.param


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
