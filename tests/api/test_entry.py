"""`sd.evaluate` and the two other doors: what they take and what they refuse."""

import sys

import pandas as pd
import pytest
from rdkit import Chem

import scidiff.api.entry as entry
from scidiff.api.design_result import DesignResult
from scidiff.api.entry import evaluate, load, sample
from scidiff.api.results import SampleResult
from scidiff.core import ScidiffError
from scidiff.data.formats import TableError
from scidiff.domains.smiles import molecule_record
from scidiff.evaluation.novelty import NoveltyFilter


@pytest.fixture(autouse=True)
def fresh_install(tmp_path_factory, monkeypatch):
    """Without fitted references, whatever this machine has in its cache."""
    monkeypatch.setenv("SCIDIFF_CACHE", str(tmp_path_factory.mktemp("cache")))


STRINGS = ["CCO", "CCN", "OCC", "C1CC", "CCCCO"]


def values(report):
    return {m.name: m.value for m in report.metrics if m.value == m.value}


def test_molecules_of_any_origin(tmp_path):
    file = tmp_path / "mols.csv"
    file.write_text("id,smiles\n" + "".join(f"{i},{s}\n" for i, s in enumerate(STRINGS)))
    mols = [Chem.MolFromSmiles(s) if s != "C1CC" else None for s in STRINGS]
    reports = [evaluate(given, fcd=False) for given in (STRINGS, file, str(file), mols)]
    assert values(reports[0])["valid"] == pytest.approx(4 / 5)  # an invalid row counts
    assert all(values(r) == values(reports[0]) for r in reports)


def test_a_data_frame_is_its_column_of_objects():
    frame = pd.DataFrame({"id": range(6), "smiles": [*STRINGS, None]})
    report = evaluate(frame, fcd=False, train=frame[:1], reference=frame)
    assert report["valid"].value == pytest.approx(4 / 6) and report["valid"].n == 6
    assert report["novelty"].value == pytest.approx(2 / 3)  # CCO is OCC
    assert evaluate(frame.rename(columns={"smiles": "mine"}), fcd=False,
                    column="mine")["valid"].value == pytest.approx(4 / 6)
    with pytest.raises(TableError, match="the DataFrame has no column 'smile'.*did you mean"):
        evaluate(frame, column="smile", fcd=False)


def test_a_row_that_cannot_be_read_stays_in_the_denominator(tmp_path):
    file = tmp_path / "mols.csv"
    file.write_text("smiles,id\nCCO,1\n,2\nCCN,3\nC1CC,4\nCCCC\n")
    assert values(evaluate(file, column="smiles", fcd=False))["valid"] == pytest.approx(2 / 5)


def test_a_result_is_measured_against_its_own_training_set(tiny_model, tmp_path, monkeypatch):
    model = load(tiny_model, device="cpu")
    result = sample(model, 40)
    rows = [model.domain.key(r) for r in result if r.valid]
    assert values(evaluate(result, fcd=False)).get("novelty", 1.0) > 0.5  # against MOSES
    monkeypatch.setattr(model, "novelty", NoveltyFilter.build(rows))
    found = values(evaluate(sample(model, 40), fcd=False))
    assert found["valid"] == pytest.approx(len(rows) / 40) and found["novelty"] < 1e-9
    monkeypatch.setattr(entry, "SHIPPED", tmp_path)
    assert "novelty" not in values(evaluate(result[:5], fcd=False))  # no filter, no claim


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="unknown suite 'mosess'; .*did you mean 'moses'"):
        evaluate(STRINGS, "mosess")
    with pytest.raises(ScidiffError, match="nothing to evaluate: 0 rows"):
        evaluate([])
    file = tmp_path / "empty.csv"
    file.write_text("smiles\n")
    with pytest.raises(ScidiffError, match="empty.csv has a header but no rows"):
        evaluate(file)


