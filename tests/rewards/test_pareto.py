"""Fronts and hypervolumes against brute force."""

import itertools
import math

import pytest
import torch

from scidiff.core import seeded
from scidiff.rewards.combine import reward
from scidiff.rewards.pareto import (
    contributions,
    dominates,
    front,
    handed_on,
    hypervolume,
    objectives,
    ranks,
    scalarised,
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
    beaten = dominates(values, values)
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


def test_objectives_are_the_terms_of_a_reward_or_what_its_pareto_holds():
    parts = {"qed": Scores.of([(0.5, Status.OK), (0.7, Status.OK)]),
             "sa": Scores.of([(0.2, Status.OK), (math.nan, Status.SKIPPED)])}
    found = objectives(reward("qed*sa"), parts)
    assert found.names == ("qed", "sa") and found.values[0].tolist() == [0.5, 0.2]
    assert found.known.tolist() == [True, False] and found.floors.tolist() == [0.0, 0.0]
    made = reward("pareto(1 - sa, qed/2 - 0.1)")
    for front_of in (made, reward(made, floor=-1.0)):
        found = objectives(front_of, parts)
        assert found.names == ("1 - sa", "qed / 2 - 0.1")
        assert found.values[0].tolist() == pytest.approx([0.8, 0.15])
        assert found.known.tolist() == [True, False]
        assert found.floors.tolist() == pytest.approx([0.0, -0.1])


def test_a_front_that_fits_is_handed_on_whole_and_the_next_one_spread_out():
    first = torch.tensor([[float(i), 10.0 - i] for i in range(11)], dtype=F64)
    values = torch.cat([first - 1, first])  # the front is the second half
    assert sorted(handed_on(values, 11)) == list(range(11, 22))
    some = handed_on(values, 14)
    assert sorted(some[:11]) == list(range(11, 22))
    assert sorted(some[11:]) == [0, 5, 10]  # both ends and the middle
    assert len(set(handed_on(values, 30))) == 22


def test_equal_rows_are_handed_on_as_well():
    assert len(set(handed_on(torch.ones(5, 2, dtype=F64), 3))) == 3


@pytest.mark.parametrize("seed", range(4))
def test_every_direction_has_its_best_row_on_the_front_and_every_row_of_a_front_a_direction(seed):
    values = torch.rand(60, 3, generator=seeded(seed), dtype=F64) * torch.tensor([1.0, 9.0, 0.1])
    directions = -torch.rand(4_000, 3, generator=seeded(seed + 9), dtype=F64).log()
    directions = directions / directions.sum(1, keepdim=True)
    told = torch.stack([scalarised(values, w) for w in directions])
    assert told.min() >= 0 and told.max() <= 1.05 + 1e-12
    reached = set(told.argmax(1).tolist())
    on_front = set(front(values).nonzero()[:, 0].tolist())
    assert reached <= on_front and len(reached) > 0.8 * len(on_front)


def test_a_concave_front_is_reached_where_a_weighted_sum_sees_its_ends_only():
    angle = torch.linspace(0, math.pi / 2, 21, dtype=F64)
    values = torch.stack([1 - angle.sin(), 1 - angle.cos()], 1)  # bent inwards
    shares = torch.linspace(0.01, 0.99, 99, dtype=F64)
    weights = torch.stack([shares, 1 - shares], 1)
    assert set((weights @ values.T).argmax(1).tolist()) == {0, 20}
    assert len({int(scalarised(values, w).argmax()) for w in weights}) > 10
