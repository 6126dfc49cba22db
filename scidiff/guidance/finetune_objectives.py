"""What fine-tuning on scored objects makes small: a loss (B,) of log p under the network, log p
under the reference and values r, all (B,).

    target   p*(x) proportional to p_ref(x) exp(strength r(x)), the law that guidance draws from

Each is least, or stands still, where the network draws from the target: the last on rows of its
own, the others over rows that cover the space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Objective(Protocol):
    """A loss of a group of scored rows."""

    def __call__(self, log_p: Tensor, log_ref: Tensor, values: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Augmented:
    """(log p_ref + strength r - log p)^2, the augmented likelihood of REINVENT (Olivecrona et al.
    2017, arXiv 1704.07555): on rows that the network itself drew, its gradient is that of
    E[strength r] - KL(p || p_ref), twice.

    `centred` takes the batch's mean off the residual first: the log-variance loss (Richter et al.
    2020, arXiv 2010.10436), least at the target whatever rows are given, because the residual is
    log Z there. Without it all rows that score are made likelier at once, which finds high scores
    sooner and never stops. `best` below 1 counts only that share of the rows, by value (augmented
    hill-climb, Thomas et al. 2022, doi 10.1186/s13321-022-00646-z).
    """

    strength: float
    centred: bool = False
    best: float = 1.0

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if not 0 < self.best <= 1:
            raise ValueError(f"best must be a share in (0, 1], got {self.best}")

    def __call__(self, log_p: Tensor, log_ref: Tensor, values: Tensor) -> Tensor:
        gap = log_ref + self.strength * values - log_p
        counted = best_rows(values, self.best)
        if self.centred:
            gap = gap - gap[counted].mean()
        return torch.where(counted, gap.square(), 0.0)


@dataclass(frozen=True)
class Grouped:
    """Cross-entropy between softmax(strength r) and softmax(beta (log p - log p_ref)) over the
    group, times its size: offline group-level reward optimisation (GDRO, arXiv 2601.02036; its
    twin on tokens is SDPO). It is least where log p - log p_ref = strength r / beta + const.
    """

    strength: float
    beta: float = 1.0

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if not self.beta > 0:
            raise ValueError(f"beta must be positive, got {self.beta}")

    def __call__(self, log_p: Tensor, log_ref: Tensor, values: Tensor) -> Tensor:
        wanted = (self.strength * values).softmax(0)
        return -wanted * (self.beta * (log_p - log_ref)).log_softmax(0) * len(values)


@dataclass(frozen=True)
class Weighted:
    """-w log p with w = softmax(strength r) over the batch, times its size: reward-weighted
    regression (Peters and Schaal 2007), the likelihood of the target where rows come from the
    reference. The one whose every noise level is least at the target's own posterior, so the safe
    one for processes without an exact likelihood.
    """

    strength: float

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def __call__(self, log_p: Tensor, log_ref: Tensor, values: Tensor) -> Tensor:
        return -(self.strength * values).softmax(0) * log_p * len(values)


@dataclass(frozen=True)
class Reinforce:
    """-A log p on rows that the network has just drawn, A the advantage over the others of the
    group of

        strength r - (log p - log p_ref),

    without a gradient: the policy gradient of E[strength r] - KL(p || p_ref), unbiased with the
    mean of the others as baseline (Kool et al. 2019; the group advantages of GRPO, arXiv
    2402.03300, without their bias). `normalise` divides by the group's deviation, as GRPO does.
    """

    strength: float
    normalise: bool = False

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def __call__(self, log_p: Tensor, log_ref: Tensor, values: Tensor) -> Tensor:
        worth = (self.strength * values - (log_p - log_ref)).detach()
        n = len(worth)
        if n > 1:
            worth = (worth - worth.mean()) * n / (n - 1)
        if self.normalise and n > 1:
            worth = worth / worth.std().clamp(min=1e-6)
        return -worth * log_p


def best_rows(values: Tensor, share: float) -> Tensor:
    """Which rows (B,) bool are among the best `share`, at least one."""
    rank = values.argsort(descending=True, stable=True).argsort()
    return rank < max(1, math.ceil(share * len(values)))


def check_strength(strength: float) -> None:
    """Refuse a strength that is not a finite number above 0."""
    if not (math.isfinite(strength) and strength > 0):
        raise ValueError(f"strength must be finite and positive, got {strength}")
