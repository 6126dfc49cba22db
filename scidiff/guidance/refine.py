"""Refinement: renoise finished rows, denoise them again, keep what got better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scidiff.core import Renoisable, Rng, ScidiffError, Select, uniform
from scidiff.guidance.certificate import Guided, Meter, found
from scidiff.guidance.lookahead import Reward, Sight, Value
from scidiff.guidance.particles import guided_sample, positive, sample
from scidiff.guidance.selection import per_parent

# ---------------------------------------------------------------- from finished rows on


def check_goes_back(sampler: Any) -> None:
    """Raise ScidiffError for a sampler that cannot take rows back to an earlier step, or that is
    made around one."""
    while hasattr(sampler, "inner"):
        sampler = sampler.inner
    if not isinstance(sampler, Renoisable):
        raise ScidiffError(
            f"{type(sampler).__name__} cannot take rows back to an earlier step (it has no "
            "renoise), which refinement, evolution and paths ask for: use a method that draws "
            "forward, like smc, svdd or best-of-n"
        )


class Restarted:
    """The chain of `inner` from step `first` on, started at renoised rows `clean` instead of the
    prior: a sampler like any other, so whatever steers samplers improves finished rows.

    n particles are n / len(clean) copies of every row, each with noise of its own, side by side.
    """

    def __init__(self, inner: Renoisable[Any], clean: Any, first: int) -> None:
        check_goes_back(inner)
        if not 0 <= first < inner.num_steps:
            raise ValueError(
                f"the chain has steps 0 .. {inner.num_steps - 1} to start at, got {first}"
            )
        self.inner, self.clean, self.first = inner, clean, first
        self.num_steps, self.stochastic = inner.num_steps - first, inner.stochastic
        self.denoiser = getattr(inner, "denoiser", None)

    def init(self, n: int, rng: Rng) -> Any:
        copies, rest = divmod(n, len(self.clean))
        if rest:
            raise ValueError(f"n must be a multiple of the {len(self.clean)} rows, got {n}")
        rows = torch.arange(len(self.clean), device=rng.device).repeat_interleave(copies)
        return self.inner.renoise(self.clean[rows], self.first, rng)

    def step(self, x: Any, k: int | Tensor, rng: Rng) -> Any:
        return self.inner.step(x, k + self.first, rng)

    def predict_clean(self, x: Any, k: int | Tensor, rng: Rng) -> Any:
        return self.inner.predict_clean(x, k + self.first, rng)

    def renoise(self, clean: Any, k: int, rng: Rng) -> Any:
        return self.inner.renoise(clean, k + self.first, rng)


@dataclass(frozen=True)
class Improve:
    """How a renoised row becomes an offspring: plainly denoised, or, with `particles` or `branch`
    above 1, drawn by weight from a guided population of its own (`guided_sample`)."""

    select: Select = per_parent
    particles: int = 1
    branch: int = 1
    strength: float = 1.0
    every: int = 1

    def __post_init__(self) -> None:
        for name in ("particles", "branch", "every"):
            positive(name, getattr(self, name))
        if not self.strength > 0:
            raise ValueError(f"strength must be positive, got {self.strength}")

    @property
    def plain(self) -> bool:
        return self.particles * self.branch == 1

    def __call__(self, sampler: Restarted, see: Sight, rng: torch.Generator) -> tuple[Any, Tensor]:
        """One offspring of every row, and its value (B,), -inf where none is known."""
        n = len(sampler.clean)
        if self.plain:
            x = sample(sampler, n, rng)
            return x, see.end(x)
        run = guided_sample(
            sampler, see.reward, n * self.particles, rng,
            select=self.select, branch=self.branch, strength=self.strength, every=self.every,
            value=lambda x, k, rng: see.value(x, k + sampler.first, rng), populations=n,
        )  # fmt: skip
        see.finished += n * self.particles * self.branch
        rows = run.draw(rng)
        values = (run.scores / self.strength).masked_fill(~run.scored, -torch.inf)
        return run.x[rows], values[rows]


# ---------------------------------------------------------------- what is kept

Accept = Callable[[Tensor, Tensor, Rng], Tensor]
"""accept(old values (B,), new values (B,), rng) -> (B,) bool, True where the new row is kept."""


def better(old: Tensor, new: Tensor, rng: Rng) -> Tensor:
    """Keep what is better than before: the value of a row never falls."""
    return new > old


@dataclass(frozen=True)
class Metropolis:
    """Keep the new row with probability min(1, exp(strength (new - old))).

    Renoising and denoising again is a draw that is reversible under the law p of an exact sampler
    (Gibbs over clean and noisy row), so plain refinement by this rule leaves p exp(strength r)
    unchanged: Metropolis and Hastings with the model as its proposal.
    """

    strength: float

    def __call__(self, old: Tensor, new: Tensor, rng: Rng) -> Tensor:
        gain = self.strength * (new - old)
        return uniform(old.shape, rng).to(gain).log() < gain


@torch.no_grad()
def refine(
    sampler: Renoisable[Any],
    reward: Reward,
    x: Any,
    rng: torch.Generator,
    *,
    rounds: int,
    back: int | Sequence[int],
    accept: Accept = better,
    improve: Improve | None = None,
    value: Value | None = None,
) -> Guided:
    """Refine finished rows `x`: in each round undo the last `back` steps of every row, denoise it
    again and keep what `accept` says (renoise, improve, select: Uehara et al. 2025, arXiv
    2502.14944). `back` may be a sequence that the rounds go through, over and over.

    Rows never see each other. With `Metropolis` and plain offspring an exact sampler is a Markov
    chain that keeps the tilted law; guided offspring with it are refused, for they would not.
    """
    improve = improve or Improve()
    if isinstance(accept, Metropolis) and not improve.plain:
        raise ValueError(
            "Metropolis weighs draws of the sampler itself: leave out improve, or accept=better"
        )
    lengths = (back,) if isinstance(back, int) else tuple(back)
    see = Sight(sampler, reward, value)
    meter, rows = Meter(sampler, reward, see.value), torch.arange(len(x), device=rng.device)
    values = see.end(x)
    for i in range(rounds):
        first = sampler.num_steps - lengths[i % len(lengths)]
        fresh, told = improve(Restarted(sampler, x, first), see, rng)
        kept = accept(values, told, rng)
        x = type(x).cat([x, fresh])[torch.where(kept, rows + len(rows), rows)]
        values = torch.where(kept, told, values)
    return found(x, values, rows, len(rows), meter.ledger(see.finished))
