"""Several objectives at once, all to be maximised: fronts, ranks, the exact hypervolume, and one
number for a direction in which a front is sought."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scidiff.rewards.scores import Scores, sought, terms

SLOPE = 0.05  # of the mean in an augmented Chebyshev scalarisation
_ROWS = 1024  # compared with all others at once


def dominates(values: Tensor, others: Tensor) -> Tensor:
    """Whether row i of values (A, O) is at least as good as row j of others (B, O) everywhere and
    better somewhere, (A, B) bool."""
    at_least = torch.ones(len(values), len(others), dtype=torch.bool)
    better = torch.zeros_like(at_least)
    for a, b in zip(values.T, others.T, strict=True):
        at_least &= a[:, None] >= b
        better |= a[:, None] > b
    return at_least & better


def _beaten(values: Tensor, by: Tensor) -> Tensor:
    """How many rows of `by` (A, O) dominate each of values (B, O), (B,) int64."""
    parts = by.split(_ROWS)
    return sum((dominates(part, values).sum(0) for part in parts), torch.zeros(len(values)).long())


def front(values: Tensor) -> Tensor:
    """Rows that no row dominates, (B,) bool; equal rows are kept together. values: (B, O)."""
    # in order of the sum a row can be dominated only by those before it
    kept = torch.zeros(len(values), dtype=torch.bool)
    best = values[:0]
    for i in torch.argsort(values.sum(1), descending=True, stable=True).tolist():
        row = values[i]
        if not ((best >= row).all(1) & (best > row).any(1)).any():
            kept[i] = True
            best = torch.cat([best, row[None]])
    return kept


def fronts(values: Tensor) -> Iterator[Tensor]:
    """Rows of each front once those before are taken away, the best one first (Deb et al. 2002),
    (F,) int64. values: (B, O)."""
    beaten = _beaten(values, values)
    while (rows := (beaten == 0).nonzero()[:, 0]).numel():
        yield rows
        beaten -= _beaten(values, values[rows])
        beaten[rows] = -1  # taken away


def ranks(values: Tensor) -> Tensor:
    """Number of the front that a row is on, (B,) int64, 0 for the best. values: (B, O)."""
    rank = torch.empty(len(values), dtype=torch.int64)
    for level, rows in enumerate(fronts(values)):
        rank[rows] = level
    return rank


def handed_on(values: Tensor, n: int) -> list[int]:
    """n rows, front by front; of the front that does not fit whole those that are far apart, each
    objective measured by its range on that front. values: (B, O)."""
    chosen: list[int] = []
    for rows in fronts(values):
        left = n - len(chosen)
        if left <= 0:
            break
        kept = rows if len(rows) <= left else rows[far_apart(values[rows], left)]
        chosen += kept.tolist()
    return chosen


def far_apart(values: Tensor, n: int) -> Tensor:
    """n rows far from each other, (n,) int64: the best of the first objective, then always the row
    whose nearest chosen one is farthest (Gonzalez 1985). values: (B, O)."""
    unit = _in_range(values)
    rows = [int(unit[:, 0].argmax())]
    near = torch.full((len(unit),), math.inf, dtype=unit.dtype)
    while len(rows) < n:
        near = torch.minimum(near, (unit - unit[rows[-1]]).square().sum(1))
        near[rows[-1]] = -1
        rows.append(int(near.argmax()))
    return torch.tensor(rows)


def _in_range(values: Tensor) -> Tensor:
    """Each objective from 0, its least value, to 1, its largest; 1 where all are equal."""
    low, high = values.amin(0), values.amax(0)
    return torch.where(high > low, (values - low) / (high - low).clamp(min=1e-300), 1.0)


def scalarised(values: Tensor, weights: Tensor) -> Tensor:
    """One number a row for the direction `weights` (O,) of the simplex, (B,) in [0, 1 + SLOPE].

    1 + SLOPE - max_i w_i g_i - SLOPE sum_i w_i g_i, g being the distance to the best of each
    objective in units of its range: the augmented Chebyshev scalarisation of ParEGO (Knowles 2006,
    doi 10.1109/TEVC.2005.851274), whose maxima reach every part of a front. values: (B, O).
    """
    gap = weights * (1 - _in_range(values))
    return 1 + SLOPE - gap.amax(1) - SLOPE * gap.sum(1)


def hypervolume(values: Tensor, reference: Tensor) -> float:
    """Volume between a reference point and all rows, exact in any number of objectives.

    Rows that are not better than the reference (O,) everywhere add nothing. The last objective is
    cut into slabs between neighbouring values, each a problem of one objective less: O(B log B)
    for two objectives, O(B^2 log B) for three. values: (B, O).
    """
    if values.ndim != 2 or reference.shape != values.shape[1:]:
        raise ValueError(f"expected values (B, O) and a reference (O,), got {tuple(values.shape)} "
                         f"and {tuple(reference.shape)}")
    if not values.isfinite().all():
        raise ValueError("hypervolume needs finite values; leave out the rows without scores")
    above = (values - reference).double()
    return _volume(above[(above > 0).all(1)])


def _volume(above: Tensor) -> float:
    """Volume of the union of boxes from the origin to each row."""
    if not len(above):
        return 0.0
    if above.shape[1] == 1:
        return float(above.max())
    above = above[front(above)]
    order = torch.argsort(above[:, -1], descending=True)
    above = above[order]
    depth = above[:, -1] - torch.cat([above[1:, -1], above.new_zeros(1)])
    if above.shape[1] == 2:  # at each slab the best so far of the other objective
        return float((above[:, 0].cummax(0).values * depth).sum())
    return sum(float(d) * _volume(above[:i + 1, :-1]) for i, d in enumerate(depth) if d > 0)


def contributions(values: Tensor, reference: Tensor) -> Tensor:
    """Volume that only this row covers, (B,): what a set would lose without it. values: (B, O)."""
    whole = hypervolume(values, reference)
    rest = [torch.cat([values[:i], values[i + 1:]]) for i in range(len(values))]
    return torch.tensor([whole - hypervolume(r, reference) for r in rest], dtype=torch.float64)


@dataclass(frozen=True)
class Objectives:
    """Objects by what is to be maximised."""

    names: tuple[str, ...]
    values: Tensor  # (B, O) float64, NaN where one has no value
    floors: Tensor  # (O,) float64, the least that each can be, -inf where nothing bounds it

    @property
    def known(self) -> Tensor:
        """Rows that have all of them, (B,) bool."""
        return self.values.isfinite().all(1)

    def ranks(self) -> Tensor:
        """Number of the front that a row is on, (B,) int64, among the known rows; B elsewhere."""
        rank = torch.full((len(self.values),), len(self.values))
        rank[self.known] = ranks(self.values[self.known])
        return rank

    def along(self, weights: Tensor) -> Tensor:
        """`scalarised` in a direction (O,), over the known rows, (B,); NaN elsewhere."""
        told = torch.full((len(self.values),), math.nan, dtype=torch.float64)
        if self.known.any():
            told[self.known] = scalarised(self.values[self.known], weights)
        return told


def objectives(reward: Any, parts: Mapping[str, Scores]) -> Objectives:
    """Objectives of a reward from the scores of its terms (`Scorer.parts`): what stands in its
    `pareto(...)`, or the terms themselves."""
    if names := sought(reward):
        return Objectives(names, reward.objective_values(parts), reward.objective_floors)
    floors = [getattr(term, "floor", None) for term in terms(reward).values()]
    told = [p.values.masked_fill(~p.ok, math.nan) for p in (parts[n] for n in terms(reward))]
    least = torch.tensor([-math.inf if f is None else f for f in floors], dtype=torch.float64)
    return Objectives(tuple(terms(reward)), torch.stack(told, 1), least)
