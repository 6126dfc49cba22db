"""What rows are asked to be like, as a network reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scidiff.data.conditions import Asked, Conditions


def asked_rows(
    config: Mapping[str, Any], asked: Asked | None, n: int, device: torch.device
) -> Tensor | None:
    """The conditions (n, C) of n rows of the model of `config`, None where nothing is asked.
    Raises ValueError for a model that takes none."""
    if asked is None:
        return None
    if not config.get("conditions"):
        raise ValueError(f"this model takes no condition, got {dict(asked)}")
    rows = Conditions.of_config(config["conditions"]).encode(asked, n)
    return torch.from_numpy(rows).to(device)
