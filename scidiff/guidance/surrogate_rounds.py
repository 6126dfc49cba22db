"""Rounds that learn a dear reward from the campaign's own pool: a surrogate, fitted again before
every round, scores on the way, or says which of many candidates are worth asking about.

A surrogate is a function of the pool alone, so neither strategy has anything to save.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from scidiff.core import Rng, Sampler, Select, normal
from scidiff.guidance.campaign import Round
from scidiff.guidance.certificate import Guided, Meter, found
from scidiff.guidance.lookahead import Decoded, PosteriorMean, Value, end_values
from scidiff.guidance.particles import guided_sample, positive, sample
from scidiff.guidance.selection import keep_all, nested
from scidiff.guidance.spreading import Spread
from scidiff.samplers.strided import StridedSampler


class Model(Protocol):
    """A reward that can be learned, as `rewards.surrogates.Surrogate` is. Objects are the domain's
    own or their texts, as users write them."""

    @property
    def noise(self) -> float:
        """Variance of an answer about the value, above 0."""
        ...

    def fit(self, objects: Sequence[Any], values: Sequence[float]) -> Any:
        """Forget what was known and learn these."""
        ...

    def joint(self, objects: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Mean (B,) and covariance (B, B) of the values."""
        ...

    def __call__(self, objects: Sequence[Any]) -> Sequence[float]: ...


@dataclass(frozen=True)
class Taught:
    """A surrogate that learns the pool, once it holds `least` scored objects."""

    surrogate: Model
    least: int

    def learn(self, here: Round) -> bool:
        """Fit the surrogate to all scored objects of the pool, in the order asked; False where
        there are too few."""
        rows = sorted(here.pool.best())
        if len(rows) < self.least:
            return False
        texts, values = here.pool.texts, here.pool.values
        self.surrogate.fit([texts[row] for row in rows], [values[row] for row in rows])
        return True


