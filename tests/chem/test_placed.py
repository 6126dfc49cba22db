"""Bonds of atoms in space by a SMILES, on structures with a known answer and on QM9."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from scidiff.chem.conformers import embed
from scidiff.chem.geometry import structure_of
from scidiff.chem.molecules import canonical, parse
from scidiff.chem.placed import placed
from scidiff.data import datasets
from scidiff.data.structures import load_points


def built(smiles):
    """SMILES, numbers, positions, charges, bonds of one embedded structure."""
    mol = embed(parse(smiles))
    numbers, positions, charges, bonds = structure_of(mol)
    return canonical(smiles), numbers, positions, charges, bonds


@pytest.mark.parametrize(
    "smiles", ["C", "CCO", "C#N", "c1ccoc1", "C[N+](C)(C)C", "O=C[O-]", "FC#CC"]
)
def test_bonds_are_those_of_the_structure(smiles):
    text, numbers, positions, charges, bonds = built(smiles)
    found_charges, orders = placed(text, numbers, positions)
    assert np.array_equal(orders, bonds) and np.array_equal(found_charges, charges)


def test_hydrogens_may_stand_in_any_order():
    text, numbers, positions, charges, bonds = built("CCO")
    order = np.concatenate([[0, 1, 2], np.random.default_rng(0).permutation(np.arange(3, 9))])
    _, orders = placed(text, numbers[order], positions[order])
    assert np.array_equal(orders, bonds[np.ix_(order, order)])


def test_what_does_not_fit_says_why():
    text, numbers, positions, _, _ = built("CCO")
    with pytest.raises(ValueError, match="readable SMILES"):
        placed("CC(", numbers, positions)
    with pytest.raises(ValueError, match="not those of 'CCN'"):
        placed("CCN", numbers, positions)
    with pytest.raises(ValueError, match="hydrogens do not stand"):
        placed("C=CO", numbers, positions)
    far = positions.copy()
    far[0] += 3
    with pytest.raises(ValueError, match="hydrogens do not stand|more than"):
        placed(text, numbers, far)
    with pytest.raises(ValueError, match="more than 2.0 A apart"):
        placed(text, numbers, positions * 1.5)


def test_molecules_without_heavy_atoms_have_no_bonds_here():
    with pytest.raises(ValueError, match="heavy atoms"):
        placed("[H][H]", np.array([1, 1]), np.eye(3)[:2])


def test_rows_of_qm9_have_their_molecules_bonds(shared_data):
    texts, points = datasets.load("qm9_3d").objects(), load_points("qm9_3d")
    refused = 0
    for i in np.random.default_rng(0).choice(len(points), 300, replace=False).tolist():
        molecule = points[i]
        try:
            charges, orders = placed(texts[i], molecule.numbers, molecule.positions)
        except ValueError:
            refused += 1
            continue
        mol = Chem.RWMol()
        for number, charge in zip(molecule.numbers.tolist(), charges.tolist(), strict=True):
            atom = Chem.Atom(number)
            atom.SetFormalCharge(charge)
            atom.SetNoImplicit(True)
            mol.AddAtom(atom)
        for a, b in np.argwhere(np.triu(orders)).tolist():
            mol.AddBond(a, b, Chem.BondType.values[int(orders[a, b])])
        Chem.SanitizeMol(mol)
        assert canonical(mol.GetMol(), stereo=False) == canonical(texts[i], stereo=False)
    assert refused <= 1  # 8 of 130,831 are
