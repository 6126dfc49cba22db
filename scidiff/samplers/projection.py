"""Second-order rows whose slope is scaled, particle by particle, by how the last slope would have
had to be scaled."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from scidiff.processes.gaussian import Continuous, per_row
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.rewritten import Guesses

X = TypeVar("X", bound=Continuous)

_MOST = 2.0  # how far a slope is trusted to grow or turn in one step


class Projection:
    """Weigh the slope of a 2m row by m = <F_0, F_1> / <F_1, F_1>, the share of the last slope F_1
    that the new one F_0 repeats, in [0, 2]; F_j = (D_j - D_j+1) / (lambda_j - lambda_j+1).

    The per-sample projections of EVODiff (Li et al. 2025), taken on slopes: there they are taken
    on the guesses themselves, which costs the second order. Where D is a straight line in lambda,
    m = 1, the plain row; so too for the first two rows, and where nothing moved.
    """

    def begin(self, sampler: GaussianSampler[X], x: X, k: int) -> Guesses:
        if sampler.history != 2:
            raise ValueError(
                f"Projection reads rows of two guesses, such as those of 2m, got {sampler.history}"
            )
        return (*x.guesses, x.guesses[0], x.guesses[0])  # remembered: the two guesses before

    def __call__(self, sampler: GaussianSampler[X], x: X, k: int | Tensor) -> Guesses:
        now, _, before, earlier = x.guesses
        bent = tuple(
            _bent(now[c], before[c], earlier[c], _ratio(sampler, k, c)) for c in range(len(now))
        )
        return now, bent, now, before


def _bent(now: Tensor, before: Tensor, earlier: Tensor, ratio: Tensor) -> Tensor:
    """D_1' with slope (D_0 - D_1') / h_1 = m F_0."""
    new, old = (now - before).flatten(1).double(), (before - earlier).flatten(1).double()
    square = (old**2).sum(1)
    moved = square > 0
    share = (new * old).sum(1) / torch.where(moved, square, 1.0) * ratio
    m = torch.where(moved, share.clamp(0, _MOST), 1.0)
    return now + per_row(m, now) * (before - now)


def _ratio(sampler: GaussianSampler[X], k: int | Tensor, c: int) -> Tensor:
    """(lambda_k-1 - lambda_k-2) / (lambda_k - lambda_k-1); 1 for the first rows."""
    at = torch.as_tensor(k, device=sampler.times.device)
    value = [
        torch.log(a / s) for a, s in (sampler.levels((at - j).clamp(min=0), c) for j in range(3))
    ]
    step = value[0] - value[1]
    return torch.where(step > 0, (value[1] - value[2]) / torch.where(step > 0, step, 1.0), 1.0)
