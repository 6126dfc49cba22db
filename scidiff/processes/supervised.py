"""Prediction as a process without noise, so that predictors train in the one training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from scidiff.core import Rng, Stacked

Task = Literal["classes", "number"]


@dataclass(frozen=True)
class LabelledRows(Stacked):
    """Rows of letters and what is to be predicted of them."""

    letters: Tensor  # (B, L) int64, -1 behind the end
    target: Tensor  # (B,) int64 class, or (B, C) float32


@dataclass(frozen=True)
class Supervised:
    """Cross-entropy of classes in nats, or half the squared error of numbers, summed."""

    task: Task

    def noise(self, x0: LabelledRows, t: Tensor, rng: Rng) -> LabelledRows:
        """The rows as they are."""
        return x0

    def loss(self, network: Callable[[Tensor], Tensor], x0: LabelledRows, rng: Rng) -> Tensor:
        """Unreduced loss (B,)."""
        found = network(x0.letters)
        if self.task == "classes":
            return F.cross_entropy(found, x0.target, reduction="none")
        return (found - x0.target).square().sum(1) / 2

