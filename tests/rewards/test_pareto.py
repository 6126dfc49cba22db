"""Fronts and hypervolumes against brute force."""

import itertools
import math

import pytest
import torch

from scidiff.core import seeded
from scidiff.rewards.pareto import (
    contributions,
    dominates,
    front,
    hypervolume,
    objectives,
    ranks,
)
from scidiff.rewards.scores import Scores, Status

F64 = torch.float64


def drawn(n, k, levels, seed):
    """Values on a grid, so that ties and equal rows come up."""
    return torch.randint(0, levels, (n, k), generator=seeded(seed)).to(F64)


def by_inclusion_and_exclusion(values, reference):
    """Union of boxes by the alternating sum over all subsets."""
    boxes, total = (values - reference).clamp(min=0).tolist(), 0.0
    for size in range(1, len(boxes) + 1):
        for chosen in itertools.combinations(boxes, size):
            total -= (-1) ** size * math.prod(map(min, zip(*chosen, strict=True)))
    return total


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(6))
def test_hypervolume_is_the_volume_of_the_union(k, seed):
    values, reference = drawn(8, k, 6, seed), torch.full((k,), 1.0, dtype=F64)
    expected = by_inclusion_and_exclusion(values, reference)
    assert hypervolume(values, reference) == pytest.approx(expected, abs=1e-9)
    assert hypervolume(values / 7 - 2, reference / 7 - 2) == pytest.approx(expected / 7**k)


def test_hypervolume_by_hand():
    zero = torch.zeros(2, dtype=F64)
    points = torch.tensor([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [1.0, 1.0], [9.0, -1.0]], dtype=F64)
    assert hypervolume(points, zero) == 6.0
    assert contributions(points, zero).tolist() == [1, 1, 1, 0, 0]
    assert hypervolume(points[:0], zero) == 0.0


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_fronts_and_ranks_are_their_definitions(k, seed):
    values = drawn(40, k, 5, seed)
    beaten = dominates(values)
    for i, j in itertools.product(range(0, 40, 7), range(40)):
        a, b = values[i].tolist(), values[j].tolist()
        pairs = list(zip(a, b, strict=True))
        assert bool(beaten[i, j]) == (all(x >= y for x, y in pairs) and a != b)
    assert torch.equal(front(values), ~beaten.any(0))
    rank = ranks(values)
    for level in range(int(rank.max()) + 1):
        left = rank >= level
        assert torch.equal(rank[left] == level, front(values[left]))
    assert (rank[beaten.nonzero()[:, 0]] < rank[beaten.nonzero()[:, 1]]).all()


def test_shapes_and_values_are_checked():
    with pytest.raises(ValueError, match=r"values \(B, O\) and a reference \(O,\)"):
        hypervolume(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="leave out the rows without scores"):
        hypervolume(torch.tensor([[1.0, math.nan]]), torch.zeros(2))


def test_objectives_are_read_from_the_terms_of_a_reward():
    parts = {"qed": Scores.of([(0.5, Status.OK), (0.7, Status.OK)]),
             "dock": Scores.of([(9.0, Status.OK), (math.nan, Status.SKIPPED)])}
    values, ok = objectives(parts, ["dock", "qed"])
    assert values[0].tolist() == [9.0, 0.5] and ok.tolist() == [True, False]
    with pytest.raises(ValueError, match="no term 'sa'; the reward has qed, dock"):
        objectives(parts, ["sa"])
