"""Solvers that ask the network twice a step, as tables: the first row stops where the second guess
is taken, the second row undoes the first and takes the whole step.

Undoing needs no memory: the first row is invertible, so the whole step is again a sum of the place
where the second guess was taken and of the two guesses.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scidiff.processes.schedules import Schedule, alpha, lam, time_of_lam, total_lam
from scidiff.samplers.tables import Scheme, Table


def heun_scheme(schedules: Sequence[Schedule], times: Tensor, eta: float, rho: float) -> Scheme:
    """Heun's method in sigma / alpha with churn (Karras et al. 2022, alg. 2).

    Before the step of length h from lambda, fresh noise takes x back to lambda - eta h: churn
    gamma = e^{eta h} - 1, with S_noise = rho. As h falls this becomes the SDE of the same eta. It
    happens on arrival, so that the stored guess belongs to the noisier place; the first step has
    no churn, the prior being the noisiest place there is.
    """
    back = _churned(schedules, times, eta)
    asked = torch.stack([back[:-1], times[1:]], 1).flatten()
    tables = tuple(_heun_table(s, back, times, rho) for s in schedules)
    return Scheme(torch.cat([asked, back[-1:]]), tables)


def _churned(schedules: Sequence[Schedule], times: Tensor, eta: float) -> Tensor:
    """The times (K + 1,) to which noise takes a particle back from `times`."""
    if eta == 0:
        return times
    value = total_lam(schedules, times)
    inner = (value[1:-1] - eta * value.diff()[1:]).clamp(min=value[0])
    return torch.cat([times[:1], time_of_lam(schedules, inner), times[-1:]])


def _heun_table(schedule: Schedule, back: Tensor, times: Tensor, rho: float) -> Table:
    """Predict x~ by y~ = e^-h x~ + (1 - e^-h) D_s, then add (e^h - 1) / 2 (D_y - D_s), then churn.

    The second row is the mean of the slopes (x~ - D) / (sigma / alpha) at both ends, less y~.
    """
    start, stop = alpha(schedule, back), alpha(schedule, times)[1:]
    h = lam(schedule, times)[1:] - lam(schedule, back)[:-1]
    zero = torch.zeros_like(h)
    predict = Table(
        stop / start[:-1] * (-h).exp(), torch.stack([-stop * torch.expm1(-h), zero], 1), zero
    )
    gain, after = start[1:] * torch.expm1(h) / 2, start[1:] / stop
    added = schedule.sigma(back)[1:] ** 2 - (after * schedule.sigma(times)[1:]) ** 2
    moved = back[1:] != times[1:]
    churn = rho * torch.where(moved, added, 0.0).sqrt()
    return _interleaved(predict, Table(after, torch.stack([gain, -gain], 1), churn))


def single_step_scheme(
    schedules: Sequence[Schedule], times: Tensor, eta: float, rho: float
) -> Scheme:
    """DPM-Solver++ 2S (Lu et al. 2022, alg. 1) and its SDE form: a second guess half-way in
    lambda, summed over components; each component has its own ratio r of the way."""
    value = total_lam(schedules, times)
    middle = time_of_lam(schedules, (value[1:] + value[:-1]) / 2)
    asked = torch.cat([torch.stack([times[:-1], middle], 1).flatten(), times[-1:]])
    return Scheme(asked, tuple(_single_step_table(s, asked, eta, rho) for s in schedules))


def _single_step_table(schedule: Schedule, asked: Tensor, eta: float, rho: float) -> Table:
    """x~_t = e^-H x~ + (1 - e^-H) ((1 - 1 / 2r) D_s + 1 / 2r D_m) + noise, less its first row."""
    level, value = alpha(schedule, asked), lam(schedule, asked)
    h = value.diff()
    decay, noise = -(1 + eta) * h, rho * schedule.sigma(asked)[1:]
    a, b = level[1:] / level[:-1] * decay.exp(), noise * (-torch.expm1(-2 * eta * h)).sqrt()
    w = -level[1:] * torch.expm1(decay)
    whole = -level[2::2] * torch.expm1(decay[::2] + decay[1::2])
    share = (h[::2] + h[1::2]) / (2 * h[::2])
    first = Table(a[::2], torch.stack([w[::2], torch.zeros_like(share)], 1), b[::2])
    second = torch.stack([share * whole, (1 - share) * whole - a[1::2] * w[::2]], 1)
    return _interleaved(first, Table(a[1::2], second, b[1::2]))


def _interleaved(first: Table, second: Table) -> Table:
    """Rows of both in turn."""
    return Table(
        *(
            torch.stack([one, two], 1).flatten(0, 1)
            for one, two in zip(
                (first.a, first.w, first.b), (second.a, second.w, second.b), strict=True
            )
        )
    )
