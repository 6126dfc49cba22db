"""Batches are a function of (seed, step) and see every row once an epoch."""

import numpy as np
import pytest
import torch

from scidiff.data.tokens import EOS, PAD
from scidiff.training.batches import TokenBatches


def rows(n=50, length=12):
    """Rows that can be told apart: row i spells i in binary, with a length that varies."""
    out = np.full((n, length), PAD, dtype=np.uint8)
    for i in range(n):
        digits = [2 + (i >> b & 1) for b in range(6)] + [2] * (i % 5)
        out[i, : len(digits)] = digits
        out[i, len(digits)] = EOS
    return out


def numbers(state):
    """Which rows of rows() a batch holds."""
    return [sum((int(t) - 2) << b for b, t in enumerate(row[:6])) for row in state.ids]


@pytest.mark.parametrize("n, size, pool", [(50, 10, 64), (50, 5, 2), (48, 48, 1)])
def test_every_row_once_an_epoch(n, size, pool):
    batches = TokenBatches(rows(n), size, seed=3, pool=pool)
    for epoch in range(2):
        steps = range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)
        assert sorted(i for step in steps for i in numbers(batches(step))) == list(range(n))


def test_epochs_and_seeds_differ():
    a, b = TokenBatches(rows(), 10, seed=0), TokenBatches(rows(), 10, seed=1)
    assert numbers(a(0)) != numbers(a(a.per_epoch))
    assert numbers(a(0)) != numbers(b(0))


def test_an_incomplete_batch_is_left_out():
    batches = TokenBatches(rows(50), 16)
    seen = [i for step in range(3) for i in numbers(batches(step))]
    assert batches.per_epoch == 3 and len(set(seen)) == 48


def test_deterministic_in_any_call_order():
    forward, backward = TokenBatches(rows(), 8, seed=5), TokenBatches(rows(), 8, seed=5)
    ahead = [forward(step).ids for step in range(20)]
    back = [backward(step).ids for step in reversed(range(20))]
    assert all(torch.equal(a, b) for a, b in zip(ahead, reversed(back), strict=True))


def test_processes_share_a_batch():
    batches = TokenBatches(rows(), 10)
    parts = [numbers(batches(2, rank, 3)) for rank in range(3)]
    assert sorted(sum(parts, [])) == sorted(numbers(batches(2)))
    with pytest.raises(ValueError, match="2 rows cannot be shared by 3 processes"):
        TokenBatches(rows(), 2)(0, 0, 3)


def test_rows_are_unchanged_and_cut_behind_the_longest():
    data = rows()
    batches = TokenBatches(data, 10)
    x = batches(1)
    assert x.ids.dtype == torch.int64
    assert x.ids.shape[1] == int((x.ids != PAD).sum(1).max())
    for i, row in zip(numbers(x), x.ids, strict=True):
        assert row.tolist() == data[i, : len(row)].tolist() and not data[i, len(row) :].any()
    assert int(batches.units(x)) == int((x.ids != PAD).sum())


def test_batches_hold_similar_lengths():
    batches = TokenBatches(rows(), 10)
    spread = [np.ptp((batches(s).ids != PAD).sum(1).numpy()) for s in range(batches.per_epoch)]
    assert max(spread) <= 1  # five lengths, ten rows of each


def test_once_keeps_the_order():
    batches = TokenBatches(rows(23), 10)
    assert [i for x in batches.once() for i in numbers(x)] == list(range(23))
    assert [len(x) for x in batches.once()] == [10, 10, 3]


def test_small_and_empty_data():
    assert len(TokenBatches(rows(3), 256)(0)) == 3 and len(TokenBatches(rows(3), 256)) == 3
    with pytest.raises(ValueError, match="0 rows"):
        TokenBatches(rows(0), 4)
