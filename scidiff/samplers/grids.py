"""Time grids: the nodes t_0 > .. > t_K of a solver, noise first, (K + 1,) float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scidiff.messages import nearest
from scidiff.processes.schedules import Schedule, lam, time_of_lam, total_lam

T_END = 1e-4
_BELOW_ONE = 1 - 1e-3  # where a chain starts whose schedule leaves no signal at t = 1


def first_time(schedules: Sequence[Schedule]) -> float:
    """1, or just below where lambda(1) is infinite (the straight path of flow matching): there the
    mean of x is a thousandth of the data, and the prior forgets it."""
    end = torch.ones((), dtype=torch.float64)
    return 1.0 if all(bool(lam(s, end).isfinite()) for s in schedules) else _BELOW_ONE


def uniform_times(steps: int, t_end: float = T_END, t_start: float = 1.0) -> Tensor:
    """Nodes at equal distance in time."""
    return torch.linspace(t_start, t_end, steps + 1, dtype=torch.float64)


def uniform_lambdas(schedules: Sequence[Schedule], steps: int, t_end: float = T_END) -> Tensor:
    """Nodes at equal distance in lambda, summed over components.

    Extrapolating rows need steps of similar length in lambda: where the last one is several times
    longer than the one before, they amplify the injected noise.
    """
    return _through_lam(schedules, t_end, lambda a, b: a + (b - a) * _unit(steps))


def edm_times(
    schedules: Sequence[Schedule], steps: int, t_end: float = T_END, power: float = 7.0
) -> Tensor:
    """Nodes at equal distance in (sigma / alpha)^(1 / power) (Karras et al. 2022, eq. 5), of
    several components the geometric mean of sigma / alpha."""

    def between(a: Tensor, b: Tensor) -> Tensor:
        scale = len(schedules) * power
        root_a, root_b = (-a / scale).exp(), (-b / scale).exp()
        return -scale * (root_a + (root_b - root_a) * _unit(steps)).log()

    return _through_lam(schedules, t_end, between)


def gathered_times(
    steps: int, centre: float, width: float, share: float, t_end: float, t_start: float
) -> Tensor:
    """Nodes at equal distance in time but for a `share` of them, which gather as a normal law of
    mean `centre` and deviation `width` does: where a chain decides most."""
    fine = torch.linspace(t_end, t_start, 4001, dtype=torch.float64)
    bell = torch.distributions.Normal(centre, width).cdf(fine)
    even, bell = ((v - v[0]) / (v[-1] - v[0]) for v in (fine, bell))
    total, at = (1 - share) * even + share * bell, torch.linspace(1, 0, steps + 1).double()
    right = torch.searchsorted(total, at).clamp(1, len(fine) - 1)
    part = (at - total[right - 1]) / (total[right] - total[right - 1])
    return fine[right - 1] + part * (fine[right] - fine[right - 1])


GRIDS: dict[str, Callable[[Sequence[Schedule], int], Tensor]] = {
    "time": lambda schedules, steps: uniform_times(steps, t_start=first_time(schedules)),
    "lambda": uniform_lambdas,
    "edm": edm_times,
}


def make_nodes(
    grid: str | Tensor | Sequence[float], schedules: Sequence[Schedule], steps: int
) -> Tensor:
    """Nodes by the name of their grid, or the given ones (K + 1,) after a check.

    ValueError: an unknown name, or nodes that do not decrease within [0, 1] or are not steps + 1.
    """
    if not isinstance(grid, str):
        return _checked(torch.as_tensor(grid, dtype=torch.float64, device="cpu"), steps)
    if grid not in GRIDS:
        raise ValueError(
            f"unknown grid {grid!r}; expected {', '.join(GRIDS)} or {steps + 1} nodes"
            f"{nearest(grid, GRIDS)}"
        )
    return GRIDS[grid](schedules, steps)


def _unit(steps: int) -> Tensor:
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def _through_lam(
    schedules: Sequence[Schedule], t_end: float, between: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Nodes whose summed lambda is `between` its two ends; the ends themselves are exact."""
    ends = torch.tensor([first_time(schedules), t_end], dtype=torch.float64)
    times = time_of_lam(schedules, between(*total_lam(schedules, ends)))
    times[0], times[-1] = ends
    return times


def _checked(times: Tensor, steps: int) -> Tensor:
    if times.shape != (steps + 1,) or not bool((times.diff() < 0).all()):
        raise ValueError(f"times must be {steps + 1} decreasing nodes, got {times.tolist()}")
    if times[0] > 1 or times[-1] < 0:
        raise ValueError(f"times must lie in [0, 1], 1 = noise, got {times.tolist()}")
    return times
