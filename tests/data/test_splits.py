"""Splits are disjoint, of the stated sizes, the same for a seed, and never cut a scaffold."""

import numpy as np
import pytest

from scidiff.chem.molecules import scaffold
from scidiff.data.splits import (
    column_split,
    describe,
    group_split,
    part_counts,
    random_split,
    scaffold_split,
)

SIZES = {"train": 0.7, "valid": 0.2, "test": 0.1}


def test_random_split_is_a_partition_and_follows_the_seed():
    parts = random_split(1003, SIZES, seed=1)
    assert [len(p) for p in parts.values()] == [702, 201, 100]
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(1003))
    again, other = random_split(1003, SIZES, seed=1), random_split(1003, SIZES, seed=2)
    assert all(np.array_equal(parts[k], again[k]) for k in parts)
    assert not np.array_equal(parts["test"], other["test"])


@pytest.mark.parametrize("n, sizes, expected", [
    (10, {"a": 0.5, "b": 0.5}, [5, 5]),
    (7, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, [3, 2, 2]),
    (10, {"a": 7, "b": 2}, [7, 2]),
    (10, {"a": 0.8}, [8]),
    (10, {"a": 1.0, "b": 0}, [10, 0]),
    (3, {"train": 0.8, "valid": 0.1, "test": 0.1}, [3, 0, 0]),
])
def test_part_counts(n, sizes, expected):
    counts = list(part_counts(n, sizes).values())
    assert counts == expected


@pytest.mark.parametrize("sizes", [{}, {"a": -0.1}, {"a": 0.7, "b": 0.7}, {"a": 50, "b": 51}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="sizes"):
        random_split(100, sizes)


def test_groups_are_never_cut_and_sizes_are_near():
    groups = np.random.default_rng(0).geometric(0.02, 5000).tolist()
    parts = group_split(groups, SIZES, seed=3)
    kinds = [{groups[i] for i in rows} for rows in parts.values()]
    assert not kinds[0] & kinds[1] and not kinds[0] & kinds[2] and not kinds[1] & kinds[2]
    assert sum(len(p) for p in parts.values()) == 5000
    assert [len(p) / 5000 for p in parts.values()] == pytest.approx([0.7, 0.2, 0.1], abs=0.02)
    halves = group_split([0] * 500 + list(range(1, 501)), {"train": 0.5, "test": 0.5})
    assert [len(p) for p in halves.values()] == [500, 500]
    with pytest.raises(ValueError, match="every row"):
        group_split(groups, {"train": 0.5})


def test_scaffolds_are_never_cut():
    cores = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "c1ccoc1", "C1CCNC1"]
    smiles = [f"{'C' * k}{core}" for core in cores for k in range(1, 9)] + ["CCO", "CCN"]
    parts = scaffold_split(smiles, {"train": 0.6, "test": 0.4})
    train, test = ({scaffold(smiles[i]) for i in parts[p]} - {""} for p in ("train", "test"))
    assert train and test and not train & test
    assert sum(map(len, parts.values())) == len(smiles)
    with pytest.raises(ValueError, match="row 1.*'C\\('"):
        scaffold_split(["C", "C("])


def test_column_split():
    parts = column_split(["train", "test", "train", 3])
    assert {k: v.tolist() for k, v in parts.items()} == {"train": [0, 2], "test": [1], "3": [3]}
    with pytest.raises(ValueError, match="empty in 1 rows, first row 1"):
        column_split(["a", None])


def test_describe():
    parts = random_split(2000, {"train": 0.9, "test": 0.1})
    assert describe(parts) == "train 1,800 (90.0%), test 200 (10.0%)"
