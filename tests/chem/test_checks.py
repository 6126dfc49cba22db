"""The broken rule, the atoms and a line of explanation, for molecules known to be wrong."""

import random

import pytest
from rdkit import Chem

from scidiff.chem.alerts import Alerts
from scidiff.chem.checks import RULES, VALID, check, examine

BROKEN = [
    ("", "empty", ()),
    ("   ", "empty", ()),
    ("xx", "syntax", ()),
    ("C C", "syntax", ()),
    ("CC[Zz]C", "syntax", (2,)),
    ("C[CH3", "syntax", ()),
    ("[C@@@H]", "syntax", (0,)),
    ("=C", "syntax", ()),
    ("CC=", "syntax", (1,)),
    ("CC#=C", "syntax", (1,)),
    ("CC(=)C", "syntax", (1,)),
    ("CC.", "syntax", ()),
    ("C%", "syntax", ()),
    ("CCC(C", "parentheses", (2,)),
    ("CC)", "parentheses", (1,)),
    ("(CC)", "parentheses", ()),
    ("CC1CC", "ring closure", (1,)),
    ("C1CC2", "ring closure", (0, 2)),
    ("C%12CC", "ring closure", (0,)),
    ("C11", "ring closure", (0,)),
    ("C1C1", "ring closure", (0, 1)),
    ("CC12CC12", "ring closure", (1, 3)),
    ("C.1CC1", "ring closure", ()),
    ("C1(CC)C1", "ring closure", (0, 3)),
    ("CC(C)(C)(C)C", "valence", (1,)),
    ("CN(C)(C)C", "valence", (1,)),
    ("F=F", "valence", (0, 1)),
    ("Cc1cccc1", "kekulisation", (1, 2, 3, 4, 5)),
    ("CCc", "kekulisation", (2,)),
]


@pytest.mark.parametrize("smiles, rule, atoms", BROKEN)
def test_the_broken_rule_and_its_atoms_are_named(smiles, rule, atoms, capfd):
    mol, report = examine(smiles)
    assert mol is None and not report.valid
    assert (report.rule, report.atoms) == (rule, atoms)
    assert report.rule in RULES and report.message and "\n" not in report.message
    captured = capfd.readouterr()
    assert captured.err == "" and captured.out == ""


def test_messages_name_element_and_place():
    assert check("CN(C)(C)C").message == "N1 has valence 4, more than it can carry"
    assert check("CC[N+](C)(C)(C)C").message.startswith("N2 with charge +1 has valence 5")
    assert check("CC1CC").message == "ring 1 opened at atom 1 is never closed"
    assert check("CC)").message == "')' at position 3 closes nothing"


@pytest.mark.parametrize("option, smiles, rule, atoms", [
    ("allow_disconnected", "CCO.C", "disconnected", (3,)),
    ("allow_disconnected", "[Na+].CC(=O)[O-]", "disconnected", (0,)),
    ("allow_charge", "CC[NH3+]", "charge", (2,)),
    ("allow_charge", "C[N+](C)(C)CC(=O)[O-]", "charge", (1, 7)),
    ("allow_radicals", "C[CH2]", "radical", (1,)),
])
def test_switchable_rules(option, smiles, rule, atoms):
    assert check(smiles) == VALID
    mol, report = examine(smiles, **{option: False})
    assert mol is not None
    assert (report.valid, report.rule, report.atoms) == (False, rule, atoms)


@pytest.mark.parametrize("smiles", ["C[N+](=O)[O-]", "c1cc[n+]([O-])cc1", "CN=[N+]=[N-]"])
def test_balanced_charges_are_no_charge(smiles):
    assert check(smiles, allow_charge=False) == VALID


def test_alerts_are_a_rule():
    report = check("O=C1NC(=S)SC1=Cc1ccccc1", alerts=Alerts.of("pains"))
    assert report.rule == "alert" and report.atoms and "pains alert" in report.message
    assert check("CCO", alerts=Alerts()) == VALID


def test_a_molecule_is_checked_without_being_changed():
    raw = Chem.MolFromSmiles("CC(C)(C)(C)C", sanitize=False)
    assert check(raw).rule == "valence"
    atom = Chem.MolFromSmiles("c1ccccc1O", sanitize=False)
    before = atom.ToBinary()
    mol, report = examine(atom)
    assert report == VALID and Chem.MolToSmiles(mol) == "Oc1ccccc1"
    assert atom.ToBinary() == before
    assert check(Chem.Mol()).rule == "empty"


def test_valid_means_that_rdkit_reads_it():
    """Random damage to real SMILES: the verdict is RDKit's, and every refusal has a known rule."""
    rng = random.Random(0)
    base = "CC(=O)Nc1ccc(OC2CC[NH+](C)CC2)cc1C#N.Cl"
    for _ in range(1000):
        at = rng.randrange(len(base))
        text = base[:at] + rng.choice("CcNnOo()123=#[]%.+- ") + base[at + rng.randint(0, 2):]
        report = check(text)
        readable = " " not in text and Chem.MolFromSmiles(text) is not None
        assert report.valid == readable, text
        assert report.rule in (RULES if not readable else ("",))
