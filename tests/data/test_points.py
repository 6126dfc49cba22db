"""Atoms in space: what goes into a packed table comes out, and batches hold what it holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from point_targets import MOLECULES, water

from scidiff.core import seeded
from scidiff.data.graphs import NodeCounts
from scidiff.data.points import (
    PackedPoints,
    PointCanvas,
    Points,
    PointState,
    one_hot_bonds,
    pair_mask,
)


def same(a: Points, b: Points) -> bool:
    near = np.allclose(a.positions, b.positions, atol=1e-6)
    bonds = (a.bonds is None) == (b.bonds is None) and (
        a.bonds is None or np.array_equal(a.bonds, b.bonds)
    )
    return (
        np.array_equal(a.numbers, b.numbers)
        and np.array_equal(a.charges, b.charges)
        and near
        and bonds
    )


def test_a_packed_table_gives_its_molecules_back() -> None:
    packed = PackedPoints.of(MOLECULES)
    assert len(packed) == 5
    assert all(same(packed[i], m) for i, m in enumerate(MOLECULES))


def test_rows_are_taken_in_any_order_and_repeated() -> None:
    rows = np.array([3, 0, 0, 2, 1])
    cut = PackedPoints.of(MOLECULES).take(rows)
    assert all(same(cut[i], MOLECULES[r]) for i, r in enumerate(rows))


def test_tables_are_joined() -> None:
    parts = [PackedPoints.of(MOLECULES[:2]), PackedPoints.of(MOLECULES[2:])]
    whole = PackedPoints.cat(parts)
    assert all(same(whole[i], m) for i, m in enumerate(MOLECULES))
    bare = PackedPoints.cat([parts[0], PackedPoints.of([Points.of([2], [[0, 0, 0]])])])
    assert len(bare) == 3 and bare[0].bonds is None


def test_without_bonds_of_every_molecule_none_are_kept() -> None:
    bare = Points.of([2], [[0, 0, 0]])
    packed = PackedPoints.of([water(), bare])
    assert packed.bond_counts is None and packed[0].bonds is None
    assert packed.take(np.array([1])).bond_counts is None


@pytest.mark.parametrize("bonded", [True, False])
def test_a_table_comes_back_from_its_file(tmp_path, bonded) -> None:
    molecules = MOLECULES if bonded else [Points.of(m.numbers, m.positions) for m in MOLECULES]
    packed = PackedPoints.of(molecules)
    packed.save(tmp_path / "m.npz")
    again = PackedPoints.load(tmp_path / "m.npz")
    assert all(same(again[i], m) for i, m in enumerate(molecules))


def test_another_npz_is_refused_by_name(tmp_path) -> None:
    np.savez(tmp_path / "x.npz", weights=np.zeros(2))
    with pytest.raises(ValueError, match="holds weights, expected"):
        PackedPoints.load(tmp_path / "x.npz")


def test_a_padded_batch_says_what_the_table_says() -> None:
    packed = PackedPoints.of(MOLECULES)
    species = np.searchsorted([1, 2, 6, 7, 8], packed.numbers)
    rows = np.array([3, 1, 2])
    state = packed.padded(rows, species, 5)
    assert state.positions.shape == (3, 5, 3) and state.types.shape == (3, 5, 5)
    for b, r in enumerate(rows):
        m, n = MOLECULES[r], len(MOLECULES[r])
        assert int(state.mask[b].sum()) == n and bool(state.mask[b, :n].all())
        assert np.allclose(state.positions[b, :n], m.positions, atol=1e-6)
        symbols = np.array([1, 2, 6, 7, 8])[state.types[b, :n].argmax(-1).numpy()]
        assert np.array_equal(symbols, m.numbers)
        assert np.array_equal(state.bonds[b, :n, :n].argmax(-1), m.bonds)
    assert not state.positions[~state.mask].any() and not state.types[~state.mask].any()
    assert torch.equal(state.bonds.sum(-1), pair_mask(state.mask).float())


def test_one_hot_bonds_have_no_diagonal() -> None:
    mask = torch.tensor([[True, True, False]])
    bonds = one_hot_bonds(torch.ones(1, 3, 3, dtype=torch.int64), mask)
    assert bonds.sum() == 2 and bonds[0, 0, 1, 1] == 1


@pytest.mark.parametrize(
    "field, value",
    [("positions", [[0, 0]]), ("charges", [1]), ("bonds", [[0, 1], [1, 0]])],
    ids=["positions", "charges", "bonds"],
)
def test_points_that_do_not_match_are_refused(field, value) -> None:
    given = {"positions": np.zeros((3, 3)), field: value}
    with pytest.raises(ValueError, match=f"{field} must be"):
        Points.of([1, 1, 1], **given)


@pytest.mark.parametrize(
    "points, why",
    [
        (Points.of([], np.zeros((0, 3))), "no atoms"),
        (Points.of([1, 1], [[0, 0, 0], [0, np.nan, 0]]), "position of atom 1"),
        (Points.of([1, 1], np.eye(3)[:2], bonds=[[0, 1], [0, 0]]), "not symmetric"),
    ],
    ids=["none", "nan", "bonds"],
)
def test_what_is_no_molecule_says_why(points, why) -> None:
    assert why in points.problem()
    assert water().problem() == ""


def test_states_are_indexed_and_joined_with_their_masks() -> None:
    packed = PackedPoints.of(MOLECULES)
    species = np.searchsorted([1, 2, 6, 7, 8], packed.numbers)
    state = packed.padded(np.arange(5), species, 5)
    back = PointState.cat([state[torch.tensor([3, 4])], state[torch.tensor([0, 1, 2])]])
    again = back[torch.tensor([2, 3, 4, 0, 1])]
    assert torch.equal(again.positions, state.positions)
    assert torch.equal(again.bonds, state.bonds) and torch.equal(again.mask, state.mask)


def test_a_canvas_has_the_sizes_of_its_law() -> None:
    canvas = PointCanvas(NodeCounts(torch.tensor([0.0, 0, 1, 0, 3])), 5, 4)
    blank = canvas(400, seeded(0))
    sizes = blank.mask.sum(1)
    assert blank.bonds.shape == (400, 4, 4, 4) and set(sizes.tolist()) == {2, 4}
    share = (sizes == 4).double().mean()
    assert abs(share - 0.75) < 4 * (0.75 * 0.25 / 400) ** 0.5
    assert PointCanvas(NodeCounts.fixed(3), 5)(2, seeded(0)).bonds is None


@pytest.mark.parametrize("name", ["positions", "types", "mask", "bonds"])
def test_a_state_checks_its_shapes(name) -> None:
    good = {
        "positions": torch.zeros(2, 3, 3),
        "types": torch.zeros(2, 3, 5),
        "mask": torch.ones(2, 3, dtype=torch.bool),
        "bonds": torch.zeros(2, 3, 3, 4),
    }
    bad = {**good, name: good[name][:, :2]}
    with pytest.raises(ValueError, match="must be"):
        PointState(**bad)
