"""Structures in space: stereo kept, one a seed, and a reason where there is none."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolTransforms as measure

from scidiff.chem import conformers
from scidiff.chem.conformers import ConformerError, embed, in_space, structure


def mol(smiles):
    return Chem.MolFromSmiles(smiles)


def places(molecule):
    return molecule.GetConformer().GetPositions()


def test_methane_is_a_tetrahedron():
    made = embed(mol("C"))
    assert made.GetNumAtoms() == 5 and in_space(made)
    lengths = [measure.GetBondLength(made.GetConformer(), 0, i) for i in range(1, 5)]
    angles = [measure.GetAngleDeg(made.GetConformer(), i, 0, j)
              for i in range(1, 5) for j in range(1, i)]
    assert lengths == pytest.approx([1.09] * 4, abs=0.01)
    assert angles == pytest.approx([109.47] * 6, abs=0.1)


@pytest.mark.parametrize("smiles", ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "C/C=C/C", "C/C=C\\C",
                                    "F[C@](Cl)(Br)I", "C1[C@H]2CC[C@@H]1C2"])
def test_stereo_is_kept(smiles):
    made = embed(mol(smiles))
    flat = Chem.Mol(made)
    Chem.AssignStereochemistryFrom3D(flat)
    found = Chem.MolToSmiles(Chem.RemoveHs(flat))
    assert found == Chem.CanonSmiles(smiles)


def test_one_structure_a_seed_whatever_the_spelling():
    first = places(embed(mol("CCCOc1ccccc1"), 1))
    assert np.array_equal(first, places(embed(mol("c1cc(OCCC)ccc1"), 1)))
    for seed in (0, 2):
        assert not np.allclose(first, places(embed(mol("CCCOc1ccccc1"), seed)), atol=0.1)


def test_a_structure_of_its_own_is_taken():
    own = embed(mol("CCO"), 5)
    assert structure(own, 0) is own
    bare = Chem.RemoveHs(own)  # in space, but without its hydrogens
    assert not in_space(bare) and structure(bare, 0).GetNumAtoms() == 9
    assert not in_space(mol("CCO"))


def test_uff_takes_what_mmff_does_not_know():
    assert in_space(embed(mol("OB(O)c1ccccc1")))


@pytest.mark.parametrize("smiles, why", [
    ("CC.C", "2 fragments: a structure is of one connected molecule"),
    ("C1#CC1", "no structure in space"), ("[Se]1C=CC=C1", "no force field knows its atoms"),
])
def test_none_is_said_with_a_reason(smiles, why, capfd):
    with pytest.raises(ConformerError, match=why):
        embed(mol(smiles))
    assert capfd.readouterr() == ("", "")


def test_a_structure_that_does_not_relax_is_none(monkeypatch):
    monkeypatch.setattr(conformers, "STEPS", 1)
    with pytest.raises(ConformerError, match="did not relax in 1 steps"):
        embed(mol("CCCCCCCC"))
