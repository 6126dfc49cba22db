"""The MOSES suite by its definitions, on samples small enough to compute by hand."""

import math

import numpy as np
import pytest
from rdkit import Chem
from rdkit.DataStructs import TanimotoSimilarity
from scipy.stats import wasserstein_distance

from scidiff.chem.molecules import canonical
from scidiff.data.records import Record
from scidiff.evaluation import fitted
from scidiff.evaluation.novelty import NoveltyFilter
from scidiff.evaluation.properties import property_table
from scidiff.evaluation.reference import Reference
from scidiff.evaluation.suites import moses as suite
from scidiff.evaluation.suites.moses import moses

SMILES = ["CCO", "OCC", "c1ccccc1", "CC(=O)Nc1ccc(O)cc1", "CCCCCC", "C1CC1N", "CCN", "COC",
          "CC(C)=O", "c1ccncc1", "OC(=O)C"]
BAD = ["C(", "C1CC", "CX"]


@pytest.fixture(autouse=True)
def fresh_install(tmp_path, monkeypatch):
    """Without fitted references, whatever this machine has in its cache."""
    monkeypatch.setenv("SCIDIFF_CACHE", str(tmp_path))


def measured(rows=None, **options):
    return moses(SMILES + BAD if rows is None else rows, fcd=False, **options)


def test_invalid_rows_stay_in_the_denominator():
    valid = measured()["valid"]
    assert valid.value == pytest.approx(11 / 14) and valid.n == 14
    assert valid.low < valid.value < valid.high


def test_records_mols_text_and_nothing_are_all_rows():
    rows = [Record("CCO", Chem.MolFromSmiles("CCO"), True), Record("C(", None, False, "syntax"),
            Chem.MolFromSmiles("CC"), "CCC", None, ""]
    assert measured(rows)["valid"].value == 3 / 6


def test_unique_counts_the_first_k_valid_rows_and_is_nan_below_k(monkeypatch):
    monkeypatch.setattr(suite, "KS", (4, 11, 12))
    report = measured()
    assert report["unique@4"].value == 3 / 4  # CCO and OCC are one
    assert report["unique@11"].value == 10 / 11
    assert math.isnan(report["unique@12"].value) and report["unique@12"].n == 11
    assert "needs 12 valid rows" in report["unique@12"].note


def test_novelty_counts_distinct_rows_and_corrects_the_filter():
    train = NoveltyFilter.build([canonical(s) for s in ("CCO", "CCN")])
    found = measured(train=train)["novelty"]
    assert found.n == 10
    assert found.value == pytest.approx(min(8 / (1 - train.false_positive_rate) / 10, 1))
    with pytest.raises(KeyError, match="no metric 'novelty'"):
        measured()["novelty"]


def test_diversity_is_its_formula_with_the_diagonal():
    maker = Chem.rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    bits = [maker.GetFingerprint(Chem.MolFromSmiles(s)) for s in SMILES]
    t = np.array([[TanimotoSimilarity(a, b) for b in bits] for a in bits])
    expected = 1 - t.mean(), 1 - np.sqrt((t**2).mean(1)).mean()
    report = measured()
    assert [report[m].value for m in ("int_div", "int_div2")] == pytest.approx(expected, abs=1e-6)


def test_wasserstein_is_scipys_in_the_units_of_the_property():
    mine = Reference.fit("mine", ["CCCCCCCC", "c1ccccc1C", "CO"], fcd=False)
    report = measured(reference=mine)
    table = property_table([Chem.MolFromSmiles(s) for s in SMILES])
    for name, values in table.items():
        expected = wasserstein_distance(values, mine.properties[name])
        assert report[f"{name}_w1_mine"].value == pytest.approx(expected), name


@pytest.mark.parametrize("rows", [[], BAD])
def test_nothing_valid_is_nan_not_an_error(rows):
    report = moses(rows, train=NoveltyFilter.build(["CCO"]))
    assert all(math.isnan(m.value) for m in report if m.name != "valid")
    assert report["valid"].value == 0 if rows else math.isnan(report["valid"].value)
    assert {m["value"] for m in report.to_dict()["metrics"]} <= {0.0, None}


