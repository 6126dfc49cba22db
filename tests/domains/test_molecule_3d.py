"""What a state in space says as a molecule, valid or not, and what goes back into one."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from point_targets import ammonium, carbon_dioxide, water

from scidiff.data.points import PackedPoints, Points
from scidiff.data.tokens import UnknownToken, Vocabulary
from scidiff.domains.molecule_3d import Molecule3DDomain, placed, species

SYMBOLS = ("C", "H", "N", "O", "[N+]", "[O-]")
DOMAIN = Molecule3DDomain(Vocabulary(SYMBOLS, "points"), angstrom=1.4)


def test_symbols_are_numbers_and_charges():
    numbers, charges = species(("H", "C", "[N+]", "[O-]", "Cl", "[S+2]"))
    assert numbers.tolist() == [1, 6, 7, 8, 17, 16] and charges.tolist() == [0, 0, 1, -1, 0, 2]


def test_a_state_gives_its_molecules_back():
    given = [water(), carbon_dioxide(), ammonium()]
    found = DOMAIN.points(DOMAIN.state(PackedPoints.of(given)))
    for points, want in zip(found, given, strict=True):
        assert np.array_equal(points.numbers, want.numbers)
        assert np.array_equal(points.charges, want.charges)
        assert np.array_equal(points.bonds, want.bonds)
        assert np.allclose(points.positions, want.positions, atol=1e-5)


def test_records_are_molecules_with_a_conformer_and_say_how_bonds_were_read():
    records = DOMAIN.decode(DOMAIN.state(PackedPoints.of([water(), carbon_dioxide()])))
    assert [r.text for r in records] == ["O", "O=C=O"]
    assert all(r.valid and r.note == "bonds: model" and not r.reason for r in records)
    positions = records[0].obj.GetConformer().GetPositions()
    assert np.allclose(positions, water().positions, atol=1e-5)
    assert records[0].obj.GetNumAtoms() == 3  # hydrogens are atoms


def test_without_bonds_in_the_state_distances_say_them():
    state = DOMAIN.state(PackedPoints.of([water()]))
    (record,) = DOMAIN.decode(replace(state, bonds=None))
    assert record.valid and record.text == "O" and record.note == "bonds: edm"


@pytest.mark.parametrize("rule", ["edm", "rdkit"])
def test_distances_may_overrule_the_state(rule):
    domain = replace(DOMAIN, bonds=rule)
    state = domain.state(PackedPoints.of([water()]))
    (record,) = domain.decode(replace(state, bonds=torch.zeros_like(state.bonds)))
    assert record.valid and record.text == "O" and record.note == f"bonds: {rule}"


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda b: b * 0, "disconnected|radical"),
        (lambda b: np.array([[0, 3, 1], [3, 0, 0], [1, 0, 0]]), "valence"),
        (lambda b: np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]), "disconnected"),
    ],
    ids=["none", "triple", "two parts"],
)
def test_an_invalid_row_is_kept_with_its_reason_and_its_atoms(change, why):
    broken = Points.of([8, 1, 1], water().positions, bonds=change(water().bonds))
    (record,) = DOMAIN.decode(DOMAIN.state(PackedPoints.of([broken])))
    assert not record.valid and record.obj is None and record.points is not None
    assert re.match(why, record.reason)


def test_an_atom_short_of_bonds_is_not_valid():
    methyl = Points.of([6, 1, 1, 1], np.eye(4)[:, :3], bonds=[[0, 1, 1, 1], *[[1, 0, 0, 0]] * 3])
    (record,) = DOMAIN.decode(DOMAIN.state(PackedPoints.of([methyl])))
    assert not record.valid and record.reason.startswith("radical")


def test_atoms_that_the_model_does_not_know_are_named():
    with pytest.raises(UnknownToken, match=r"row 2 has atom type \[H-\]"):
        DOMAIN.state(PackedPoints.of([water(), Points.of([1], [[0, 0, 0]], [-1], [[0]])]))
    with pytest.raises(ValueError, match="expected 6 types, got 5"):
        DOMAIN.decode(replace(DOMAIN.state(PackedPoints.of([water()])),
                              types=torch.zeros(1, 3, 5)))  # fmt: skip


def test_smiles_have_a_structure():
    state = DOMAIN.encode(["CO", "N"])
    assert [r.text for r in DOMAIN.decode(state)] == ["CO", "N"]
    assert np.array_equal(placed("CO").positions, placed("CO").positions)
    with pytest.raises(ValueError, match="row 2: 'C\\(': expected a readable SMILES"):
        DOMAIN.encode(["C", "C("])
    with pytest.raises(ValueError, match="fragments"):
        DOMAIN.encode(["C.C"])


def test_structures_of_one_molecule_have_one_key():
    (a,) = DOMAIN.decode(DOMAIN.encode(["OC"]))
    turned = a.points.positions @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    b = DOMAIN.record(replace(a.points, positions=turned))
    assert DOMAIN.key(a) == DOMAIN.key(b) == "CO" and DOMAIN.keys(["OC"]) == ["CO"]


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="bonds must be one of model, edm, rdkit"):
        replace(DOMAIN, bonds="mode")
    with pytest.raises(ValueError, match="angstrom must be positive"):
        replace(DOMAIN, angstrom=0)


def test_spelling_refuses_what_has_no_bonds():
    assert Molecule3DDomain.spell("CO") == "CO"
    for text in ("C(", "[13CH4]", "[CH3]"):
        with pytest.raises(ValueError, match=r"SMILES|isotope|radical"):
            Molecule3DDomain.spell(text)
