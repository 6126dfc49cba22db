"""The public functions: load, sample, design, evaluate, train, reward."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scidiff.model import Model, model_folder

if TYPE_CHECKING:
    from scidiff.results import SampleResult


def load(name: str | Path, *, device: str | None = None, dtype: str = "float32") -> Model:
    """Load a model: a shipped name, a model directory, or hf://owner/name.

    `device` defaults to CUDA where there is one; `dtype` "bfloat16" runs the network's trunk in
    bf16, heads and sampling stay in float32. No pickle is ever read.
    """
    return Model(model_folder(name), device=device, dtype=dtype)


def sample(model: Model | str | Path, n: int, seed: int = 0, **settings: Any) -> SampleResult:
    """Draw n objects from a model or the name of one; see Model.sample."""
    return (model if isinstance(model, Model) else load(model)).sample(n, seed, **settings)
