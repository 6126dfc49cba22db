"""Rows of about one size together, and back in order."""

import pytest
import torch

from scidiff.core import seeded, uniform
from scidiff.data.buckets import buckets, unbucket


def batch(B=37, N=18, F=3, seed=0):
    rng = seeded(seed)
    counts = (uniform((B,), rng) * N).long() + 1
    mask = torch.arange(N) < counts[:, None]
    X = uniform((B, N, F), rng) * mask[..., None]
    return X, uniform((B, N, N), rng) * mask[:, None] * mask[..., None], mask


@pytest.mark.parametrize("most", [None, 4])
def test_rows_come_back_in_order(most):
    X, A, mask = batch()
    groups = buckets(mask, most=most)
    assert sorted(torch.cat([g.rows for g in groups]).tolist()) == list(range(len(mask)))
    assert torch.equal(unbucket([g.cut(X, 1) for g in groups], groups, 18, dims=1), X)
    assert torch.equal(unbucket([g.cut(A, 2) for g in groups], groups, 18, dims=2), A)
    assert torch.equal(unbucket([X[g.rows].sum((1, 2)) for g in groups], groups, 18, dims=0),
                       X[unbucket([g.rows for g in groups], groups, 18, 0)].sum((1, 2)))


def test_groups_are_small_and_cut_nothing():
    _, _, mask = batch(N=18)
    groups = buckets(mask, width=4, most=5)
    assert all(g.nodes in (4, 8, 12, 16, 18) and len(g.rows) <= 5 for g in groups)
    for g in groups:
        counts = mask[g.rows].sum(1)
        assert int(counts.max()) <= g.nodes < int(counts.min()) + 4


def test_holes_and_empty_rows_stay_inside():
    mask = torch.zeros(3, 9, dtype=torch.bool)
    mask[0, [0, 6]] = True
    mask[1, 2] = True
    sizes = {int(r): g.nodes for g in buckets(mask) for r in g.rows}
    assert sizes == {0: 8, 1: 4, 2: 4}