def test_the_report_says_what_is_wrong_with_which_rows(tmp_path):
    file = tmp_path / "mols.csv"
    file.write_text("smiles\n" + "\n".join(STRINGS) + "\n\n\n")
    report = evaluate(file, fcd=False)
    invalid = report.provenance["invalid"]
    assert invalid["n"] == 1 and report["valid"].n == 5  # blank lines at the end are no rows
    assert invalid["first"][0]["row"] == 5 and "never closed" in invalid["first"][0]["reason"]
    assert "1 invalid: 1 x ring" in str(report) and "row 5: C1CC" in str(report)
    assert "Wilson (valid" in str(report)


def test_novelty_names_its_training_set(tmp_path):
    default = evaluate(STRINGS, fcd=False)["novelty"].note
    assert "against the training set of moses-smiles, 1,582,663 objects" in default
    file = tmp_path / "train.smi"
    file.write_text("OCC\nCCN\n")
    given = evaluate(STRINGS, train=file, fcd=False)["novelty"]
    assert given.value == pytest.approx(1 / 3) and "against train.smi, 2 objects" in given.note
    assert evaluate(STRINGS, train=["CCO"], fcd=False)["novelty"].value == pytest.approx(2 / 3)


def test_a_reference_of_ones_own(tmp_path):
    report = evaluate(STRINGS, reference=["CCO", "CCCCO", "c1ccccc1"], fcd=False)
    assert report["snn_reference"].value > 0.5
    assert [r["n"] for r in report.provenance["references"]] == [3]


def test_every_suite_is_found_by_its_name():
    assert evaluate(STRINGS, "fragment")["quality"].n == 5
    assert "kl_score_guacamol" in {m.name for m in evaluate(STRINGS, "guacamol", fcd=False)}


def test_results_of_another_kind_are_refused():
    rows = SampleResult([], kind="sequence", provenance={})
    with pytest.raises(ScidiffError, match="kind molecule, got a result of the kind sequence"):
        evaluate(rows, fcd=False)


def test_published_values_stand_beside():
    report = evaluate(STRINGS, fcd=False)
    assert any("published values beside" in line for line in report.notes)
    assert any("valid: " in line and "<" in line for line in report.notes)


def test_a_design_is_measured_against_its_own_training_set_too():
    rows = SampleResult([molecule_record(s) for s in STRINGS], kind="molecule", provenance={},
                        novelty=NoveltyFilter.build(["CCO", "CCN", "CCCCO"]))
    design = DesignResult(rows, certificate=None, ledger=None, settings={})
    assert values(evaluate(design, fcd=False))["novelty"] == 0 == values(
        evaluate(rows, fcd=False))["novelty"]  # fmt: skip


def test_a_missing_network_is_told_before_any_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcd_torch", None)
    with pytest.raises(ScidiffError, match="or leave it out with fcd=False"):
        evaluate(["CCO"])  # too few rows for an FCD, but it was asked for


def test_a_model_may_be_given_by_its_folder(tiny_model):
    model = load(tiny_model, device="cpu")
    assert sample(model, 5, 2).texts == model.sample(5, 2).texts
    assert sample(load(str(tiny_model), device="cpu"), 5, 2).texts == model.sample(5, 2).texts


OWN = """
from scidiff.evaluation.metric import Report
from scidiff.evaluation.suite import Suite

def measure(rows, *, train, reference, fcd, device):
    facts = {"n": len(list(rows)), "train": len(train), "reference": len(reference)}
    return Report((), facts)

SUITE = Suite(measure)
"""


def test_a_suite_of_ones_own_gets_files_as_molecules(tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "suite.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "train.smi"
    file.write_text("CCO\nC(\nCCN\n")
    facts = evaluate(STRINGS, "own.suite", train=file, reference=["CC"]).provenance
    assert (facts["n"], facts["train"], facts["reference"]) == (5, 2, 1)
    with pytest.raises(ValueError, match="no suite 'own.absent'"):
        evaluate(STRINGS, "own.absent")
