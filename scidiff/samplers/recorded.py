"""A sampler that keeps what it passes through, for pictures of a chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from torch import Tensor

from scidiff.core import Rng, Sampler

X = TypeVar("X", bound=Any)


class RecordedSampler(Generic[X]):
    """The same chain, draw for draw; `seen` holds look(x, k) of the start, k = 0, and of the place
    after every step.

    `look` should copy what it wants to keep: a state holds the network's output too.
    """

    def __init__(self, inner: Sampler[X], look: Callable[[X, int], Any]) -> None:
        self.inner, self.look = inner, look
        self.num_steps, self.stochastic = inner.num_steps, inner.stochastic
        self.seen: list[Any] = []

    def init(self, n: int, rng: Rng) -> X:
        """Draw n particles from the prior, and forget what was seen before."""
        x = self.inner.init(n, rng)
        self.seen = [self.look(x, 0)]
        return x

    def step(self, x: X, k: int | Tensor, rng: Rng) -> X:
        """The step k -> k + 1 of the sampler inside."""
        x = self.inner.step(x, k, rng)
        self.seen.append(self.look(x, len(self.seen)))
        return x

    def predict_clean(self, x: X, k: int | Tensor, rng: Rng) -> X:
        """The guess of the sampler inside."""
        return self.inner.predict_clean(x, k, rng)