def test_the_report_names_definition_split_and_count():
    report = measured()
    frame = report.to_frame()
    assert list(frame["name"])[:3] == ["valid", "unique@1000", "unique@10000"]
    assert "qed_w1_test" in set(frame["name"]) and frame["definition"].str.len().min() > 10
    assert [r["n"] for r in report.provenance["references"]] == [176_074, 176_225]
    assert report.provenance["rows"] == 14 and report.provenance["rdkit"]
    assert "valid" in str(report) and "<table" in report._repr_html_()
    with pytest.raises(KeyError, match="did you mean 'int_div'"):
        report["intdiv"]
    assert all(bool(m.method) != math.isnan(m.low) for m in report)


def test_fcd_carries_its_bias_floor():
    pytest.importorskip("fcd_torch")
    report = moses(SMILES)
    found = report["fcd_test"]
    assert found.value > 30 and found.n == 11
    assert found.low < found.value < found.high
    assert f"{1290 / 11:.3f} at this n" in found.note
    assert f"{0.4755 + 1290 / 11:.3f} at this n" in report["fcd_testsf"].note


def test_without_the_molecules_of_the_reference_the_command_is_named():
    report = measured()
    for name in ("snn_test", "frag_cos_test", "scaf_cos_testsf"):
        assert math.isnan(report[name].value) and fitted.COMMAND in report[name].note
    assert not math.isnan(report["filters"].value)


def test_structure_by_its_formulas():
    reference = ["c1ccc2ccccc2c1CCO", "c1ccc2ccccc2c1", "CC(=O)Nc1ccc(O)cc1", "CCO"]
    report = measured(reference=reference)
    maker = Chem.rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    bits, theirs = ([maker.GetFingerprint(Chem.MolFromSmiles(s)) for s in group]
                    for group in (SMILES, reference))
    expected = np.mean([max(TanimotoSimilarity(a, b) for b in theirs) for a in bits])
    assert report["snn_reference"].value == pytest.approx(expected, abs=1e-6)
    assert 0 < report["frag_cos_reference"].value < 1
    assert math.isnan(report["scaf_cos_reference"].value)  # no row has two rings
    assert math.isnan(report["snn_reference"].low) is False


def test_a_sample_is_its_own_best_reference():
    rows = [s for s in SMILES if s != "OCC"] + ["c1ccc2ccccc2c1", "C1CCC2CCCCC2C1"]
    report = measured(rows, reference=rows)
    for name in ("snn", "frag_cos", "scaf_cos"):
        assert report[f"{name}_reference"].value == pytest.approx(1), name
    assert report["qed_w1_reference"].value == pytest.approx(0, abs=1e-7)


def test_what_the_rows_are_does_not_change_the_numbers():
    texts = measured()
    mols = measured([Chem.MolFromSmiles(s) for s in SMILES] + [None] * 3)
    lazily = measured(iter(SMILES + BAD))
    for other in (mols, lazily):
        assert [m.value for m in other] == pytest.approx([m.value for m in texts], nan_ok=True)


def test_large_samples_are_thinned_for_pairs_and_say_so(monkeypatch):
    monkeypatch.setattr(suite, "PAIR_ROWS", 4)
    report = measured(reference=SMILES)
    assert report["int_div"].n == report["snn_reference"].n == 4
    assert report["valid"].n == 14 and report["filters"].n == 11


def test_strange_molecules_go_through():
    pytest.importorskip("fcd_torch")
    rows = ["[Xe]", "[U+4].[O-2]", "*CC", "[H][H]", "C" * 400, "F[Sb-](F)(F)(F)(F)F", "C.O",
            "[2H]C", "C[Si](C)(C)C", "C~C"]
    report = moses(rows)
    assert report["valid"].value == 1 and report["fcd_test"].value > 30
    assert report["filters"].value == 0.5  # what has only elements it knows and no charge
