"""Alert catalogues, user patterns and the errors of wrong ones."""

import pickle

import pytest
from rdkit import Chem

from scidiff.chem.alerts import Alerts

RHODANINE = Chem.MolFromSmiles("O=C1NC(=S)SC1=Cc1ccccc1")


def test_pains_finds_a_rhodanine_and_says_where():
    found = Alerts.of("PAINS")(RHODANINE)
    assert [a.catalogue for a in found] == ["pains"]
    assert "rhod" in found[0].name
    assert {3, 4, 5} <= set(found[0].atoms)  # C(=S)S


def test_brenk_finds_an_aldehyde_and_ethanol_is_clean():
    found = Alerts.of("brenk")(Chem.MolFromSmiles("CC1CCCCC1CC=O"))
    assert [a.name for a in found] == ["aldehyde"]
    assert found[0].atoms == (8, 9)
    assert Alerts()(Chem.MolFromSmiles("CCO")) == []


def test_user_patterns_with_and_without_names():
    mol = Chem.MolFromSmiles("CCN(C)N=O")
    assert [(a.name, a.atoms) for a in Alerts.of(smarts={"nitroso": "N=O"})(mol)] == [
        ("nitroso", (4, 5))]
    assert [a.name for a in Alerts.of(smarts=["N=O", "Br"])(mol)] == ["N=O"]
    assert Alerts.of(smarts="N=O") == Alerts.of(smarts=["N=O"])


def test_wrong_patterns_and_catalogues_are_named(capfd):
    with pytest.raises(ValueError, match=r"not a SMARTS pattern: '\[C' \(mine\)"):
        Alerts.of(smarts={"mine": "[C"})
    with pytest.raises(ValueError, match="not a SMARTS pattern: ''"):
        Alerts.of(smarts=[""])
    with pytest.raises(ValueError, match="unknown alert catalogue 'painz'; did you mean 'pains"):
        Alerts.of("painz")
    captured = capfd.readouterr()
    assert captured.err == ""


def test_a_set_travels_to_worker_processes():
    alerts = Alerts.of("pains", smarts={"thiol": "[SX2H]"})
    copy = pickle.loads(pickle.dumps(alerts))
    assert copy == alerts and hash(copy) == hash(alerts)
    assert copy(RHODANINE) == alerts(RHODANINE)
