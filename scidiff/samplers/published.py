"""GDSS's own discretisation (Jo et al. 2022), for comparison with published numbers only.

N nodes are spread over [1e-4, 1], N - 1 intervals, but every step is 1 / N long, so errors do not
fall with N as those of the method do. The reverse-diffusion rows take rates from a grid of their
own, and the mean of the last step is returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from scidiff.messages import nearest
from scidiff.processes.schedules import VE, VP, Schedule
from scidiff.samplers.splitting import splitting_rows
from scidiff.samplers.tables import Scheme, Table, euler_rows

PUBLISHED = ("reverse", "euler", "s4")


def published_scheme(
    solver: str,
    schedules: Sequence[Schedule],
    steps: int,
    rho: float = 1.0,
    denoise: bool = True,
    t_end: float = 1e-4,
) -> Scheme:
    """Make the published rows of reverse, euler or s4. denoise: leave the last noise out. t_end:
    the last place at which the networks are asked.

    ValueError: another solver, no steps, a schedule that is neither VP nor VE, or so few steps of
    s4 that its last one, which ends at t_end - 1 / N, has a negative variance.
    """
    if solver not in PUBLISHED:
        raise ValueError(
            f"the published sampler has solvers {', '.join(PUBLISHED)}, got {solver!r}"
            f"{nearest(solver, PUBLISHED)}"
        )
    if not all(isinstance(s, VP | VE) for s in schedules):
        raise ValueError(f"the published sampler knows VP and VE, got {list(schedules)}")
    if not (isinstance(steps, Integral) and steps >= 1):
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
    nodes = torch.linspace(1, t_end, int(steps), dtype=torch.float64)
    tables = tuple(_table(solver, s, nodes, rho, denoise) for s in schedules)
    if not all(bool(table.b.isfinite().all()) for table in tables):
        raise ValueError(
            f"the last of {steps} published steps of {solver} leaves the schedule; take more"
        )
    # rows that are finished are asked once more while others go on, so not at t = 0
    return Scheme(torch.cat([nodes, nodes[-1:]]), tables)


def published_signal(schedules: Sequence[Schedule], steps: int) -> Tensor:
    """alpha of the corrector's step size at every node: 1 - beta_k / N for VP, 1 for VE; (C, N +
    1), 1 at the end."""
    rates = [_rates(s, steps) if isinstance(s, VP) else torch.zeros(steps) for s in schedules]
    lost = torch.stack([rate.double() for rate in rates])
    return 1 - torch.cat([lost, torch.zeros(len(schedules), 1, dtype=torch.float64)], 1)


def _table(solver: str, schedule: Schedule, nodes: Tensor, rho: float, denoise: bool) -> Table:
    dt = torch.full_like(nodes, 1 / len(nodes))
    if solver == "s4":
        return splitting_rows(schedule, nodes, dt, rho, "gdss", noisy_end=not denoise)
    if solver == "euler":
        table = euler_rows(schedule, nodes, dt, 1.0, rho)
    else:
        table = _reverse_rows(schedule, nodes, rho)
    last = torch.arange(len(nodes)) == len(nodes) - 1
    return Table(table.a, table.w, torch.where(last & denoise, 0.0, table.b))


def _reverse_rows(schedule: Schedule, nodes: Tensor, rho: float) -> Table:
    """x_t = (2 - sqrt(1 - beta_k)) x + G^2 s + G z, with G^2 = beta_k of VP and sigma_k^2 -
    sigma_k-1^2 of VE."""
    steps = len(nodes)
    if isinstance(schedule, VP):
        gained = _rates(schedule, steps)
        keep = 2 - (1 - gained).sqrt()
    else:
        sigma = schedule.sigma(torch.linspace(0, 1, steps, dtype=torch.float64))
        squares = torch.cat([torch.zeros(1, dtype=torch.float64), sigma**2])
        gained, keep = squares.diff().flip(0), torch.ones(steps, dtype=torch.float64)
    pull = gained / schedule.sigma(nodes) ** 2
    w = pull * schedule.log_alpha(nodes).exp()
    return Table(keep - pull, w[:, None], rho * gained.sqrt())


def _rates(schedule: VP, steps: int) -> Tensor:
    """beta_k / N at every node (N,): k = floor(t (N - 1)) counts down by one a step."""
    ends = schedule.beta_min / steps, schedule.beta_max / steps
    return torch.linspace(*ends, steps, dtype=torch.float64).flip(0)
