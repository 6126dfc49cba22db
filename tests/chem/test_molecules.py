"""Names, scaffolds and fingerprints of molecules, and silence while they are made."""

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from scidiff.chem.molecules import (
    canonical,
    canonical_key,
    fingerprints,
    inchikey,
    parse,
    scaffold,
    tanimoto,
)

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
SMILES = [ASPIRIN, "c1ccccc1", "CCO", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "CC(C)Cc1ccc(cc1)C(C)C(=O)O"]


@pytest.mark.parametrize("text", ["", "C(", "c1cccc1", "C(C)(C)(C)(C)C", "CCO ethanol", "C |x|"])
def test_an_unreadable_smiles_is_none_everywhere(text):
    assert parse(text) is None
    assert canonical(text) is None and scaffold(text) is None and inchikey(text) is None
    assert canonical_key(text) == text


def test_nothing_is_printed(capfd):
    for text in ["C1CC", "c1cccc1", "xx", "F=F=F"]:
        canonical(text)
        inchikey(text)
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_the_key_does_not_depend_on_how_the_molecule_is_written():
    mol = Chem.MolFromSmiles(ASPIRIN)
    written = {Chem.MolToRandomSmilesVect(mol, 1, randomSeed=s)[0] for s in range(20)}
    assert len(written) > 5
    assert {canonical_key(w) for w in written} == {canonical_key(mol)}
    assert canonical(Chem.AddHs(mol)) == canonical(mol)


def test_stereo_is_kept_unless_it_is_switched_off():
    left, right = "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"
    assert canonical(left) != canonical(right)
    assert canonical(left, stereo=False) == canonical(right, stereo=False) == "CC(N)C(=O)O"


def test_scaffold():
    assert scaffold(ASPIRIN) == "c1ccccc1"
    assert scaffold("CCO") == ""
    assert scaffold("CC1CCN(CC1)c1ccccc1") == canonical("C1CCN(CC1)c1ccccc1")


def test_inchikey_of_aspirin():
    assert inchikey(ASPIRIN) == "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"


def test_tanimoto_of_packed_bits_is_rdkits():
    packed = fingerprints(SMILES)
    assert packed.shape == (5, 128) and packed.dtype == np.uint8
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    prints = [generator.GetFingerprint(Chem.MolFromSmiles(s)) for s in SMILES]
    expected = [DataStructs.BulkTanimotoSimilarity(p, prints) for p in prints]
    np.testing.assert_allclose(tanimoto(packed, packed), expected, atol=1e-6)


def test_empty_fingerprints_are_equal_and_shapes_are_checked():
    zero = np.zeros((1, 128), np.uint8)
    assert tanimoto(zero, zero)[0, 0] == 1
    with pytest.raises(ValueError, match=r"\(1, 128\) and \(1, 64\)"):
        tanimoto(zero, zero[:, :64])


def test_wrong_fingerprint_arguments_are_named():
    with pytest.raises(ValueError, match="row 1.*'C\\('"):
        fingerprints(["C", "C("])
    with pytest.raises(ValueError, match="multiple of 8, got 1001"):
        fingerprints(["C"], bits=1001)
