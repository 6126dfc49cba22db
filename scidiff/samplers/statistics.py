"""Rows fitted to how the clean guess of a model depends on its place (DPM-Solver-v3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.processes.gaussian import Continuous, ContinuousDenoiser, Parts, per_row
from scidiff.processes.schedules import Schedule, alpha, lam
from scidiff.samplers.divergence import Divergence, Trace
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.probability_flow import Flow
from scidiff.samplers.rewritten import Guesses
from scidiff.samplers.tables import Scheme, Table

X = TypeVar("X", bound=Continuous)

_NODES, _WEIGHTS = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(64))


@dataclass(frozen=True)
class Statistics:
    """Empirical model statistics (Zheng et al. 2023), straight lines between nodes, per component.

    linear l is the share of D that follows the place, D = l x~ + N; growth s the rate at which
    the rest grows along the flow, dN / dlambda = s N. They minimise E|dD / dx~ - l|^2 and E|N' -
    s N|^2. One number for all coordinates of a component, where the paper has one each: nodes of
    a graph are exchangeable, and rows with own numbers would tell them apart. The paper's bias is
    left out.
    """

    times: Tensor  # (M,) nodes, noise first
    linear: Tensor  # (C, M)
    growth: Tensor  # (C, M)

    @classmethod
    def zero(cls, components: int) -> Statistics:
        """Statistics that say nothing: their rows are those of DPM-Solver++."""
        nothing = torch.zeros(components, 2, dtype=torch.float64)
        return cls(torch.tensor([1.0, 1e-4], dtype=torch.float64), nothing, nothing)

    def curves(self, c: int, schedule: Schedule) -> tuple[_Curve, _Curve]:
        """linear and growth of component c against its lambda."""
        value = lam(schedule, self.times)
        return _Curve(value, self.linear[c]), _Curve(value, self.growth[c])


class _Curve:
    """Straight lines through (x_i, y_i), level outside, with their integral."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y
        self.area = torch.cat([y[:1] * 0, ((y[1:] + y[:-1]) / 2 * x.diff()).cumsum(0)])

    def __call__(self, x: Tensor) -> Tensor:
        i, d, slope = self._piece(x)
        return self.y[i] + slope * d

    def integral(self, x: Tensor) -> Tensor:
        """From the first node to x."""
        i, d, slope = self._piece(x)
        outside = torch.where(x > self.x[-1], self.y[-1] * (x - self.x[-1]), 0.0)
        outside = torch.where(x < self.x[0], self.y[0] * (x - self.x[0]), outside)
        return self.area[i] + self.y[i] * d + slope * d**2 / 2 + outside

    def _piece(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        i = (torch.searchsorted(self.x, x.contiguous(), right=True) - 1).clamp(0, len(self.x) - 2)
        inside = x.clamp(self.x[0], self.x[-1])
        return i, inside - self.x[i], (self.y.diff() / self.x.diff())[i]


# ---------------------------------------------------------------- measuring


def measure_statistics(
    denoiser: ContinuousDenoiser[X],
    start: X,
    times: Tensor,
    rng: Rng | None = None,
    *,
    trace: Trace | None = None,
    probes: int = 8,
    tol: float = 1e-6,
) -> Statistics:
    """Follow the flow from particles `start` at times[0] through `times` (M,) and measure there.

    l is the trace of dD / dx~ over free coordinates, by products of the Jacobian with vectors (see
    `Divergence`); N' is the difference quotient along the flow.
    """
    flow = Flow(denoiser, start)
    divergence = Divergence(flow, rng, trace=trace, probes=probes)
    linear, rests = [], []
    for parts, t in zip(flow.follow(start, times, tol), times.tolist(), strict=True):
        y = flow.pack(parts, t)
        guesses, traces = divergence.guesses_and_traces(y, torch.full_like(y[:, 0], t))
        shares = [
            trace.mean(1).sum() / free.sum() for trace, free in zip(traces, flow.free, strict=True)
        ]
        places = y.split(flow.sizes, 1)
        linear.append(torch.stack(shares).cpu())
        rests.append(
            [
                guess.double().flatten(1) - share * place
                for guess, share, place in zip(guesses, shares, places, strict=True)
            ]
        )
    growth = [
        _growth(torch.stack([rest[c] for rest in rests]).cpu(), lam(component.schedule, times))
        for c, component in enumerate(denoiser.components)
    ]
    return Statistics(times, torch.stack(linear, 1), torch.stack(growth))


def _growth(rest: Tensor, value: Tensor) -> Tensor:
    """<N', N> / <N, N> of rests (M, B, n) at every node (M,)."""
    (slope,) = torch.gradient(rest, spacing=(value,), dim=0)
    square = rest.square().sum((1, 2))
    along = (slope * rest).sum((1, 2))
    return torch.where(square > 0, along / torch.where(square > 0, square, 1.0), 0.0)


# ---------------------------------------------------------------- rows


def statistics_scheme(
    order: int, statistics: Statistics, schedules: Sequence[Schedule], times: Tensor
) -> Scheme:
    """Rows of order 1 or 2 of dx~ / dlambda = -(1 - l) x~ + N without noise, to be read with
    `Residual` (DPM-Solver-v3, Zheng et al. 2023, in the frame x~).

    x~_t = e^-E(t, s) x~_s + sum_j N_j int_s^t e^{-E(t, u) + S(u) - S(u_j)} l_j(u) du, where E is
    the integral of 1 - l, S that of s and l_j the Lagrange basis on the last nodes. Exact in one
    step for a Gaussian N(0, v), where N = 0.
    """
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order}")
    return Scheme(
        times, tuple(_rows(order, statistics, c, s, times) for c, s in enumerate(schedules))
    )


