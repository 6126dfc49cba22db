"""Momentum: rows that read a running mean of the guesses, corrected for its delay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from scidiff.processes.gaussian import Continuous
from scidiff.processes.schedules import Schedule, alpha, lam
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.rewritten import Guesses
from scidiff.samplers.tables import Scheme, Table, moments, multistep_table

X = TypeVar("X", bound=Continuous)


class Momentum:
    """Heavy ball of Wizadwongsa et al. 2024 on clean guesses: v <- (1 - b) v + b D is what rows
    read.

    damping b = 1 is the plain solver; smaller ones widen the region of stability and keep the
    order if the rows are those of `heavy_ball_scheme` with the same damping.
    """

    def __init__(self, damping: float) -> None:
        _check(damping)
        self.damping = damping

    def begin(self, sampler: GaussianSampler[X], x: X, k: int) -> Guesses:
        return x.guesses

    def __call__(self, sampler: GaussianSampler[X], x: X, k: int | Tensor) -> Guesses:
        before = x.guesses[1] if len(x.guesses) > 1 else x.guesses[0]
        mean = tuple(
            guess + (1 - self.damping) * (v - guess)
            for guess, v in zip(x.guesses[0], before, strict=True)
        )
        return (mean, *x.guesses[1:])


def heavy_ball_scheme(
    order: int,
    schedules: Sequence[Schedule],
    times: Tensor,
    damping: float,
    eta: float = 0.0,
    rho: float = 1.0,
) -> Scheme:
    """GHVB rows of order 1 or 2 (Wizadwongsa et al. 2024) in the frame of clean guesses.

    A mean with damping b is late: it reproduces a straight line at l_n = (1 - b) l_n-1 + b
    lambda_n. Order 2 puts the nodes of the quadrature there, so that a straight D is integrated
    exactly; order 1 is the plain heavy ball.
    """
    _check(damping)
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order}")
    return Scheme(times, tuple(_rows(order, s, times, damping, eta, rho) for s in schedules))


def _rows(
    order: int, schedule: Schedule, times: Tensor, damping: float, eta: float, rho: float
) -> Table:
    value, plain = lam(schedule, times), multistep_table(1, schedule, times, eta, rho)
    late = [value[0]]
    for here in value[1:]:
        late.append(here + (1 - damping) * (late[-1] - here))
    h, read = value.diff(), torch.stack(late)[:-1] - value[:-1]
    # Two columns in any case: the second is where the last mean is kept.
    w = torch.cat([plain.w, torch.zeros_like(plain.w)], 1)
    if order == 2:
        nodes = torch.stack([read[1:], read[:-1] - h[:-1]], 1)
        w[1:] = alpha(schedule, times)[2:, None] * moments(h[1:], nodes, eta)
    return Table(plain.a, w, plain.b)


def _check(damping: float) -> None:
    if not 0 < damping <= 1:
        raise ValueError(f"damping must be in (0, 1], got {damping}")
