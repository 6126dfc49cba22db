"""Which hidden position is written next, and which token is drawn there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.data.tokens import TokenState
from scidiff.samplers.predictions import known

NEVER = float("-inf")  # the key of a position that must not be chosen


def clocks(u: Tensor) -> Tensor:
    """Turn uniforms u (on torch's float32 grid of 2^-24) into Exp(1) clocks E = -log1p(-u).

    u stands for its whole cell, so its middle is used: cut to one side, as in -log(u), a token of
    probability p is off by 2^-25 / p relative to p, which over many races lowers the temperature
    (Zheng et al. 2024, arXiv 2409.02908, section 4); from the middle it is off by 2^-48 / (24
    p^2).
    """
    return -torch.log1p(-(u + 2**-25).clamp(max=1 - 2**-24))


def race(log_p: Tensor, rng: Rng, temperature: float = 1.0) -> Tensor:
    """Draw a token per row of `log_p` (..., V): argmax of log p / temperature - log E, E ~ Exp(1).

    The smallest of independent Exp(p_i) clocks rings first with probability p_i, and p need not be
    normalised. Temperature 0 is argmax.
    """
    if temperature == 0:
        return log_p.argmax(-1)
    return (log_p / temperature - clocks(uniform(log_p.shape, rng)).log()).argmax(-1)


def nucleus(log_p: Tensor, top_p: float) -> Tensor:
    """Exclude what lies outside the smallest set of likeliest tokens that holds `top_p` (Holtzman
    et al. 2020, arXiv 1904.09751): token i of probability p_i stays where the likelier ones sum to
    less than top_p, so the likeliest always does.

    log_p (..., V) float32 or wider need not be normalised, nor is what comes back: -inf is
    written, nothing else changes.
    """
    ranked = log_p.softmax(-1).sort(dim=-1, descending=True)
    before = ranked.values.cumsum(-1) - ranked.values
    outside = torch.zeros_like(before, dtype=torch.bool)
    outside = outside.scatter(-1, ranked.indices, before >= top_p)
    return log_p.masked_fill(outside, NEVER)


@dataclass(frozen=True)
class Draw:
    """How a token is drawn from a prediction p: from p^(1 / temperature), and of that from the
    nucleus `top_p`. Temperature 0 takes the likeliest. Anything but 1 and 1 changes the law on
    purpose."""

    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ValueError(
                f"temperature must be finite and not negative, got {self.temperature}"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")

    def law(self, log_p: Tensor) -> Tensor:
        """What is raced over, (..., V) in float32 or wider, not normalised; at temperature 0 the
        prediction itself."""
        log_p = log_p.to(torch.promote_types(log_p.dtype, torch.float32))
        if self.temperature not in (0, 1):
            log_p = log_p / self.temperature
        return nucleus(log_p, self.top_p) if self.top_p < 1 and self.temperature else log_p

    def __call__(self, log_p: Tensor, rng: Rng) -> Tensor:
        """Draw tokens (...) from log_p (..., V)."""
        return race(self.law(log_p), rng, 1.0 if self.temperature else 0.0)


@dataclass(frozen=True)
class Place:
    """Where rows stand when the next positions are chosen."""

    x: TokenState
    hidden: Tensor  # (B, L) bool
    log_probs: Callable[[], Tensor]  # () -> (B, L, V) of the stored prediction; runs the head

    def progress(self) -> Tensor:
        """Share of what a row generates that is written, (B, 1)."""
        return 1 - self.hidden.sum(1, keepdim=True) / known(self.x).sum(1, keepdim=True)


class Order(Protocol):
    """Ranks positions: the ones with the largest keys are written next."""

    @property
    def stochastic(self) -> bool:
        """Whether the keys are drawn."""
        ...

    def __call__(self, place: Place, rng: Rng) -> Tensor:
        """Keys (B, L), all above -inf; those of positions that hide nothing are not read."""
        ...


class Random:
    """Uniformly random order, exact for a time-agnostic network (first hitting)."""

    stochastic = True

    def __call__(self, place: Place, rng: Rng) -> Tensor:
        return uniform(place.x.ids.shape, rng)


class Sequential:
    """From left to right: one fixed order, so exact for any network whose conditionals agree.

    Inside a block of a left-to-right network it is the order with the fewest mistakes.
    """

    stochastic = False

    def __call__(self, place: Place, rng: Rng) -> Tensor:
        ids = place.x.ids
        return -torch.arange(float(ids.shape[1]), device=ids.device).expand(ids.shape)


class Confidence:
    """Largest max-probability first, key log max p (MaskGIT, Chang et al. 2022).

    Like every order that reads the prediction it is biased by design: with an inexact network the
    law depends on the order, and this one prefers likely rows.
    """

    stochastic = False

    def __call__(self, place: Place, rng: Rng) -> Tensor:
        return place.log_probs().amax(-1)


class Margin:
    """Largest gap between the two likeliest tokens first, key p_1 - p_2 (Kim et al. 2025, arXiv
    2502.06768): less misled than `Confidence` where two tokens compete."""

    stochastic = False

    def __call__(self, place: Place, rng: Rng) -> Tensor:
        best = place.log_probs().topk(2, dim=-1).values.exp()
        return best[..., 0] - best[..., 1]


class Entropy:
    """Lowest entropy first, key -H(p) in nats."""

    stochastic = False

    def __call__(self, place: Place, rng: Rng) -> Tensor:
        return -entropy(place.log_probs())


@dataclass(frozen=True)
class Planner:
    """Largest score first, `score` mapping states to (B, L): any network that judges positions."""

    score: Callable[[TokenState], Tensor]
    stochastic: bool = False

    def __call__(self, place: Place, rng: Rng) -> Tensor:
        return self.score(place.x)


@dataclass(frozen=True)
class Noisy:
    """Another order, its keys disturbed by randomness (1 - progress) Gumbel noise, progress being
    the share of the row that is written (MaskGIT; GenMol, Lee et al. 2025, arXiv 2501.06158): more
    random at first, then more and more its own."""

    order: Order
    randomness: float
    stochastic: bool = True

    def __post_init__(self) -> None:
        if not (self.randomness > 0 and math.isfinite(self.randomness)):
            raise ValueError(f"randomness must be finite and positive, got {self.randomness}")

    def __call__(self, place: Place, rng: Rng) -> Tensor:
        keys = self.order(place, rng)
        gumbel = -clocks(uniform(keys.shape, rng)).log()
        return keys + self.randomness * (1 - place.progress()) * gumbel


def entropy(log_p: Tensor) -> Tensor:
    """-sum_v p log p (...) of normalised log_p (..., V), in nats."""
    return torch.special.entr(log_p.exp()).sum(-1)
