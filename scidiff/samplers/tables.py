"""Solver tables: every linear step of a reverse SDE is x_t = a x_s + sum_j w_j D_j + b z, and the
numbers are made once.

With x~ = x / alpha, lambda = log(alpha / sigma) and D the clean guess, all linear SDEs are one
equation,
    dx~ = (1 + eta) (D - x~) dlambda + sqrt(2 eta) rho e^-lambda dw,
where eta = 0 is the probability-flow ODE, eta = 1 the reverse SDE, eta > 1 adds Langevin steps at
the same rate, and rho < 1 lowers the temperature. s is the noisier node, t the next one, h =
lambda_t - lambda_s > 0, H = (1 + eta) h. All float64, on the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scidiff.processes.schedules import Schedule, alpha, lam

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


@dataclass(frozen=True)
class Scheme:
    """A solver made ready: the places in time where the network is asked, and what to do between.

    Row k of every table leads from times[k] to times[k + 1]; a method that asks twice a step has
    two rows a step, the first of which stops where it asks.
    """

    times: Tensor  # (K + 1,) noise first
    tables: tuple[Table, ...]  # one a component, K rows each

    def __post_init__(self) -> None:
        shapes = [tuple(table.w.shape) for table in self.tables]
        if len(set(shapes)) != 1 or shapes[0][0] != len(self.times) - 1:
            raise ValueError(
                f"every table must have {len(self.times) - 1} rows of the same weights for "
                f"{len(self.times)} times, got (rows, weights) {shapes}"
            )

    @property
    def stochastic(self) -> bool:
        """Whether any row draws noise."""
        return any(bool((table.b != 0).any()) for table in self.tables)


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


def midpoint_moments(h: Tensor, nodes: Tensor, eta: float) -> Tensor:
    """`moments`, but of a straight line through two nodes its value in the middle of the step: the
    phi of DPM-Solver++ "midpoint" (Lu et al. 2022) and of UniPC's B_2 (Zhao et al. 2023)."""
    if nodes.shape[1] != 2:
        return moments(h, nodes, eta)
    zero, one = nodes.unbind(1)
    share = (h / 2 - zero) / (one - zero)
    return -torch.expm1(-(1 + eta) * h)[:, None] * torch.stack([1 - share, share], 1)


# ---------------------------------------------------------------- exponential rows


def multistep_table(
    order: int,
    schedule: Schedule,
    times: Tensor,
    eta: float,
    rho: float,
    *,
    corrected: int = 0,
    midpoint: bool = False,
) -> Table:
    """Exponential Adams-Bashforth rows: D as a polynomial through its last values, noise exact.

    Order 1 is DDIM (eta = 0) and DDPM ancestral sampling (eta = 1); orders 2 and 3 are
    DPM-Solver++ 2M and 3M and their SDE forms (Lu et al. 2022), the DEIS of a network that guesses
    x0. The order ramps up over the first steps.

    The guess D_t at the end of a step says better how the step should have gone: through it the
    same quadrature has one more node, u = +h (UniC; Zhao et al. 2023; with noise SA-Solver, Xue et
    al. 2023). The difference is a sum of guesses, so the row of the next step adds it, and no
    evaluation is spent. `corrected` counts the leading steps that are put right in this way: all
    of them is UniPC of this order, one lets order 3 start as exactly as it continues.
    """
    level, value, sigma = alpha(schedule, times), lam(schedule, times), schedule.sigma(times)
    h = value.diff()
    a = level[1:] / level[:-1] * (-(1 + eta) * h).exp()
    b = rho * sigma[1:] * (-torch.expm1(-2 * eta * h)).sqrt()
    predict, change = _multistep(value, order, eta, midpoint)
    w = level[1:, None] * predict
    late = min(corrected, len(h) - 1)
    w[1 : late + 1] += (a * level[:-1])[1 : late + 1, None] * change[:late]
    used = max(order, min(order, corrected) + 1 if corrected else 0)
    return Table(a, w[:, :used], b)


def _multistep(value: Tensor, order: int, eta: float, midpoint: bool) -> tuple[Tensor, Tensor]:
    """Weights of each step on the guesses (newest first), and by how much they change once the
    guess at its end is known (that one first): both (K, order + 1). Row k < order - 1 has order
    k + 1."""
    quadrature = midpoint_moments if midpoint else moments
    h = value.diff()
    predict, change = (torch.zeros(len(h), order + 1, dtype=h.dtype) for _ in range(2))
    for p in range(1, order + 1):
        rows = torch.arange(len(h))[p - 1 : p if p < order else None]
        back = torch.stack([value[rows - j] - value[rows] for j in range(p)], 1)
        predict[rows, :p] = quadrature(h[rows], back, eta)
        ahead = torch.cat([h[rows, None], back], 1)
        change[rows, : p + 1] = quadrature(h[rows], ahead, eta)
        change[rows, 1 : p + 1] -= predict[rows, :p]
    return predict, change


# ---------------------------------------------------------------- rows in time


def euler_table(schedule: Schedule, times: Tensor, eta: float, rho: float) -> Table:
    """Euler-Maruyama in t: x_t = x - f x dt + (1 + eta) / 2 g^2 s dt + sqrt(eta g^2 dt) z, s =
    (alpha D - x) / sigma^2."""
    return euler_rows(schedule, times[:-1], -times.diff(), eta, rho)


def euler_rows(schedule: Schedule, start: Tensor, dt: Tensor, eta: float, rho: float) -> Table:
    """Euler-Maruyama from each of `start` over dt, (K,) both."""
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
