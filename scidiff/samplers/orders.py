"""Which hidden position is written next, and which token is drawn there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from scidiff.core import Rng, uniform

NEVER = float("-inf")  # the key of a position that must not be chosen


def race(log_p: Tensor, rng: Rng, temperature: float = 1.0) -> Tensor:
    """Draw a token per row of `log_p` (..., V): argmax of log p / temperature - log E, E ~ Exp(1).

    The smallest of independent Exp(p_i) clocks rings first with probability p_i. E = -log1p(-u)
    keeps u's whole 2^-24 resolution at small E, where rare tokens win, so float32 is right to 6e-8
    in every probability; the usual -log(u) is coarse exactly there and lowers the temperature
    (Zheng et al. 2024, arXiv 2409.02908, section 4). Temperature 0 is argmax.
    """
    if temperature == 0:
        return log_p.argmax(-1)
    clock = torch.log(-torch.log1p(-uniform(log_p.shape, rng)))
    # a token without probability never wins, even where u = 0 makes its clock ring at once
    return torch.where(log_p == NEVER, NEVER, log_p / temperature - clock).argmax(-1)


class Order(Protocol):
    """Ranks positions: the ones with the largest keys are written next."""

    stochastic: bool

    def __call__(self, shape: torch.Size, log_probs: Callable[[], Tensor], rng: Rng) -> Tensor:
        """Keys of `shape` (B, L), all above -inf; `log_probs()` evaluates the head everywhere, (B,
        L, V)."""
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