class Forgetful:
    """The part of a strategy whose rounds follow from the pool alone."""

    rounds: int | None = None

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing was learned that the pool does not hold."""


LookAhead = Callable[..., Value]
"""look(sampler, reward, strength=...) -> value: `PosteriorMean`, or `Rollout` for what is written
from left to right."""


class Finished:
    """A sampler with one more step, in which nothing happens: finished candidates are compared by
    the value before the reward sees the one that was chosen. The law is that of `inner`."""

    def __init__(self, inner: Sampler[Any]) -> None:
        self.inner, self.stochastic = inner, inner.stochastic
        self.num_steps = inner.num_steps + 1
        self.denoiser = getattr(inner, "denoiser", None)

    def init(self, n: int, rng: Rng) -> Any:
        return self.inner.init(n, rng)

    def step(self, x: Any, k: int | Tensor, rng: Rng) -> Any:
        if not isinstance(k, int):
            raise ValueError("the empty step is one for all rows: k must be a number")
        if k < self.inner.num_steps:
            return self.inner.step(x, k, rng)
        return x if getattr(x, "log_ratio", None) is None else replace(x, log_ratio=None)

    def predict_clean(self, x: Any, k: int | Tensor, rng: Rng) -> Any:
        if isinstance(k, int):
            k = min(k, self.inner.num_steps)
        return self.inner.predict_clean(x, k, rng)


@dataclass
class SurrogateValued(Forgetful):
    """Weighted draws from p exp(strength r) whose look-aheads ask the surrogate, and whose
    finished objects ask the reward: one question each.

    Scores telescope, so that E[mean(exp(log_w) f)] = E_p[exp(strength r) f] in every round, given
    all rounds before, whatever the surrogate says; a good one makes the weights even. The first
    rounds, until `least` objects have a score, draw plainly.

    `batch` finished particles a round are populations of `particles`, each with `branch`
    candidates at `looks` steps, the last time when they are finished; `stretch` steps of the
    sampler make one where it is given (typical rows end before num_steps). A round that met no new
    object ends the campaign.
    """

    surrogate: Model
    look: LookAhead = PosteriorMean
    batch: int | None = 256
    particles: int = 16
    branch: int = 4
    looks: int = 4
    stretch: int | None = None
    select: Select = field(default_factory=nested)
    least: int = 32

    def __post_init__(self) -> None:
        for name in ("particles", "branch", "looks", "least"):
            positive(name, getattr(self, name))
        self._taught = Taught(self.surrogate, self.least)

    def round(self, here: Round) -> Guided | None:
        n = _asked(here, self.batch)
        K = min(self.particles, n)
        before = here.reward.asked
        if self._taught.learn(here):
            run = self._valued(here, n // K * K, n // K)
        else:
            run = guided_sample(here.sampler, here.reward, n // K * K, here.rng, select=keep_all,
                                strength=here.strength, every=here.sampler.num_steps,
                                populations=n // K)
        return run if here.reward.asked > before else None

    def _valued(self, here: Round, n: int, populations: int) -> Guided:
        stretch = self.stretch or math.ceil(here.sampler.num_steps / self.looks)
        sampler = Finished(StridedSampler(here.sampler, stretch))
        guess = Decoded(here.reward.domain, self.surrogate)
        rule = self.select
        with guess.telling(rule.hear) if isinstance(rule, Spread) else nullcontext():
            return guided_sample(
                sampler, here.reward, n, here.rng, select=rule, strength=here.strength,
                value=self.look(sampler, guess, strength=here.strength), branch=self.branch,
                populations=populations,
            )


# ---------------------------------------------------------------- screening

Choice = Callable[[Tensor, Tensor, float, int, torch.Generator], list[int]]
"""choose(mean (M,), covariance (M, M), noise, n, rng) -> n different rows, the first one first."""


@dataclass(frozen=True)
class Bounds:
    """Take the largest mean + kappa sd, one by one, each time with the sd that is left once the
    rows taken have been answered (GP-BUCB, Desautels et al. 2014, JMLR 15, 4053): what is like a
    row taken is no longer unsure, so a batch spreads out. kappa = 0 takes the best means."""

    kappa: float = 1.0

    def __call__(self, mean: Tensor, covariance: Tensor, noise: float, n: int,
                 rng: torch.Generator) -> list[int]:
        left = covariance.diagonal().clone()
        learned = covariance.new_zeros(len(mean), n)  # columns of a pivoted Cholesky factor
        open_, rows = torch.ones(len(mean), dtype=torch.bool), []
        for i in range(n):
            worth = mean + self.kappa * left.clamp_min(0).sqrt()  # rounding below 0
            j = int(worth.masked_fill(~open_, -math.inf).argmax())
            column = covariance[:, j] - learned[:, :i] @ learned[j, :i]
            learned[:, i] = column / (column[j] + noise).sqrt()
            left = left - learned[:, i].square()
            open_[j] = False
            rows.append(j)
        return rows


@dataclass(frozen=True)
class Thompson:
    """Take the best row of one joint draw of all values for each of the n (Kandasamy et al. 2018,
    arXiv 1705.09236); a row that is taken leaves the later draws."""

    def __call__(self, mean: Tensor, covariance: Tensor, noise: float, n: int,
                 rng: torch.Generator) -> list[int]:
        size, vectors = torch.linalg.eigh(covariance)
        root = vectors * size.clamp_min(0).sqrt()  # rounding below 0
        draws = mean[:, None] + root @ normal((len(mean), n), rng).to(root)
        rows: list[int] = []
        for i in range(n):
            rows.append(int(draws[:, i].argmax()))
            draws[rows[-1]] = -math.inf
        return rows


@dataclass
class Screened(Forgetful):
    """A search: draw `candidates` objects for each question, ask about those that the surrogate
    chooses. Until `least` objects have a score it asks about what the model draws.

    Candidates that are invalid, known or met twice are left out. A round without a new one ends
    the campaign. Improper: its rows have no weights.
    """

    surrogate: Model
    choose: Choice = field(default_factory=Bounds)
    batch: int | None = 64
    candidates: int = 8
    least: int = 32

    def __post_init__(self) -> None:
        for name in ("candidates", "least"):
            positive(name, getattr(self, name))
        self._taught = Taught(self.surrogate, self.least)

    def round(self, here: Round) -> Guided | None:
        n, learned = _asked(here, self.batch), self._taught.learn(here)
        meter = Meter(here.sampler, here.reward, None)
        x = sample(here.sampler, n * self.candidates if learned else n, here.rng)
        rows, objects = _unknown(here, x)
        if len(rows) > n:
            mean, covariance = self.surrogate.joint(objects)
            chosen = self.choose(mean, covariance, self.surrogate.noise, n, here.rng)
            rows = [rows[j] for j in chosen]
        if not rows:
            return None
        index = torch.tensor(rows, device=here.rng.device)
        values = end_values(here.reward, x[index])
        return found(x[index], values, torch.arange(len(rows), device=here.rng.device), 1,
                     meter.ledger(len(rows)))


def _unknown(here: Round, x: Any) -> tuple[list[int], list[Any]]:
    """Rows of valid objects that nobody has asked about, each object once."""
    seen = set(here.pool.keys)
    rows, objects = [], []
    for row, record in enumerate(here.reward.domain.decode(x)):
        key = here.reward.scorer.key(record) if record.valid else None
        if key is not None and key not in seen:
            seen.add(key)
            rows.append(row)
            objects.append(record.obj)
    return rows, objects


def _asked(here: Round, batch: int | None) -> int:
    """How many finished objects a round makes."""
    return here.calls if batch is None else min(here.calls, batch)
