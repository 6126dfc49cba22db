"""Relaxation says what it did and leaves what it was given alone."""

from dataclasses import replace

import numpy as np
import pytest
from placed import METHANE, moved, placed
from rdkit import Chem

from scidiff.chem.conformers import ConformerError
from scidiff.chem.geometry import mol_of
from scidiff.chem.relaxation import places, relaxed, rmsd


def _turn(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def test_rmsd_of_moved_and_turned_places_is_zero_and_of_a_mirror_image_is_not():
    x = np.random.default_rng(0).normal(size=(7, 3))
    assert rmsd(x, x @ _turn(1) + [1, 2, 3]) < 1e-7
    assert rmsd(x, x * [1, 1, -1]) > 0.3


def test_rmsd_is_least_over_rotations():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 6, 3))
    x, y = x - x.mean(0), y - y.mean(0)
    tried = [np.sqrt(((x - y @ _turn(seed)) ** 2).sum(1).mean()) for seed in range(2000)]
    assert rmsd(x, y) < min(tried) < 1.1 * rmsd(x, y)


@pytest.mark.parametrize("method", ["mmff", "uff"])
def test_a_bent_molecule_gives_up_energy_and_the_original_stays(method):
    bent = mol_of(moved(METHANE, 1, (-0.25, 0.1, 0.1)))
    before = places(bent).copy()
    done = relaxed(bent, method)
    np.testing.assert_array_equal(places(bent), before)
    assert done.converged and done.method == method
    assert done.strain > 1 and 0.05 < done.rmsd < 0.3
    again = relaxed(done.mol, method)
    assert 0 <= again.strain < 1e-3 and again.rmsd < 1e-2


def test_a_relaxed_structure_has_no_strain():
    assert relaxed(mol_of(placed("CC(=O)NC"))).strain < 1e-3


def test_too_few_steps_are_said():
    assert not relaxed(mol_of(moved(METHANE, 1, (-0.25, 0.1, 0.1))), steps=1).converged


@pytest.mark.parametrize("mol, message", [
    (Chem.MolFromSmiles("CC"), "every hydrogen"),
    (Chem.AddHs(Chem.MolFromSmiles("CC")), "every hydrogen"),
    (mol_of(replace(METHANE, numbers=np.array([32, 1, 1, 1, 1]))), "no parameters")])
def test_what_cannot_be_relaxed_is_refused(mol, message):
    with pytest.raises(ConformerError, match=message):
        relaxed(mol)


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="one of mmff, uff, got 'dft'"):
        relaxed(mol_of(METHANE), "dft")
