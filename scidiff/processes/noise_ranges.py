"""How much of a block training hides: a range of noise levels, chosen by the variance of the loss
(Arriola et al. 2025, arXiv 2503.09573, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import comb
from typing import Literal

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.processes.hiding import stratified, stratified_counts

Range = tuple[float, float]
"""Lowest and highest noise level, a part of [0, 1]."""
NoiseRange = Range | Literal["auto"]
"""What a recipe may say; "auto" is chosen while training goes on."""
AUTO: Literal["auto"] = "auto"
WHOLE: Range = (0.0, 1.0)
CANDIDATES: tuple[Range, ...] = tuple(
    (low / 10, (low + width) / 10) for width in range(10, 4, -1) for low in range(11 - width)
)
"""Widths from 1 to .5; the whole range first, which stays where nothing is less variable."""


def check_range(noise_range: Sequence[float]) -> Range:
    """A range as it is used; raises ValueError where it is none."""
    if len(noise_range) != 2 or not 0 <= noise_range[0] < noise_range[1] <= 1:
        raise ValueError(
            "noise_range must be two levels, 0 <= lowest < highest <= 1, or 'auto', "
            f"got {noise_range!r}"
        )
    return float(noise_range[0]), float(noise_range[1])


@cache
def count_law(n: int, noise_range: Range) -> Tensor:
    """Probability that k = 0 .. n of n positions are hidden (n + 1,) float64, where each is with
    probability t, t ~ U(lowest, highest), given that one is:

        p(k) ~ int C(n, k) t^k (1 - t)^(n - k) dt = [P(B_highest > k) - P(B_lowest > k)] / (n + 1)

    with B_t binomial of n + 1 trials. The whole range is k ~ U{1..n}.
    """
    low, high = (_more_than(n + 1, t)[: n + 1] for t in noise_range)
    law = high - low
    law[0] = 0.0
    return law / law.sum()


def _more_than(trials: int, t: float) -> Tensor:
    """P(B > k) of a binomial, k = 0 .. trials."""
    p = [comb(trials, k) * t**k * (1 - t) ** (trials - k) for k in range(trials + 1)]
    law = torch.tensor(p, dtype=torch.float64)
    return law.flip(0).cumsum(0).flip(0) - law


def counts(limit: Tensor, noise_range: Range, rng: Rng) -> Tensor:
    """How many of `limit` (B,) positions are hidden, stratified over the batch, see
    `count_law`."""
    if noise_range == WHOLE:
        return stratified_counts(limit, rng)
    u, k = stratified(len(limit), rng, limit.device), torch.ones_like(limit)
    for n in limit.unique().tolist():
        below = count_law(n, noise_range).cumsum(0)[1:-1].to(limit.device)
        k = torch.where(limit == n, 1 + torch.searchsorted(below, u, right=True), k)
    return k


@dataclass(frozen=True)
class Moments:
    """What the loss of blocks was like by how many of their positions were hidden, k = 0 .. n."""

    number: Tensor  # (n + 1,) float64 blocks seen
    total: Tensor  # (n + 1,) float64 sum of their losses a token
    squares: Tensor  # (n + 1,) float64

    @classmethod
    def of(cls, hidden: Tensor, losses: Tensor, n: int) -> Moments:
        """Of blocks that hid `hidden` (N,) of n positions at `losses` (N,) nats a token."""
        sums = torch.zeros(3, n + 1, dtype=torch.float64, device=losses.device)
        wide = losses.double()
        sums.index_add_(1, hidden, torch.stack([torch.ones_like(wide), wide, wide**2]))
        return cls(*sums.cpu())

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.number + other.number, self.total + other.total, self.squares + other.squares
        )

    def variance(self, noise_range: Range) -> float:
        """Var over rows and noise of what a block costs where levels are of this range; inf where
        a number of hidden positions that may come was never seen."""
        law = count_law(len(self.number) - 1, noise_range)
        if bool(((law > 0) & (self.number == 0)).any()):
            return float("inf")
        seen = self.number.clamp(min=1)
        mean, square = law @ (self.total / seen), law @ (self.squares / seen)
        return float(square - mean**2)

    def least_variable(self, candidates: Sequence[Range] = CANDIDATES) -> Range:
        """The candidate with the least variance, the first of those that are equal but for
        rounding."""
        return min(candidates, key=lambda candidate: round(self.variance(candidate), 12))
