"""Training with conditions that are sometimes hidden, so that one network learns both laws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from scidiff.core import Process, Rng, uniform


class ConditionalNetwork(Protocol):
    """What conditional training and sampling ask of a network."""

    def given(self, condition: Tensor, shown: Tensor) -> Any:
        """The network for rows with conditions (B, C), hidden where not `shown` (B,) bool: it has
        the passes that the process inside asks for, on exactly these rows."""
        ...

    def log_probs(self, trunk: Tensor) -> Tensor:
        """Of tokens: normalised log-probabilities (..., V) of trunk (..., D), MASK = -inf."""
        ...


@dataclass(frozen=True)
class ConditionalProcess:
    """Any process on rows that hold a condition (B, C), each hidden with probability `dropout`
    (Ho and Salimans 2022, arXiv 2207.12598, algorithm 1)."""

    inner: Process[Any]
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout must be in [0, 1], got {self.dropout}")

    @property
    def whole(self) -> ConditionalProcess:
        """With the process inside at every noise level, where training looks at some alone."""
        return replace(self, inner=getattr(self.inner, "whole", self.inner))

    def noise(self, x0: Any, t: Tensor, rng: Rng) -> Any:
        """Noise the rows; conditions stay clean."""
        return replace(self.inner.noise(x0, t, rng), condition=x0.condition)

    def loss(self, network: ConditionalNetwork, x0: Any, rng: Rng) -> Tensor:
        """Unreduced loss (B,) of the process inside."""
        if x0.condition is None:
            raise ValueError("conditional training needs rows with a condition (B, C), got none")
        shown = uniform((len(x0),), rng).to(x0.condition.device) >= self.dropout
        return self.inner.loss(network.given(x0.condition, shown), x0, rng)