def _rows(order: int, statistics: Statistics, c: int, schedule: Schedule, times: Tensor) -> Table:
    value, level = lam(schedule, times), alpha(schedule, times)
    linear, growth = statistics.curves(c, schedule)
    start, end = value[:-1, None], value[1:, None]
    u = start + (end - start) * (1 + _NODES) / 2  # (K, Q)

    def decay(lower: Tensor) -> Tensor:
        return (lower - end + linear.integral(end) - linear.integral(lower)).exp()

    # row 0 of order 2 has no past: a node far back gives it no weight there
    back = torch.cat([value[:1] - 1, value[:-2]])[:, None]
    straight = torch.stack([(u - back) / (start - back), (u - start) / (back - start)], -1)
    straight[0] = straight.new_tensor([1.0, 0.0])
    basis = straight if order == 2 else torch.ones_like(straight[..., :1])
    read = torch.stack([start, back], -1)[..., :order]
    grown = (growth.integral(u)[..., None] - growth.integral(read)).exp()
    kernel = (_WEIGHTS * (end - start) / 2 * decay(u))[..., None]
    w = level[1:, None] * (kernel * grown * basis).sum(1)
    return Table(level[1:] / level[:-1] * decay(start)[:, 0], w, torch.zeros_like(w[:, 0]))


class Residual:
    """Rows read N = D - l x~, the part of the guess that does not follow the place."""

    def __init__(
        self,
        statistics: Statistics,
        schedules: Sequence[Schedule],
        times: Tensor,
        device: torch.device | str = "cpu",
    ) -> None:
        """times: the nodes of the scheme that reads."""
        stay = torch.cat([times, times[-1:]])  # where a finished particle goes
        self.shares = [
            (statistics.curves(c, s)[0](lam(s, stay)) / alpha(s, stay)).to(device)
            for c, s in enumerate(schedules)
        ]

    def begin(self, sampler: GaussianSampler[X], x: X, k: int) -> Guesses:
        rest = self._rest(x, k)
        return (x.guesses[0], *[rest] * (len(x.guesses) - 1))

    def __call__(self, sampler: GaussianSampler[X], x: X, k: int | Tensor) -> Guesses:
        return (self._rest(x, k), *x.guesses[1:])

    def _rest(self, x: X, k: int | Tensor) -> Parts:
        return tuple(
            guess - per_row(share[k], part) * part
            for guess, share, part in zip(x.guesses[0], self.shares, x.parts, strict=True)
        )
