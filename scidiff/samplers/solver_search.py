"""Searching the solver for one model and one budget: which rows, which order at every step, which
nodes, which eta and rho."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Generic, TypeVar

import torch
from torch import Tensor

from scidiff.core import Rng, seeded, uniform
from scidiff.processes.gaussian import Continuous, ContinuousDenoiser
from scidiff.processes.schedules import Schedule, time_of_lam, total_lam
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.grids import edm_times, first_time, uniform_lambdas, uniform_times
from scidiff.samplers.probability_flow import Flow
from scidiff.samplers.tables import Scheme, Table, multistep_table

X = TypeVar("X", bound=Continuous)

_MOST = 3  # orders above alternate in sign where steps are long
_STRIDE = 0.4  # share of a gap by which nodes move at first


@dataclass(frozen=True)
class Found:
    """A solver: exponential rows with an order and a node of their own at every step."""

    times: Tensor  # (K + 1,) nodes, noise first
    orders: tuple[int, ...]  # (K,), at most 3
    corrected: bool  # whether rows are put right by the guess at their end (UniPC)
    eta: float = 0.0
    rho: float = 1.0
    error: float = float("inf")  # of this one, as the search measured it
    tried: int = 0  # runs of the sampler

    def scheme(self, schedules: Sequence[Schedule]) -> Scheme:
        """The rows, for `GaussianSampler(..., scheme=...)`."""
        return mixed_order_scheme(
            self.orders, schedules, self.times, self.eta, self.rho, corrected=self.corrected
        )


def mixed_order_scheme(
    orders: Sequence[int],
    schedules: Sequence[Schedule],
    times: Tensor,
    eta: float = 0.0,
    rho: float = 1.0,
    *,
    corrected: bool = False,
) -> Scheme:
    """Rows of `multistep_table` with an order for each step; the correction that a row makes to
    the one before is of that one's order (Liu et al. 2023 search over such tables)."""
    if len(orders) != len(times) - 1 or not all(1 <= p <= _MOST for p in orders):
        raise ValueError(
            f"orders must be {len(times) - 1} of 1 to {_MOST}, one a step, got {list(orders)}"
        )
    rows = tuple(_mixed(orders, s, times, eta, rho, corrected) for s in schedules)
    return Scheme(times, rows)


def _mixed(
    orders: Sequence[int],
    schedule: Schedule,
    times: Tensor,
    eta: float,
    rho: float,
    corrected: bool,
) -> Table:
    plain = {p: multistep_table(p, schedule, times, eta, rho) for p in {*orders}}
    w = torch.zeros(len(orders), _MOST + 1, dtype=times.dtype)
    for k, p in enumerate(orders):
        w[k, :p] = plain[p].w[k]
    if corrected:
        right = {
            p: multistep_table(p, schedule, times, eta, rho, corrected=len(orders))
            for p in {*orders}
        }
        for k, p in enumerate(orders[:-1]):
            w[k + 1, : p + 1] += right[p].w[k + 1]
            w[k + 1, :p] -= plain[p].w[k + 1]
    used = max(max(orders), 1 + max(orders[:-1], default=0) if corrected else 0)
    first = plain[orders[0]]
    return Table(first.a, w[:, :used], first.b)


def search_table(
    denoiser: ContinuousDenoiser[X],
    canvas: Callable[[int, Rng], X],
    steps: int,
    rng: Rng,
    *,
    n: int = 32,
    t_end: float = 1e-4,
    rounds: int = 3,
    score: Callable[[X], float] | None = None,
    etas: Sequence[float] = (0.0,),
    rhos: Sequence[float] = (1.0,),
    tol: float = 1e-6,
) -> Found:
    """Find the solver of `steps` steps with the least error on `n` chains of this model.

    First every named grid with every order, plain or corrected, eta and rho; then `rounds` of
    coordinate descent, which moves one node at a time (in lambda, by a share of its gap) and
    changes the order of one step at a time.

    The error is the median distance to where the exact flow takes the same particles at t_end
    (eta = 0 only: noise has no trajectory to keep to), or `score` of the finished chains, smaller
    better, under the same seed for every candidate. What it finds is fitted to these n chains:
    measure it on others.
    """
    if score is None and any(eta != 0 for eta in etas):
        raise ValueError(
            f"chains with noise have no exact end: give a score, got etas {list(etas)}"
        )
    trial = _Trial(denoiser, canvas, n, t_end, score, tol, rng)
    schedules = trial.schedules
    best = Found(uniform_lambdas(schedules, steps, t_end), (1,) * steps, False)
    for found in _first(schedules, steps, t_end, etas, rhos):
        best = trial.better(best, found)
    for size in [_STRIDE / 2**i for i in range(rounds)]:
        for i, way in product(range(1, steps), (-size, size)):
            best = trial.better(best, _moved(best, schedules, i, way))
        for k, change in product(range(steps), (-1, 1)):
            best = trial.better(best, _reordered(best, k, change))
    return replace(best, tried=trial.runs)


