"""Solvers whose rows read something else than the stored guesses: a rule rewrites them before each
row."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from torch import Tensor

from scidiff.core import Rng
from scidiff.processes.gaussian import Continuous, Parts
from scidiff.samplers.gaussian import GaussianSampler

X = TypeVar("X", bound=Continuous)

Guesses = tuple[Parts, ...]


class Rule(Protocol):
    """What a row reads in place of the network's guesses.

    `x.guesses` holds the network's guess here, then what earlier rows read, as many in all as the
    rows are wide, then whatever the rule wants to remember. Both methods return such a tuple.
    """

    def begin(self, sampler: GaussianSampler[X], x: X, k: int) -> Guesses:
        """For particles without a past at node k, who hold the guess of this place over and
        over."""
        ...

    def __call__(self, sampler: GaussianSampler[X], x: X, k: int | Tensor) -> Guesses:
        """For the row that leads from node k."""
        ...


class Rewritten(Generic[X]):
    """Wrap a GaussianSampler: before each row `rule` rewrites the guesses that the row reads. What
    a rule remembers rides at the end of the state's guesses; no evaluation is added."""

    def __init__(self, sampler: GaussianSampler[X], rule: Rule) -> None:
        self.sampler, self.rule, self.denoiser = sampler, rule, sampler.denoiser
        self.num_steps, self.stochastic = sampler.num_steps, sampler.stochastic

    @property
    def evaluations(self) -> int:
        """Network calls of a whole run."""
        return self.sampler.evaluations

    def init(self, n: int, rng: Rng) -> X:
        """Draw n particles from the prior."""
        return self._begin(self.sampler.init(n, rng), 0)

    def step(self, x: X, k: int | Tensor, rng: Rng) -> X:
        """Rewrite, then the wrapped step."""
        width, guesses = self.sampler.history, self.rule(self.sampler, x, k)
        y = self.sampler.step(x.moved(x.parts, guesses[:width]), k, rng)
        return y.moved(y.parts, (*y.guesses, *guesses[width:]))

    def predict_clean(self, x: X, k: int | Tensor, rng: Rng) -> X:
        """Put the particles on the network's guess; at k = num_steps return x."""
        return self.sampler.predict_clean(x, k, rng)

    def renoise(self, clean: X, k: int, rng: Rng) -> X:
        """Draw x_k given clean parts and evaluate the network there."""
        if k == self.num_steps:
            return clean
        return self._begin(self.sampler.renoise(clean, k, rng), k)

    def _begin(self, x: X, k: int) -> X:
        return x.moved(x.parts, self.rule.begin(self.sampler, x, k))
