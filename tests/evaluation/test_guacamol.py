"""The GuacaMol suite: KL divergences equal to the original code, scores by their formulas."""

import math

import numpy as np
import pytest
from rdkit import Chem

from scidiff.data import datasets
from scidiff.evaluation.divergence import descriptors, distributions, divergences, packed, score
from scidiff.evaluation.suites import guacamol as suite
from scidiff.evaluation.suites.guacamol import SUITE, guacamol

# guacamol 0.5.5 with numpy.histogram for scipy.histogram: training rows 0 .. 999 of moses_100k,
# sample rows 50,000 .. 50,699 and qm9 rows 0, 200, ... (300 of them)
ORIGINAL = {
    "BertzCT": 0.4039715267101603, "MolLogP": 0.1780790510451633, "MolWt": 0.4361862887040263,
    "TPSA": 0.14209088062286762, "NumHAcceptors": 0.24230555528468564,
    "NumHDonors": 0.0754246823529705, "NumRotatableBonds": 0.274473501576906,
    "NumAliphaticRings": 0.13307958072594392, "NumAromaticRings": 0.3909950800923629,
    "internal_similarity": 0.1738737492395238,
}
SCORE = 0.7882899039035659


@pytest.fixture(scope="module")
def rows():
    drug_like = datasets.load("moses_100k").objects()
    sample = drug_like[50_000:50_700] + datasets.load("qm9").objects()[::200][:300]
    return drug_like[:1_000], sample


def test_divergences_are_those_of_the_original(rows):
    tables = []
    for group in rows:
        mols = [Chem.MolFromSmiles(s) for s in group]
        tables.append(distributions(descriptors(mols), packed(mols)))
    found = divergences(*tables)
    assert found == pytest.approx(ORIGINAL, rel=1e-6)
    assert score(found) == pytest.approx(SCORE, rel=1e-7)


def test_the_suite_reports_scores_with_intervals(rows, monkeypatch):
    monkeypatch.setattr(suite, "N", 100)
    reference, sample = rows
    report = guacamol(sample[:130] + ["C("], reference=reference[:90], fcd=False)
    assert report["valid"].value == pytest.approx(130 / 131)
    assert report["unique@100"].n == report["kl_score_guacamol"].n == 100
    kl = report["kl_score_guacamol"]
    assert kl.low < kl.value < kl.high and "worst: " in kl.note
    assert report["novelty"].value > 0.9 and "against the reference" in report["novelty"].note
    assert math.isnan(report["fcd_score_guacamol"].value)


@pytest.mark.parametrize("reference, sample", [
    (["CCO"], ["C" * i + "NO"[i % 2] for i in range(1, 13)]),
    (["CCO", "CCN", "c1ccccc1", "CC(=O)O"], ["C" * i + "O" for i in range(1, 13)]),
])
def test_a_descriptor_of_one_value_has_no_density(reference, sample):
    found = guacamol(sample, reference=reference, fcd=False)["kl_score_guacamol"]
    assert math.isnan(found.value) and "is the same for all molecules" in found.note


def test_fcd_score_is_its_formula(rows):
    pytest.importorskip("fcd_torch")
    reference, sample = rows
    found = guacamol(sample[:60], reference=reference[:60])["fcd_score_guacamol"]
    distance = float(found.note.removeprefix("FCD "))
    assert found.value == pytest.approx(math.exp(-0.2 * distance), rel=1e-3)
    own = guacamol(reference[:60], reference=reference[:60])["fcd_score_guacamol"]
    assert own.value == pytest.approx(1, abs=1e-4)


def test_stereochemistry_does_not_count():
    rows = ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CCO"]
    assert SUITE.known(["C[C@H](N)C(=O)O"]).contains(["CC(N)C(=O)O"]).all()
    report = guacamol(rows, train=SUITE.known(rows[:1]), fcd=False)
    assert report["novelty"].n == 2 and report["novelty"].value == 0.5


def test_without_the_training_set_it_is_asked_for():
    report = guacamol(["CCO"] * 20)
    for name in ("kl_score_guacamol", "fcd_score_guacamol"):
        assert "reference=" in report[name].note and math.isnan(report[name].value)


def test_the_subset_is_the_one_of_the_original(monkeypatch):
    monkeypatch.setattr(suite, "N", 5)
    names = [f"m{i}" for i in range(40)]
    state = np.random.RandomState(42)
    assert suite._subset(names) == list(state.choice(names, 5, replace=False))
    assert suite._subset(names[:4]) == names[:4]
