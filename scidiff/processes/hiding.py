"""Which tokens masked diffusion hides in training and how much each then counts: four unbiased
estimates of one bound on -log p, and a fifth of a looser one.

Each draws hidden positions (B, L) and a weight (B,); the weighted cross-entropy of what is hidden
has the mean

    sum_k (1 / k) E[cross-entropy of k hidden tokens], k = 1 .. n,

the average of -log p over all orders of writing the n tokens of a row (Ou et al. 2024, arXiv
2406.03736, theorem 2). They differ in variance: with k drawn as such it is the smallest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.processes.noise_levels import LogLinear, NoiseLevel


class Hiding(Protocol):
    """A way to hide tokens."""

    def __call__(self, eligible: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Some of each row's eligible (B, L) positions, (B, L) bool, and their weight (B,)."""
        ...


def hide_exactly(eligible: Tensor, count: Tensor, rng: Rng) -> Tensor:
    """Choose `count` (B,) of each row's eligible (B, L) positions uniformly: (B, L) bool."""
    keys = torch.where(eligible, uniform(eligible.shape, rng).to(eligible.device), 2.0)
    return eligible & (keys.argsort(1).argsort(1) < count[:, None])


def hide_each(eligible: Tensor, rate: Tensor, rng: Rng) -> Tensor:
    """Choose each eligible (B, L) position independently with probability rate (B,)."""
    return eligible & (uniform(eligible.shape, rng).to(eligible.device) < rate[:, None])


def stratified(n: int, rng: Rng, device: torch.device | str = "cpu") -> Tensor:
    """n uniform numbers (float64) in (0, 1), one in each n-th, in random order: what is averaged
    over a batch then varies less, and each number alone is still uniform."""
    rank = uniform((n,), rng).to(device).argsort()
    # draws are multiples of 2^-24: half of that keeps both ends out
    return (rank + uniform((n,), rng).to(device).double() + 2.0**-25) / n


def stratified_counts(limit: Tensor, rng: Rng) -> Tensor:
    """Draw k ~ U{1..limit} for every entry of `limit` (B,), stratified over the batch."""
    u = stratified(len(limit), rng, limit.device)
    return (u * limit).long().clamp(max=limit - 1) + 1


@dataclass(frozen=True)
class ExactCount:
    """Exactly k ~ U{1..n} of the n tokens, weight n / k (Ou et al. 2024, eq. 3.6; the any-order
    autoregressive loss of Uria et al. 2014)."""

    def __call__(self, eligible: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        n = eligible.sum(1)
        k = stratified_counts(n.clamp(min=1), rng)
        return hide_exactly(eligible, k, rng), n / k


@dataclass(frozen=True)
class AtRate:
    """Each token with probability rate(t), t ~ U(0, 1), weight -alpha' / (1 - alpha).

    With the log-linear schedule the rate itself is uniform and the weight is 1 / rate (the
    lambda-denoising cross-entropy of Ou et al. 2024); any other is the continuous-time bound of
    Sahoo et al. 2024 (arXiv 2406.07524, eq. 10). Schedules that cover all rates have the same
    mean; the variance of the log-linear one is infinite, if only by a logarithm (a token hidden at
    rate r counts 1 / r), that of t^2, which looks more often at small rates, is finite.
    """

    schedule: NoiseLevel = LogLinear()

    def __call__(self, eligible: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        t = stratified(len(eligible), rng, eligible.device)
        hidden = hide_each(eligible, self.schedule.rate(t), rng)
        return hidden, self.schedule.weight(t).float()


@dataclass(frozen=True)
class OnGrid:
    """Each token with probability rate(t), t one of T even steps of which s = t - 1 / T is the
    next: the bound of a chain of T steps (D3PM, Austin et al. 2021, arXiv 2107.03006), weight

        T (alpha_s - alpha_t) / (1 - alpha_t).

    Tokens of one step do not see each other, so over the data it lies above the other bound, by
    O(1 / T).
    """

    steps: int
    schedule: NoiseLevel = LogLinear()

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def __call__(self, eligible: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        u = stratified(len(eligible), rng, eligible.device)
        t = ((u * self.steps).long().clamp(max=self.steps - 1) + 1).double() / self.steps
        rate = self.schedule.rate(t)
        weight = self.steps * (rate - self.schedule.rate(t - 1 / self.steps)) / rate
        return hide_each(eligible, rate, rng), weight.float()
