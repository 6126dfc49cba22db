"""The MOSES suite by its definitions, on samples small enough to compute by hand."""

import math

import numpy as np
import pytest
from rdkit import Chem
from rdkit.DataStructs import TanimotoSimilarity
from scipy.stats import wasserstein_distance

from scidiff.chem.molecules import as_mol, canonical, fingerprints
from scidiff.data.records import Record
from scidiff.evaluation import molecules
from scidiff.evaluation.molecules import internal_diversity, moses, unique
from scidiff.evaluation.novelty import NoveltyFilter
from scidiff.evaluation.reference import Reference, property_table

SMILES = ["CCO", "OCC", "c1ccccc1", "CC(=O)Nc1ccc(O)cc1", "CCCCCC", "C1CC1N", "CCN", "COC",
          "CC(C)=O", "c1ccncc1", "OC(=O)C"]
BAD = ["C(", "C1CC", "CX"]


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
    monkeypatch.setattr(molecules, "KS", (4, 11, 12))
    report = measured()
    assert report["unique@4"].value == 3 / 4  # CCO and OCC are one
    assert report["unique@11"].value == 10 / 11
    assert math.isnan(report["unique@12"].value) and report["unique@12"].n == 11
    assert "needs 12 valid rows" in report["unique@12"].note
    assert math.isnan(unique([], 0).value)


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


def test_diversity_in_blocks_is_diversity_at_once(monkeypatch):
    bits = fingerprints(SMILES)
    whole = internal_diversity(bits)
    monkeypatch.setattr(molecules, "_BLOCK", 3)
    assert internal_diversity(bits) == pytest.approx(whole)


def test_wasserstein_is_scipys_in_the_units_of_the_property():
    mine = Reference.fit("mine", [Chem.MolFromSmiles(s) for s in ("CCCCCCCC", "c1ccccc1C", "CO")])
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
    assert "qed_w1_moses_test" in set(frame["name"]) and frame["definition"].str.len().min() > 10
    assert report.provenance["reference_n"] == 176_074 and report.provenance["rows"] == 14
    assert "valid" in str(report) and "<table" in report._repr_html_()
    with pytest.raises(KeyError, match="did you mean 'int_div'"):
        report["intdiv"]


def test_fcd_carries_its_bias_floor():
    pytest.importorskip("fcd_torch")
    found = moses(SMILES)["fcd_moses_test"]
    assert found.value > 30 and found.n == 11
    assert found.low < found.value < found.high
    assert f"{1290 / 11:.3f} at this n" in found.note


def test_one_molecule_has_no_diversity():
    bits = fingerprints([as_mol("CCO"), as_mol("c1ccccc1")])
    assert all(math.isnan(v) for v in internal_diversity(bits[:1]))
    assert internal_diversity(bits)[0] > 0
