"""What a judge says of generated rows beside real ones, against its definitions."""

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp, pearsonr
from torch import nn

from scidiff.data.alphabets import DNA, PEPTIDE
from scidiff.evaluation.fidelity import agreement, fidelity, fisher, naturalness
from scidiff.evaluation.motif_spectrum import NAME
from scidiff.rewards.learned import Oracle
from scidiff.rewards.predictors import Letters

CELLS = ("a", "b")


class Counting(Oracle):
    """Says of class a how many A, of class b how many C; a number is half the count of A."""

    def predict(self, sequences):
        found = np.array([[s.count("A"), s.count("C")] for s in sequences], np.float64)
        found = found.reshape(-1, 2)
        return found if self.task == "classes" else found[:, :1] / 2


def judge(task="classes"):
    outputs = CELLS if task == "classes" else ("load",)
    return Counting(nn.Identity(), "count", Letters(DNA), task, outputs, lengths=(4, 40))


def rows(n, p, seed, length=40):
    rng = np.random.default_rng(seed)
    return ["".join(row) for row in rng.choice(list("ACGT"), (n, length), p=p)]


def test_fidelity_is_its_definition():
    own, real = rows(60, [.4, .2, .2, .2], 0), rows(50, [.25] * 4, 1)
    ks, mse = fidelity(own, real, judge())
    a, b = (judge().predict(x) for x in (own, real))
    expected = np.mean([ks_2samp(a[:, i], b[:, i]).statistic for i in range(2)])
    assert ks.value == pytest.approx(expected) and ks.name == "activity_ks_count"
    assert ks.low < ks.value < ks.high and ks.n == 60
    errors = ((a[:50] - b) ** 2).mean(1)
    assert mse.value == pytest.approx(errors.mean()) and mse.n == 50
    assert mse.high - mse.value == pytest.approx(
        2.0096 * errors.std(ddof=1) / math.sqrt(50), rel=1e-3)


def test_copies_have_the_activity_of_what_they_copy():
    real = rows(40, [.25] * 4, 1)
    assert [m.value for m in fidelity(real, real, judge())] == [0, 0]


def test_rows_that_the_judge_does_not_know_are_left_out_and_counted():
    real = rows(40, [.25] * 4, 1)
    ks, mse = fidelity([*real, "AC", "A" * 41], real, judge())
    assert ks.n == 40 and ks.value == 0 and mse.value == 0
    ks, mse = fidelity(["AC"], real, judge())
    assert math.isnan(ks.value) and ks.n == 0 and "4 to 40 letters" in mse.note


def test_agreement_counts_the_class_asked():
    found = agreement(["AAAC", "ACCC", "AAAC", "CCCA"], ["a", "b", "b", "b"], judge())
    assert (found.value, found.n, found.name) == (0.75, 4, "asked_class_count")
    with pytest.raises(ValueError, match="predicts a, b, got 'c'"):
        agreement(["AAAC"], ["c"], judge())
    with pytest.raises(ValueError, match="one condition a row, got 1 for 2"):
        agreement(["AAAC", "AAAC"], ["a"], judge())


def test_agreement_of_a_number_is_its_correlation():
    own = rows(30, [.25] * 4, 2)
    asked = np.random.default_rng(0).normal(size=30)
    found = agreement(own, asked, judge("number"))
    truth = pearsonr([s.count("A") for s in own], asked)
    assert found.value == pytest.approx(truth.statistic)
    bounds = truth.confidence_interval()
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high), rel=1e-5)
    assert math.isnan(agreement(own[:3], asked[:3], judge("number")).value)
    assert fisher(1.0, 10) == (1.0, 1.0)


def test_naturalness_of_real_rows_and_of_others():
    pytest.importorskip("pyjaspar")
    real = rows(100, [.4, .1, .1, .4], 0)
    same = naturalness(rows(100, [.4, .1, .1, .4], 1), real)
    other = naturalness(rows(100, [.1, .4, .4, .1], 1), real)
    assert [m.name for m in same] == ["kmer3_pearson", NAME, "discriminator_auroc_kmer"]
    assert same[0].value > 0.98 and other[0].value < 0
    assert same[1].value > 0.9 and other[1].value < 0.2
    assert same[2].low < 0.5 < same[2].high and other[2].value > 0.99


def test_peptides_have_no_motifs():
    own = ["ACDEFGHIKL" * 2] * 60
    assert [m.name for m in naturalness(own, own, PEPTIDE)] == [
        "kmer3_pearson", "discriminator_auroc_kmer"]
