"""Several objectives at once, all to be maximised: fronts, ranks and the exact hypervolume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from scidiff.rewards.scores import Scores


def dominates(values: Tensor) -> Tensor:
    """Whether row i is at least as good as row j everywhere and better somewhere, (B, B) bool.

    values: (B, O).
    """
    a, b = values[:, None], values[None]
    return (a >= b).all(2) & (a > b).any(2)


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


def ranks(values: Tensor) -> Tensor:
    """Number of the front that a row is on once the fronts before are taken away, (B,) int64,
    0 for the best (Deb et al. 2002). values: (B, O)."""
    rank = torch.full((len(values),), -1, dtype=torch.int64)
    level = 0
    while (left := (rank < 0).nonzero()[:, 0]).numel():
        rank[left[front(values[left])]] = level
        level += 1
    return rank


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


def objectives(parts: Mapping[str, Scores], names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Values (B, O) of the named terms of a reward (`Scorer.parts`), and which rows have all of
    them, (B,) bool.

    Raises ValueError for a name that is no term.
    """
    missing = [n for n in names if n not in parts]
    if missing:
        raise ValueError(f"no term {missing[0]!r}; the reward has {', '.join(parts)}")
    chosen = [parts[n] for n in names]
    return (torch.stack([p.values for p in chosen], 1),
            torch.stack([p.ok for p in chosen]).all(0))
