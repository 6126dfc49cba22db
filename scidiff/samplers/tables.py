"""Solver tables: every linear step of a reverse SDE is x_t = a x_s + sum_j w_j D_j + b z, and the
numbers are made once.

With x~ = x / alpha, lambda = log(alpha / sigma) and D the clean guess, all linear SDEs are one
equation,
    dx~ = (1 + eta) (D - x~) dlambda + sqrt(2 eta) rho e^-lambda dw,
where eta = 0 is the probability-flow ODE, eta = 1 the reverse SDE, eta > 1 adds Langevin steps at
the same rate, and rho < 1 lowers the temperature. s is the noisier node, t the next one, h =
lambda_t - lambda_s > 0. All float64, on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scidiff.processes.schedules import Schedule, alpha, lam, time_of_lam, total_lam

EXPONENTIAL = {"exp1": 1, "2m": 2, "3m": 3}  # solver: order
SOLVERS = (*EXPONENTIAL, "euler", "reverse")

_NODES, _WEIGHTS = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(64))
_REACH = 40.0  # e^-40 is below float64 resolution of the moments


@dataclass(frozen=True)
class Table:
    """The rows of one component: x <- a x + sum_j w_j D_j + b z, with D_0 the newest clean
    guess."""

    a: Tensor  # (K,)
    w: Tensor  # (K, J)
    b: Tensor  # (K,)

    def finished(self) -> Table:
        """Append the row that leaves x where it is, for particles that are at the end."""
        still = torch.zeros(1, self.w.shape[1], dtype=self.w.dtype)
        return Table(
            torch.cat([self.a, torch.ones(1, dtype=self.a.dtype)]),
            torch.cat([self.w, still]),
            torch.cat([self.b, torch.zeros(1, dtype=self.b.dtype)]),
        )

    def stacked(self) -> Tensor:
        """Columns (a, w_0, .., w_J-1, b): (K, J + 2)."""
        return torch.cat([self.a[:, None], self.w, self.b[:, None]], 1)


# ---------------------------------------------------------------- nodes


def uniform_times(steps: int, t_end: float = 1e-4) -> Tensor:
    """Nodes t_0 = 1 > .. > t_K = t_end at equal distance in time: (K + 1,) float64."""
    return torch.linspace(1, t_end, steps + 1, dtype=torch.float64)


def uniform_lambdas(schedules: Sequence[Schedule], steps: int, t_end: float = 1e-4) -> Tensor:
    """Nodes t_0 = 1 > .. > t_K = t_end at equal distance in lambda, summed over components:
    (K + 1,) float64.

    Extrapolating rows need steps of similar length in lambda: where the last one is several times
    longer than the one before, they amplify the injected noise.
    """
    ends = total_lam(schedules, torch.tensor([1, t_end], dtype=torch.float64))
    inner = torch.linspace(float(ends[0]), float(ends[1]), steps + 1, dtype=torch.float64)
    times = time_of_lam(schedules, inner)
    times[0], times[-1] = 1, t_end
    return times


def default_times(
    solver: str, schedules: Sequence[Schedule], steps: int, t_end: float = 1e-4
) -> Tensor:
    """Equal steps in lambda for exponential rows, in time (as published) for the others."""
    if solver in EXPONENTIAL:
        return uniform_lambdas(schedules, steps, t_end)
    return uniform_times(steps, t_end)


# ---------------------------------------------------------------- weights


def moments(h: Tensor, nodes: Tensor, eta: float) -> Tensor:
    """W[l_j] = int_0^h (1 + eta) e^{-(1 + eta)(h - u)} l_j(u) du for the Lagrange basis l_j on
    `nodes` (K, J): (K, J).

    With v = (1 + eta)(h - u) this is an integral of e^-v times a polynomial over [0, (1 + eta) h],
    cut where e^-v vanishes in float64; 64 Gauss-Legendre points make it exact to rounding for
    every h and eta.
    """
    reach = ((1 + eta) * h).clamp(max=_REACH)[:, None]  # (K, 1)
    v = reach * (1 + _NODES) / 2  # (K, Q)
    u = h[:, None] - v / (1 + eta)
    basis = torch.stack([_lagrange(u, nodes, j) for j in range(nodes.shape[1])], -1)  # (K, Q, J)
    return torch.einsum("kq,kqj->kj", reach / 2 * _WEIGHTS * (-v).exp(), basis)


def _lagrange(u: Tensor, nodes: Tensor, j: int) -> Tensor:
    value = torch.ones_like(u)
    for m in range(nodes.shape[1]):
        if m != j:
            value = value * (u - nodes[:, m, None]) / (nodes[:, j] - nodes[:, m])[:, None]
    return value


# ---------------------------------------------------------------- rows


def make_table(solver: str, schedule: Schedule, times: Tensor, eta: float, rho: float) -> Table:
    """Make the rows of one component on the nodes `times` (K + 1,), noise first."""
    if solver in EXPONENTIAL:
        return exponential_table(EXPONENTIAL[solver], schedule, times, eta, rho)
    return (
        euler_table(schedule, times, eta, rho)
        if solver == "euler"
        else reverse_table(schedule, times, rho)
    )


def exponential_table(
    order: int, schedule: Schedule, times: Tensor, eta: float, rho: float
) -> Table:
    """Exponential Adams-Bashforth rows: D as a polynomial through its last values, noise exact.

    Order 1 is DDIM (eta = 0) and DDPM ancestral sampling (eta = 1); order 2 is DPM-Solver++ 2M and
    its SDE form (Lu et al. 2022), order 3 its 3M. The order ramps up over the first steps.
    """
    level, value, sigma = alpha(schedule, times), lam(schedule, times), schedule.sigma(times)
    h = value.diff()
    a = level[1:] / level[:-1] * (-(1 + eta) * h).exp()
    b = rho * sigma[1:] * (-torch.expm1(-2 * eta * h)).sqrt()
    return Table(a, level[1:, None] * _multistep(h, order, eta), b)


def _multistep(h: Tensor, order: int, eta: float) -> Tensor:
    """W[l_j] (K, order) on the nodes 0, -h_1, -(h_1 + h_2), .. of each step; row k < order - 1 has
    order k + 1."""
    past = torch.cat([torch.zeros(1, dtype=h.dtype), h.cumsum(0)])
    w = torch.zeros(len(h), order, dtype=h.dtype)
    for p in range(1, order + 1):
        rows = torch.arange(len(h))[p - 1 : p if p < order else None]
        nodes = torch.stack([past[rows - j] - past[rows] for j in range(p)], 1)
        w[rows, :p] = moments(h[rows], nodes, eta)
    return w


def euler_table(schedule: Schedule, times: Tensor, eta: float, rho: float) -> Table:
    """Euler-Maruyama in t: x_t = x - f x dt + (1 + eta) / 2 g^2 s dt + sqrt(eta g^2 dt) z, s =
    (alpha D - x) / sigma^2."""
    start, dt = times[:-1], -times.diff()
    spread = schedule.diffusion(start) * dt
    pull = (1 + eta) / 2 * spread / schedule.sigma(start) ** 2
    a = 1 - schedule.drift(start) * dt - pull
    return Table(a, (pull * alpha(schedule, start))[:, None], rho * (eta * spread).sqrt())


def reverse_table(schedule: Schedule, times: Tensor, rho: float) -> Table:
    """Reverse diffusion (Song et al. 2021, alg. 2): x_t = (2 - a) x + G^2 s + G z, a = alpha_s /
    alpha_t.

    G^2 = sigma_s^2 (1 - e^{-2h}) is the variance that the forward step from t to s adds.
    """
    level, sigma = alpha(schedule, times), schedule.sigma(times)
    pull = -torch.expm1(-2 * lam(schedule, times).diff())
    a = 2 - level[:-1] / level[1:] - pull
    return Table(a, (pull * level[:-1])[:, None], rho * sigma[:-1] * pull.sqrt())
