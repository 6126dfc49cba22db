"""Solvers by name: what rows a name stands for, on which grid, and which eta it knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral

import torch
from torch import Tensor

from scidiff.messages import nearest
from scidiff.processes.schedules import Schedule, lam, total_lam
from scidiff.samplers.grids import make_nodes
from scidiff.samplers.splitting import splitting_table
from scidiff.samplers.tables import (
    Scheme,
    Table,
    euler_table,
    multistep_table,
    reverse_table,
)
from scidiff.samplers.two_row import heun_scheme, single_step_scheme

Schedules = Sequence[Schedule]


@dataclass(frozen=True)
class Solver:
    """How to make the rows of one name."""

    make: Callable[[Schedules, Tensor, float, float], Scheme]  # from schedules, nodes, eta, rho
    grid: str = "lambda"
    eta: float | None = None  # the only one it stands for; None: any


def _each(
    make: Callable[[Schedule, Tensor, float, float], Table],
    grid: str = "lambda",
    eta: float | None = None,
) -> Solver:
    """A solver of one row a step, the same for every component."""

    def scheme(schedules: Schedules, nodes: Tensor, eta: float, rho: float) -> Scheme:
        return Scheme(nodes, tuple(make(s, nodes, eta, rho) for s in schedules))

    return Solver(scheme, grid, eta)


def _reverse(schedule: Schedule, nodes: Tensor, eta: float, rho: float) -> Table:
    return reverse_table(schedule, nodes, rho)


def _splitting(schedule: Schedule, nodes: Tensor, eta: float, rho: float) -> Table:
    return splitting_table(schedule, nodes, rho)


_ALWAYS = 10**9

SOLVERS: dict[str, Solver] = {
    "exp1": _each(partial(multistep_table, 1)),
    "ddim": _each(partial(multistep_table, 1), eta=0.0),
    "ancestral": _each(partial(multistep_table, 1), eta=1.0),
    "2m": _each(partial(multistep_table, 2)),
    "2m_midpoint": _each(partial(multistep_table, 2, midpoint=True)),
    "3m": _each(partial(multistep_table, 3, corrected=1)),
    "unipc1": _each(partial(multistep_table, 1, corrected=_ALWAYS)),
    "unipc2": _each(partial(multistep_table, 2, corrected=_ALWAYS)),
    "unipc3": _each(partial(multistep_table, 3, corrected=_ALWAYS)),
    "2s": Solver(single_step_scheme),
    "heun": Solver(heun_scheme, grid="edm"),
    "euler": _each(euler_table, grid="time"),
    "reverse": _each(_reverse, grid="time", eta=1.0),
    "s4": _each(_splitting, grid="time", eta=1.0),
}


def default_solver(eta: float) -> str:
    """2m for eta <= 1; exp1 above, where an extrapolated guess amplifies what is injected."""
    return "2m" if eta <= 1 else "exp1"


def make_scheme(
    solver: str | None,
    schedules: Schedules,
    steps: int,
    eta: float = 1.0,
    rho: float = 1.0,
    grid: str | Tensor | Sequence[float] | None = None,
) -> Scheme:
    """Make the rows of a solver on its own grid, a named one or given nodes.

    A name that stands for one eta takes it also where eta is left at 1. ValueError: an unknown
    name, eta or rho out of range, nodes that the schedule cannot reach.
    """
    name = default_solver(eta) if solver is None else solver
    _check(name, steps, eta, rho)
    plan = SOLVERS[name]
    nodes = make_nodes(plan.grid if grid is None else grid, schedules, steps)
    scheme = plan.make(schedules, nodes, eta if plan.eta is None else plan.eta, rho)
    _check_finite(name, schedules, scheme, nodes)
    return scheme


def _check(solver: str, steps: int, eta: float, rho: float) -> None:
    if solver not in SOLVERS:
        raise ValueError(
            f"unknown solver {solver!r}; expected one of {', '.join(SOLVERS)}"
            f"{nearest(solver, SOLVERS)}"
        )
    if not (isinstance(steps, Integral) and steps >= 1):
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
    if not (eta >= 0 and rho >= 0):  # nor NaN
        raise ValueError(f"eta and rho must not be negative, got eta={eta} and rho={rho}")
    only = SOLVERS[solver].eta
    if only is not None and eta not in (1.0, only):
        raise ValueError(f"solver {solver!r} stands for one SDE, eta must be {only:g}, got {eta}")


def _check_finite(solver: str, schedules: Schedules, scheme: Scheme, nodes: Tensor) -> None:
    """Refuse rows that are no numbers, and a last place without noise, where a score has none."""
    finite = torch.stack([table.stacked().isfinite().all(1) for table in scheme.tables]).all(0)
    finite[-1] &= total_lam(schedules, nodes[-1]).isfinite()
    if bool(finite.all()):
        return
    if not all(bool(lam(s, nodes[0]).isfinite()) for s in schedules):
        raise ValueError(
            f"solver {solver!r} cannot start at t = {float(nodes[0])}, where this schedule leaves "
            "no signal; start the times below it"
        )
    raise ValueError(
        f"solver {solver!r} cannot reach t = {float(nodes[-1])}, where this schedule leaves "
        "no noise; end the times above it (default 1e-4)"
    )
