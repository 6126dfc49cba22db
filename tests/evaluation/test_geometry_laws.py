"""Lengths, angles and dihedrals of molecules, and distances between their laws."""

import math
from collections import Counter

import numpy as np
import pytest
from placed import METHANE, WATER, placed, qm9_rows
from rdkit import Chem
from rdkit.Chem import rdMolTransforms as transforms

from scidiff.chem.geometry import examine_points, mol_of
from scidiff.evaluation.geometry_laws import KINDS, Law, angle, dihedral, length, measured
from scidiff.evaluation.geometry_reference import (
    GeometryReference,
    law_metrics,
    qm9_geometry,
)


def test_the_three_values_are_those_of_rdkit():
    mol = mol_of(placed("CC(O)C=C"))
    conformer = mol.GetConformer()
    places = np.array(conformer.GetPositions())
    for a, b, c, d in [(0, 1, 3, 4), (2, 1, 3, 4), (5, 0, 1, 2)]:
        assert length(places[a], places[b]) == pytest.approx(
            transforms.GetBondLength(conformer, a, b), abs=1e-12)
        assert angle(places[a], places[b], places[c]) == pytest.approx(
            transforms.GetAngleRad(conformer, a, b, c), abs=1e-9)
        assert dihedral(places[a], places[b], places[c], places[d]) == pytest.approx(
            abs(transforms.GetDihedralRad(conformer, a, b, c, d)), abs=1e-9)


def test_flat_ends_are_exact():
    line = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    assert angle(*line) == math.pi and angle(line[0], line[2], line[1]) == 0
    cis = np.array([[0.0, 1, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0]])
    assert dihedral(*cis) == 0
    assert dihedral(*cis[:3], [1, -1, 0]) == math.pi


@pytest.mark.parametrize("smiles, expected", [
    ("O", {"bond_length H-O": 2, "bond_angle H-O2-H": 1}),
    ("CC=O", {"bond_length C-C": 1, "bond_length C=O": 1, "bond_length C-H": 4,
              "bond_angle C-C4-H": 3, "bond_angle H-C4-H": 3, "bond_angle C-C3-O": 1,
              "bond_angle C-C3-H": 1, "bond_angle H-C3-O": 1}),
    ("CCCN", {"dihedral C4-C4": 1}),
    ("CC=CC", {"dihedral C3=C3": 1}),
    ("C1CC1F", {"dihedral C4-C4r": 2}),
])
def test_types(smiles, expected):
    found = Counter(f"{kind} {name}" for kind, name, _ in measured(mol_of(placed(smiles))))
    wanted = {key.split()[0] for key in expected}
    assert {k: n for k, n in found.items() if k.split()[0] in wanted} == expected


def test_a_law_does_not_change_with_place_turn_mirror_or_order():
    mol = mol_of(placed("CC(O)C1CN1"))
    n = mol.GetNumAtoms()
    other = Chem.RenumberAtoms(mol, np.random.default_rng(0).permutation(n).tolist())
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= -np.sign(np.linalg.det(turn))  # a mirror image
    places = np.array(other.GetConformer().GetPositions()) @ turn + 5
    other.GetConformer().SetPositions(places)
    one, two = (sorted(measured(m)) for m in (mol, other))
    assert [x[:2] for x in one] == [x[:2] for x in two]
    np.testing.assert_allclose([x[2] for x in one], [x[2] for x in two], atol=1e-9)


def _shifted(law, kind, by):
    return {name: [v + by for v in values] for name, values in law.total()[kind].items()}


def test_a_law_is_no_distance_from_itself_and_a_shift_away_from_its_shift():
    law = Law([mol_of(placed(s)) for s in ("CCCO", "CC(=O)N", "CC(C)CC")])
    own = GeometryReference.fit("own", law)
    for kind in KINDS:
        assert own.distance(kind, law.total()[kind]) < np.pi / 256  # the step of its quantiles
        shifted = own.distance(kind, _shifted(law, kind, 0.5))
        assert shifted == pytest.approx(0.5, abs=np.pi / 256)


def test_types_are_weighted_by_the_reference():
    reference = GeometryReference(
        "hand", 5, {k: {"a": [1.0], "b": [1.0], "c": [1.0]} for k in KINDS},
        {k: {"a": 3, "b": 1, "c": 6} for k in KINDS})
    # a is 1 off, b is 2 off, c does not occur, d is unknown: (3 * 1 + 1 * 2) / 4
    assert reference.distance("dihedral", {"a": [2.0, 2.0], "b": [3.0], "d": [9.0]}) == 1.25
    assert math.isnan(reference.distance("dihedral", {"d": [9.0]}))


def test_metrics_have_intervals_floors_and_say_what_is_unknown():
    mols = [mol_of(placed(s)) for s in ("CCCO", "CC(=O)N", "CC(C)CC")]
    reference = GeometryReference.fit("three molecules", Law(mols))
    reference.floors = {"bond_length": 0.2}
    law = Law([*mols * 4, mol_of(WATER)])
    found = {m.name: m for m in law_metrics(law, reference)}
    assert set(found) == {"bond_length_w1", "bond_angle_w1", "dihedral_w1"}
    metric = found["bond_length_w1"]
    assert metric.n == 13 and metric.low <= metric.value <= metric.high
    assert metric.note == f"real molecules: {0.2 / 13**0.5:.2g}"
    assert found["bond_angle_w1"].note.endswith("% of types that the reference lacks")
    none = {m.name: m for m in law_metrics(Law([mol_of(WATER)]), reference)}
    assert math.isnan(none["dihedral_w1"].value)
    assert none["dihedral_w1"].note == "no type of the reference occurs"


def test_a_reference_is_saved_and_read_back(tmp_path):
    law = Law([mol_of(placed("CCCO")), mol_of(METHANE)])
    one = GeometryReference.fit("two", law)
    one.floors = {"bond_length": 0.25, "bond_angle": 0.5, "dihedral": 0.75}
    one.save(tmp_path / "x.npz")
    two = GeometryReference.load(tmp_path / "x.npz")
    assert (two.name, two.n, two.counts, two.floors) == ("two", 2, one.counts, one.floors)
    for kind in KINDS:
        assert two.distance(kind, law.total()[kind]) == pytest.approx(
            one.distance(kind, law.total()[kind]), abs=1e-4)
    np.savez(tmp_path / "y.npz", x=np.zeros(1))
    with pytest.raises(ValueError, match="no reference of lengths, angles and dihedrals"):
        GeometryReference.load(tmp_path / "y.npz")
    with pytest.raises(ValueError, match="at least one molecule in space, got 0"):
        GeometryReference.fit("none", Law())


def test_qm9_is_near_the_reference_that_ships_and_mmff_is_further(shared_data):
    rows, names = qm9_rows(shared_data, range(0, 130_000, 325))
    law = Law(m for m, r in (examine_points(p, "rdkit") for p in rows) if r.valid)
    found = {m.name: m.value for m in law_metrics(law, qm9_geometry())}
    floors = qm9_geometry().floors
    for kind in KINDS:
        assert found[f"{kind}_w1"] < 1.25 * floors[kind] / law.n**0.5
    forced = Law(mol_of(placed(n), "rdkit") for n in names[:60] if "[" not in n)
    other = {m.name: m.value for m in law_metrics(forced, qm9_geometry())}
    assert other["bond_length_w1"] > 3 * found["bond_length_w1"]
