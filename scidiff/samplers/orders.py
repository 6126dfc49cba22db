"""Which hidden position is written next, and which token is drawn there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from scidiff.core import Rng, uniform

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


class Order(Protocol):
    """Ranks positions: the ones with the largest keys are written next."""

    stochastic: bool

    def __call__(self, shape: torch.Size, log_probs: Callable[[], Tensor], rng: Rng) -> Tensor:
        """Keys of `shape` (B, L), all above -inf; `log_probs()` (B, L, V) runs the whole head."""
        ...


class Random:
    """Uniformly random order, exact for a time-agnostic network (first hitting)."""

    stochastic = True

    def __call__(self, shape: torch.Size, log_probs: Callable[[], Tensor], rng: Rng) -> Tensor:
        return uniform(shape, rng)


class Confidence:
    """Largest max-probability first (MaskGIT, Chang et al. 2022).

    Biased by design: the law drawn from is not the joint law of the network's conditionals.
    """

    stochastic = False

    def __call__(self, shape: torch.Size, log_probs: Callable[[], Tensor], rng: Rng) -> Tensor:
        return log_probs().amax(-1)


class Sequential:
    """From left to right: one fixed order, so exact for any network whose conditionals agree.

    Inside a block of a left-to-right network it is the order with the fewest mistakes.
    """

    stochastic = False

    def __call__(self, shape: torch.Size, log_probs: Callable[[], Tensor], rng: Rng) -> Tensor:
        return -torch.arange(float(shape[1]), device=rng.device).expand(shape)
