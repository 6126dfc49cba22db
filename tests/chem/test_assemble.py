"""Arrays to molecules: thresholds, charges, and which rule a molecule breaks."""

import numpy as np
import pytest
from rdkit import Chem

from scidiff.chem.assemble import arrays, assemble, broken_rule, quantise

ELEMENTS = ("C", "N", "O", "F")


def built(smiles, charge=True):
    X, A = arrays(Chem.MolFromSmiles(smiles), ELEMENTS)
    classes, orders = quantise(X, A)
    return assemble([ELEMENTS[c] for c in classes], orders, charge)


@pytest.mark.parametrize("smiles", ["C", "CCO", "c1ccoc1", "C#N", "CC(=O)NC1CC1", "FC(F)(F)C=O"])
def test_molecules_come_back_from_their_arrays(smiles):
    mol = built(smiles)
    assert broken_rule(mol) == ""
    assert Chem.MolToSmiles(mol) == Chem.CanonSmiles(smiles)


def test_arrays_are_kekulised_and_symmetric():
    X, A = arrays(Chem.MolFromSmiles("c1ccccc1"), ELEMENTS)
    assert X.shape == (6, 4) and X[:, 0].all() and sorted(A.sum(1)) == [3.0] * 6
    assert (A == A.T).all()
    with pytest.raises(ValueError, match="elements Cl not among C, N, O, F"):
        arrays(Chem.MolFromSmiles("CCl"), ELEMENTS)


def test_thresholds_and_the_residual_class():
    X = np.array([[0.51, 0, 0, 0], [0.5, 0.49, 0, 0], [0.6, 0.9, 0, 0], [0, 0, 0, 1.4]])
    A = np.array([0.49, 0.5, 1.49, 1.5, 2.49, 2.5])
    full = np.zeros((4, 4))
    full[0, 2:], full[2, 3] = A[[1, 3]], A[5]
    classes, orders = quantise(X, full + full.T)
    assert classes.tolist() == [0, 0, 3]  # the second is no atom; the first of equals wins
    assert orders.tolist() == [[0, 1, 2], [1, 0, 3], [2, 3, 0]]
    edges = np.zeros((2, 2))
    for value, order in zip(A, [0, 1, 1, 2, 2, 3], strict=True):
        edges[0, 1] = edges[1, 0] = value
        assert quantise(np.eye(4)[:2], edges)[1][0, 1] == order


@pytest.mark.parametrize(
    "symbol, neighbours, charge",
    [("N", 4, 1), ("O", 3, 1), ("N", 3, 0), ("N", 5, 0), ("C", 5, 0), ("O", 4, 0)],
)
def test_one_bond_too_many_charges_nitrogen_and_oxygen(symbol, neighbours, charge):
    orders = np.zeros((neighbours + 1, neighbours + 1), int)
    orders[0, 1:] = orders[1:, 0] = 1
    symbols = [symbol, *["C"] * neighbours]
    mol = assemble(symbols, orders)
    assert mol.GetAtomWithIdx(0).GetFormalCharge() == charge
    valid = charge == 1 or neighbours <= 3
    assert (broken_rule(mol, ["valence"]) == "") == valid
    assert assemble(symbols, orders, charge=False).GetAtomWithIdx(0).GetFormalCharge() == 0


def test_the_first_broken_rule_is_named():
    crowded = np.zeros((3, 3), int)
    crowded[0, 1] = crowded[1, 0] = 3
    crowded[1, 2] = crowded[2, 1] = 2
    assert broken_rule(assemble("CCC", crowded)).startswith("valence: Explicit valence for atom")
    assert broken_rule(assemble("", np.zeros((0, 0), int))) == "atoms: there are none"
    apart = assemble("CCO", np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    assert broken_rule(apart) == "connected: 2 fragments"
    assert broken_rule(apart, ["valence", "sanitise"]) == ""


def test_nothing_is_printed(capfd):
    orders = np.full((3, 3), 3) - 3 * np.eye(3, dtype=int)
    assert broken_rule(assemble("CCC", orders))
    assert capfd.readouterr() == ("", "")
