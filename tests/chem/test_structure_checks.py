"""What is wrong with a molecule in space, with its atoms."""

import numpy as np
import pytest
from placed import METHANE, WATER, moved, named, placed, qm9_rows, scaled
from rdkit import Chem

from scidiff.chem.geometry import mol_of
from scidiff.chem.structure_checks import chirality_kept, geometry_faults, structure_faults
from scidiff.data.points import Points


def rules(points, **how):
    return {f.rule: f.atoms for f in structure_faults(points, **how)}


@pytest.mark.parametrize("smiles", ["O", "CC(=O)OC", "C[C@H](O)N", "CC#N", "C1CC1C=O"])
def test_a_sound_molecule_has_no_fault(smiles):
    assert structure_faults(placed(smiles), strain=0.1) == []


@pytest.mark.parametrize("points, how, expected", [
    (Points.of([], np.zeros((0, 3))), {}, {"empty": ()}),
    (moved(WATER, 1, (np.nan, 0, 0)), {}, {"coordinates": (1,)}),
    (scaled(WATER, 1.89), {}, {"units": ()}),
    (moved(METHANE, 1, (-0.8, -0.8, -0.8)), {}, {"overlap": (0, 1), "bond length": (0, 1),
                                           "bond angle": (1, 2, 3, 4)}),
    (METHANE, {"largest": 4}, {"size": ()}),
    (METHANE, {"elements": [6, 8]}, {"unsupported": (1, 2, 3, 4)}),
    (METHANE, {"elements": [1, 6], "largest": 5}, {}),
    (named(METHANE, 7, 1, 1, 1, 1), {}, {"valence": (0,)}),
    (moved(WATER, 2, (0.74, -0.147, 0)), {}, {"bond angle": (1, 2)}),
], ids=range(9))
def test_each_fault_has_its_rule_and_atoms(points, how, expected):
    assert rules(points, **how) == expected


def test_a_fault_says_one_line_with_numbers():
    found = {f.rule: f.message for f in structure_faults(
        named(METHANE, 6, 1, 1, 1, 9), elements=[1, 6, 8], largest=3)}
    assert found["size"] == "5 atoms, the model holds at most 3"
    assert found["unsupported"] == "elements F are not among H, C, O"


def test_bond_out_of_range():
    points = placed("CC")
    turned = points.positions - points.positions[0]
    carbon = 1
    axis = turned[carbon] / np.linalg.norm(turned[carbon])
    # one half of ethane pulled along its axis by .45 angstrom, bonds as given
    halves = np.array([turned[i] @ axis > np.linalg.norm(turned[carbon]) / 2 for i in range(8)])
    bonds = Chem.GetAdjacencyMatrix(mol_of(points)).astype(int)
    far = Points.of(points.numbers, turned + 0.45 * axis * halves[:, None], None, bonds)
    assert rules(far, rule="given")["bond length"] == (0, 1)


def test_atoms_far_along_the_chain_clash():
    points = placed("CCCCCC")
    mol = mol_of(points)
    ends = [i for i in range(6) if mol.GetAtomWithIdx(i).GetDegree() == 4
            and sum(n.GetAtomicNum() == 6 for n in mol.GetAtomWithIdx(i).GetNeighbors()) == 1]
    places = points.positions.copy()
    # one end's hydrogen on the other end's hydrogen, almost
    h, other = (next(n.GetIdx() for n in mol.GetAtomWithIdx(e).GetNeighbors()
                     if n.GetAtomicNum() == 1) for e in ends)
    mol.GetConformer().SetAtomPosition(h, (places[other] + [0.6, 0, 0]).tolist())
    found = {f.rule: f for f in geometry_faults(mol)}
    assert {h, other} <= set(found["clash"].atoms)
    assert "0.60 angstrom" in found["clash"].message


def test_a_flat_stereocentre_has_no_hand():
    mol = mol_of(placed("C[C@H](O)N"))
    centre = next(a.GetIdx() for a in mol.GetAtoms() if a.GetChiralTag())
    around = [n.GetIdx() for n in mol.GetAtomWithIdx(centre).GetNeighbors()]
    for atom, angle in zip(around, np.arange(4) * np.pi / 2, strict=True):
        mol.GetConformer().SetAtomPosition(atom, [np.cos(angle), np.sin(angle), 0])
    mol.GetConformer().SetAtomPosition(centre, [0, 0, 0])
    found = {f.rule: f.atoms for f in geometry_faults(mol)}
    assert found["chirality"] == (centre,)


def test_strain_is_a_fault_only_where_it_is_asked_for():
    bent = moved(METHANE, 1, (-0.25, 0.1, 0.1))
    assert rules(bent) == {}
    assert rules(bent, strain=1.0) == {"strain": ()}
    assert "kcal/mol above its MMFF94 minimum, expected at most 1" in structure_faults(
        bent, strain=1.0)[0].message


def test_chirality_is_kept_or_said():
    one = mol_of(placed("C[C@H](O)N"))
    mirror = Chem.Mol(one)
    places = np.array(one.GetConformer().GetPositions()) * [1, 1, -1]
    mirror.GetConformer().SetPositions(places)
    assert chirality_kept(one, one) is None
    report = chirality_kept(one, mirror)
    assert report.rule == "chirality" and len(report.atoms) == 1
    assert " S to R" in report.message or " R to S" in report.message
    with pytest.raises(ValueError, match="same atoms in the same order"):
        chirality_kept(one, mol_of(WATER))


def test_qm9_has_almost_no_fault(shared_data):
    rows = qm9_rows(shared_data, range(0, 130_000, 325))[0]
    found = [rules(p, rule="rdkit", elements=[1, 6, 7, 8, 9], largest=29) for p in rows]
    assert sum(bool(f) for f in found) <= 1
