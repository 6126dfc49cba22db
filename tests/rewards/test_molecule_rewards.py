"""Molecule rewards against published or hand-computed values."""

import pytest
from rdkit import Chem

from scidiff.rewards import molecules
from scidiff.rewards.combine import reward
from scidiff.rewards.fingerprints import NAMES
from scidiff.rewards.identity import identity
from scidiff.rewards.molecules import REWARDS, Similarity, Substructure
from scidiff.rewards.novelty import Novelty, ScaffoldNovelty
from scidiff.rewards.scoring import evaluate

ASPIRIN, BENZENE = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O"), Chem.MolFromSmiles("c1ccccc1")


@pytest.mark.parametrize("name, expected", [
    ("qed", 0.5501), ("logp", 1.3101), ("mw", 180.159), ("tpsa", 63.6), ("hba", 3), ("hbd", 1),
    ("rings", 1), ("aromatic_rings", 1)])
def test_values_of_aspirin(name, expected):
    assert REWARDS[name]([ASPIRIN]) == pytest.approx([expected], abs=1e-3)


def test_sa_is_the_stated_formula_and_larger_is_easier():
    raw = molecules.sa_scores([ASPIRIN])[0]
    assert molecules.sa([ASPIRIN])[0] == pytest.approx((10 - raw) / 9) and 1 < raw < 3
    strychnine = Chem.MolFromSmiles("O=C1CC2OCC=C3CN4CCC56C4CC3C2C6N1c1ccccc15")
    assert molecules.sa([strychnine])[0] < molecules.sa([ASPIRIN])[0] < 1


def test_similarity_is_one_at_the_target_and_takes_counts():
    assert Similarity("CC(=O)Oc1ccccc1C(=O)O")([ASPIRIN, BENZENE])[0] == 1
    assert 0 < Similarity("c1ccccc1")([ASPIRIN])[0] < 1
    # a longer chain has the same environments, only more of them
    longer = [Chem.MolFromSmiles("CCCCCCCCCCCC")]
    assert Similarity("CCCCCCCC")(longer) == [1.0]
    assert Similarity("CCCCCCCC", counts=True)(longer)[0] < 0.7


def test_substructure_and_alerts_are_indicators():
    assert Substructure("c1ccccc1")([ASPIRIN, Chem.MolFromSmiles("CCO")]) == [1, 0]
    rhodanine = Chem.MolFromSmiles("O=C1NC(=S)SC1=Cc1ccccc1")
    assert molecules.alerts([Chem.MolFromSmiles("CC(=O)Nc1ccccc1"), rhodanine]) == [1, 0]


def test_other_fingerprints_and_their_names():
    found = {n: Similarity("Oc1ccccc1CN", counts=True, fingerprint=n)([
        Chem.MolFromSmiles("Sc1ccccc1CCO")])[0] for n in NAMES}
    assert len(set(found.values())) == 5 and found["ECFP6"] < found["ECFP4"] < found["FCFP4"]
    with pytest.raises(ValueError, match="unknown fingerprint 'ecfp4'; expected one of ECFP4"):
        Similarity("C", fingerprint="ecfp4")


def test_natural_products_look_like_themselves(capfd):
    natural, made = (Chem.MolFromSmiles(s) for s in (
        "CC1C(C(CC(O1)OC2C(OC(CC2O)OC)C)O)O", "Cc1ccc(cc1)-c1cc(nn1-c1ccccc1)C(F)(F)F"))
    high, low = molecules.np_likeness([natural, made])
    assert high > 1 > 0 > low >= molecules.np_likeness.floor == -5
    assert capfd.readouterr() == ("", "")


def test_novelty_is_the_distance_to_the_nearest_known_molecule(tmp_path):
    known = ["CC(=O)Oc1ccccc1C(=O)O", "CCO"]
    mols = [ASPIRIN, Chem.MolFromSmiles("OC(=O)c1ccccc1O"), Chem.MolFromSmiles("C1CCNCC1")]
    expected = [1 - max(Similarity(k)([m])[0] for k in known) for m in mols]
    file = tmp_path / "known.smi"
    file.write_text("CC(=O)Oc1ccccc1C(=O)O aspirin\nCCO,ethanol\n\n")
    assert Novelty(str(file))(mols) == Novelty(known)(mols) == pytest.approx(expected)
    assert expected[0] == 0 < expected[1] < expected[2]
    # benzene rings are known scaffolds, piperidine is not; so is a chain
    chain = Chem.MolFromSmiles("CCCCC")
    assert ScaffoldNovelty(str(file))([*mols, chain]) == [0, 0, 1, 0]
    assert reward(f"novelty({str(file)!r}) * qed").bounds == (0, 1)
    before = identity(Novelty(str(file)))
    file.write_text("CCN")
    assert identity(Novelty(str(file))) != before
    with pytest.raises(ValueError, match="there is no file 'no.smi' of SMILES"):
        Novelty("no.smi")
    with pytest.raises(ValueError, match="none of 1 lines of 1 molecules is a SMILES"):
        ScaffoldNovelty(["(("])


@pytest.mark.parametrize("make, message", [
    (lambda: Similarity("C("), r"similarity: 'C\(' is not a SMILES"),
    (lambda: Similarity(""), "similarity: '' is not"), (lambda: Similarity(3), "similarity: 3 is"),
    (lambda: Substructure("[C"), r"substructure: '\[C' is not a SMARTS"),
    (lambda: Substructure(""), "substructure")])
def test_unreadable_parameters_are_named(make, message, capfd):
    with pytest.raises(ValueError, match=message):
        make()
    assert capfd.readouterr() == ("", "")


def test_every_plain_reward_scores_a_batch():
    plain = {n: r for n, r in REWARDS.items() if not isinstance(r, type)}
    assert len(plain) == 11
    for name, found in plain.items():
        assert evaluate(found, [ASPIRIN, BENZENE]).ok.all(), name
