"""Draws that prefer the better ones of a pool, by rank."""

from __future__ import annotations

import torch
from torch import Tensor

from scidiff.core import Rng, uniform


def by_rank(ranks: int, n: int, rng: Rng, k: float = 0.01, *, again: bool = True) -> Tensor:
    """Draw n of `ranks` ranks (n,), 0 the best, with weight 1 / (k ranks + 1 + rank) (Tripp et al.
    2020, arXiv 2006.09191): k large is uniform, k small prefers the best. Without `again` a rank
    is drawn once at most, so there are no more than `ranks` of them."""
    weight = 1 / (k * ranks + torch.arange(1, ranks + 1, dtype=torch.float64))
    if again:
        below = (weight.cumsum(0) / weight.sum()).to(rng.device)
        drawn = torch.searchsorted(below, uniform((n,), rng).double(), right=True)
        return drawn.clamp(max=ranks - 1)
    # the first n of exponential clocks are a draw without replacement (Efraimidis, Spirakis 2006)
    clock = -torch.log1p(-uniform((ranks,), rng).double()) / weight.to(rng.device)
    return clock.argsort()[:n]
