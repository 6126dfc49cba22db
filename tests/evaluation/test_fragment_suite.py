"""The fragment suite by its formulas."""

import math
from itertools import combinations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import QED
from rdkit.Contrib.SA_Score import sascorer
from rdkit.DataStructs import TanimotoSimilarity

from scidiff.data import datasets
from scidiff.evaluation.suites.fragment import fragment


def test_quality_counts_distinct_good_rows_over_all_rows():
    rows = datasets.load("moses_100k").objects()[:30] + datasets.load("qm9").objects()[:10]
    given = [*rows, rows[0], rows[0], "C(", None]
    mols = [Chem.MolFromSmiles(s) for s in rows]
    good = sum(QED.qed(m) >= 0.6 and sascorer.calculateScore(m) <= 4 for m in mols)
    report = fragment(given)
    assert 0 < good < 40
    assert report["quality"].value == pytest.approx(good / 44) and report["quality"].n == 44
    assert report["valid"].value == pytest.approx(42 / 44)
    assert report["unique"].value == pytest.approx(40 / 42)


def test_diversity_is_over_pairs_of_distinct_molecules():
    rows = ["CCO", "c1ccccc1", "CC(=O)Nc1ccc(O)cc1", "CCN"]
    maker = Chem.rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    bits = [maker.GetFingerprint(Chem.MolFromSmiles(s)) for s in rows]
    expected = 1 - np.mean([TanimotoSimilarity(a, b) for a, b in combinations(bits, 2)])
    report = fragment([*rows, "OCC"])
    assert report["diversity"].value == pytest.approx(expected, abs=1e-6)
    assert report["diversity"].n == 4


@pytest.mark.parametrize("rows", [[], ["C("], ["CCO"]])
def test_little(rows):
    report = fragment(rows)
    assert math.isnan(report["diversity"].value)
    assert report["quality"].value == 0 or not rows
