"""The symmetric splitting of GDSS (S4; Jo et al. 2022, alg. 1): half a linear step, a whole score
step, half a linear step, with one score. Its Langevin step is `PredictorCorrector(stale=True)`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from scidiff.processes.schedules import VP, Schedule, alpha
from scidiff.samplers.tables import Table

Variance = Literal["exact", "gdss"]


def splitting_table(
    schedule: Schedule, times: Tensor, rho: float, variance: Variance = "exact"
) -> Table:
    """S4's rows between the nodes `times` (K + 1,)."""
    return splitting_rows(schedule, times[:-1], -times.diff(), rho, variance)


def splitting_rows(
    schedule: Schedule,
    start: Tensor,
    dt: Tensor,
    rho: float,
    variance: Variance = "exact",
    noisy_end: bool = True,
) -> Table:
    """v <- r_1 v + n_1; v <- v + g_s^2 s dt; v <- r_2 v + n_2, from each of `start` over dt, (K,)
    both, with s = (alpha_s D - v_s) / sigma_s^2 of the start. noisy_end=False leaves n_2 out of
    the last row.

    The reverse linear part dx = -f x dtau + g dw grows the variance by r^2 q, where r = alpha_m /
    alpha_s and q is what the forward step from m to s adds; the published code adds q.
    """
    middle, stop = start - dt / 2, start - dt
    (r1, q1), (r2, q2) = (
        _half(schedule, s, m, variance) for s, m in ((start, middle), (middle, stop))
    )
    if not noisy_end:
        q2 = torch.cat([q2[:-1], torch.zeros_like(q2[-1:])])
    pull = schedule.diffusion(start) * dt / schedule.sigma(start) ** 2
    w = r2 * pull * alpha(schedule, start)
    return Table(r2 * (r1 - pull), w[:, None], rho * (r2**2 * q1 + q2).sqrt())


def _half(schedule: Schedule, s: Tensor, m: Tensor, variance: Variance) -> tuple[Tensor, Tensor]:
    """Growth and variance of the reverse linear part from s to m < s."""
    growth = (schedule.log_alpha(m) - schedule.log_alpha(s)).exp()
    forward = _variance(schedule, s) - _variance(schedule, m) / growth**2
    return growth, forward * (growth**2 if variance == "exact" else 1)


def _variance(schedule: Schedule, t: Tensor) -> Tensor:
    """sigma^2, of VP and VE also a little below t = 0, where the published grid ends."""
    if isinstance(schedule, VP):
        return -torch.expm1(2 * schedule.log_alpha(t))
    return schedule.sigma(t) ** 2