class _Trial(Generic[X]):
    """Measure a candidate on the same chains as every other."""

    def __init__(
        self,
        denoiser: ContinuousDenoiser[X],
        canvas: Callable[[int, Rng], X],
        n: int,
        t_end: float,
        score: Callable[[X], float] | None,
        tol: float,
        rng: Rng,
    ) -> None:
        self.denoiser, self.canvas, self.score, self.runs = denoiser, canvas, score, 0
        self.schedules = [c.schedule for c in denoiser.components]
        self.start = GaussianSampler(denoiser, canvas, steps=1).init(n, rng)
        self.seed = int(uniform((1,), rng) * 2**24)
        ends = torch.tensor([first_time(self.schedules), t_end], dtype=torch.float64)
        flow = Flow(denoiser, self.start)
        self.exact = None if score else flow.follow(self.start, ends, tol)[-1]

    def better(self, best: Found, other: Found | None) -> Found:
        """The one with the smaller error; `other` is measured here."""
        if other is None:
            return best
        error = self._error(other.scheme(self.schedules))
        self.runs += 1
        return replace(other, error=error) if error < best.error else best

    def _error(self, scheme: Scheme) -> float:
        sampler = GaussianSampler(
            self.denoiser, self.canvas, scheme=scheme, denoise=self.score is not None
        )
        x, rng = sampler.arrive(self.start.moved(self.start.parts), 0), seeded(self.seed)
        for k in range(sampler.num_steps):
            x = sampler.step(x, k, rng)
        if self.score is not None:
            return self.score(x)
        gaps = zip(x.parts, self.exact or (), strict=True)
        flat = torch.cat([(a - b).double().flatten(1) for a, b in gaps], 1)
        return float(flat.norm(dim=1).median())


# ---------------------------------------------------------------- candidates


def _first(
    schedules: Sequence[Schedule],
    steps: int,
    t_end: float,
    etas: Sequence[float],
    rhos: Sequence[float],
) -> Iterator[Found]:
    """Every grid, order and kind of row; grids equal in the lambda of one component too."""
    grids = [
        uniform_times(steps, t_end, first_time(schedules)),
        edm_times(schedules, steps, t_end),
        *(uniform_lambdas(group, steps, t_end) for group in _groups(schedules)),
    ]
    for times, order, corrected, eta, rho in product(grids, (1, 2, 3), (False, True), etas, rhos):
        orders = tuple(min(order, k + 1) for k in range(steps))
        yield Found(times, orders, corrected, eta, rho)


def _groups(schedules: Sequence[Schedule]) -> list[Sequence[Schedule]]:
    return [schedules] if len(schedules) == 1 else [schedules, *([s] for s in schedules)]


def _moved(found: Found, schedules: Sequence[Schedule], i: int, way: float) -> Found:
    """Node i a share of the way to its neighbour in lambda."""
    value = total_lam(schedules, found.times[i - 1 : i + 2])
    gap = value[2] - value[1] if way > 0 else value[1] - value[0]
    times = found.times.clone()
    times[i] = time_of_lam(schedules, value[1] + way * gap)
    return replace(found, times=times)


def _reordered(found: Found, k: int, change: int) -> Found | None:
    order = found.orders[k] + change
    if not 1 <= order <= min(_MOST, k + 1):
        return None
    return replace(found, orders=(*found.orders[:k], order, *found.orders[k + 1 :]))
