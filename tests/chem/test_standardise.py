"""Each step does its one thing, says so, and stays off when it is off."""

import pytest
from rdkit import Chem

from scidiff.chem.molecules import canonical
from scidiff.chem.standardise import AS_WRITTEN, Standard

OFF = {"cleanup": False, "salts": False, "charges": False, "tautomers": False, "stereo": False}
CASES = [
    ("cleanup", "CC(=O)O[Na]", "CC(=O)[O-].[Na+]"),
    ("salts", "CCCCN.Cl", "CCCCN"),
    ("charges", "CC(=O)[O-]", "CC(=O)O"),
    ("tautomers", "CC(O)=CC", "CCC(C)=O"),
    ("stereo", "C[C@H](N)/C=C/C", "CC=CC(C)N"),
]


@pytest.mark.parametrize("step, before, after", CASES)
def test_a_step_changes_its_thing_and_reports_it(step, before, after):
    on = Standard(**{**OFF, step: True})(before)
    assert (on.smiles, on.done) == (canonical(after), (step,))
    off = Standard(**OFF)(before)
    assert (off.smiles, off.done) == (canonical(before), ())


def test_steps_follow_each_other_and_a_second_pass_changes_nothing():
    first = Standard()("[Na+].CC(=O)[O-]")
    assert (first.smiles, first.done) == ("CC(=O)O", ("salts", "charges"))
    again = Standard()(first.smiles)
    assert (again.smiles, again.done) == (first.smiles, ())


def test_stereo_is_kept_by_default():
    assert "@" in Standard()("C[C@H](N)C(=O)O").smiles


def test_an_invalid_molecule_comes_back_with_its_reason(capfd):
    row = Standard()("CC(C)(C)(C)C")
    assert row.smiles is None and row.done == () and row.report.rule == "valence"
    assert capfd.readouterr().err == ""


def test_the_argument_is_not_changed():
    mol = Chem.MolFromSmiles("C[C@H](N)C(=O)[O-].[Na+]")
    before = mol.ToBinary()
    Standard(tautomers=True, stereo=True)(mol)
    assert mol.ToBinary() == before


def test_what_ran_can_be_stated():
    assert Standard().describe() == (
        "standardised: cleanup, salts, charges; left as is: tautomers, stereo")
    assert AS_WRITTEN.describe().startswith("standardised: nothing")
