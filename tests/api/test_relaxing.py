"""Relaxation of a result: every row says what became of it."""

import math

import numpy as np
import pytest
from placed import METHANE, moved, placed
from rdkit import Chem

from scidiff.api.relaxing import relaxed_result
from scidiff.api.results import SampleResult
from scidiff.chem.geometry import mol_of
from scidiff.data.records import Record
from scidiff.rewards import singly
from scidiff.rewards.singly import ExtraMissing

BENT = moved(METHANE, 1, (-0.25, 0.1, 0.1))


def drawn(*records, **more):
    return SampleResult(records, kind="molecule", provenance={"model": "x"}, **more)


def test_rows_are_relaxed_or_say_why_not_and_the_result_given_stays():
    torn = mol_of(moved(METHANE, 1, (3, 0, 0)))
    given = drawn(
        Record("C", mol_of(BENT), True, "", BENT, "bonds: model"),
        Record("", None, False, "valence: no", METHANE),
        Record("C", Chem.MolFromSmiles("C"), True),
        Record("[CH3].[H]", torn, True), columns={"score": [1.0, math.nan, 2.0, 3.0]})
    found = relaxed_result(given)
    assert list(found.columns["relaxed"]) == [
        "mmff", "invalid", "no structure in space", "MMFF94 has no parameters for its atoms"]
    assert found.columns["strain"][0] > 1 and found.columns["relaxation_rmsd"][0] > 0.03
    assert np.isnan(np.array(found.columns["strain"][1:], float)).all()
    assert list(found.columns["score"])[2:] == [2.0, 3.0]
    assert found.records[0].note == "bonds: model; relaxed: mmff"
    assert found.records[1:] == given.records[1:]
    assert np.abs(found.records[0].points.positions - BENT.positions).max() > 0.03
    np.testing.assert_array_equal(given.records[0].obj.GetConformer().GetPositions(),
                                  BENT.positions)
    assert found.provenance["relaxed"] == "mmff" and "relaxed" not in given.provenance
    assert found.notes[-1] == "1 of 4 rows were relaxed by mmff after sampling"


def test_a_kept_hand_is_no_change():
    mol = mol_of(placed("C[C@H](O)N"))
    found = relaxed_result(drawn(Record("CC(O)N", mol, True)), "uff")
    assert list(found.columns["relaxation_chirality"]) == [""]
    assert list(found.columns["relaxed"]) == ["uff"]


def test_what_cannot_be_asked(monkeypatch):
    with pytest.raises(ValueError, match="one of mmff, uff, gfn2, got 'dft'"):
        relaxed_result(drawn(), "dft")
    other = SampleResult([], kind="sequence", provenance={})
    with pytest.raises(ValueError, match="only molecules in space are relaxed, got a result of"):
        relaxed_result(other)
    monkeypatch.setattr(singly, "find_spec", lambda name: None)
    with pytest.raises(ExtraMissing, match="scidiff\\[qm\\]"):
        relaxed_result(drawn(Record("C", mol_of(BENT), True)), "gfn2")
