"""What rows are asked to be like, as a network reads it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scidiff.data.conditions import Asked, Conditions, unheard

_log = logging.getLogger("scidiff")


def asked_rows(
    config: Mapping[str, Any], asked: Asked | None, n: int, device: torch.device
) -> Tensor | None:
    """The conditions (n, C) of n rows of the model of `config`, None where nothing is asked.
    Raises ValueError for a model that takes none; a number that no training row came near is said
    in the log."""
    if asked is None:
        return None
    if not config.get("conditions"):
        raise ValueError(
            f"this model takes no condition, got {dict(asked)}; expected a model whose recipe has "
            "[data] condition"
        )
    known = Conditions.of_config(config["conditions"])
    rows = known.encode(asked, n)
    if beyond := unheard(known, asked):
        _log.warning("%s", beyond)
    return torch.from_numpy(rows).to(device)
