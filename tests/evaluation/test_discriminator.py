"""AUROC and its interval, and what a discriminator can and cannot tell."""

import math

import numpy as np
import pytest
import torch

from scidiff.evaluation.discriminator import auroc, discriminability


def random_rows(n, p, seed, length=40):
    rng = np.random.default_rng(seed)
    return ["".join(row) for row in rng.choice(list("ACGT"), (n, length), p=p)]


def test_auroc_counts_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 30) + 1.0, rng.integers(0, 6, 50) * 1.0
    pairs = (a[:, None] > b).mean() + (a[:, None] == b).mean() / 2
    assert auroc(a, b)[0] == pytest.approx(pairs)
    assert auroc(b, a)[0] == pytest.approx(1 - pairs)
    assert auroc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == (1, 1, 1)


def test_the_interval_of_delong_covers():
    rng = np.random.default_rng(0)
    truth = 0.5 * math.erfc(-1 / 2)  # P(N(1, 1) > N(0, 1))
    hit = []
    for _ in range(400):
        _, low, high = auroc(rng.normal(1, 1, 60), rng.normal(0, 1, 40))
        hit.append(low <= truth <= high)
    assert 0.92 < np.mean(hit) < 0.98


@pytest.mark.parametrize("kind", ["kmer", "cnn"])
def test_a_discriminator_tells_another_law_and_not_the_same(kind):
    even, odd = [.25] * 4, [.4, .2, .2, .2]
    real = random_rows(300, even, 0)
    same = discriminability(random_rows(300, even, 1), real, "ACGT", kind)
    other = discriminability(random_rows(300, odd, 1), real, "ACGT", kind)
    assert same.low < 0.5 < same.high
    assert other.value > 0.8 and other.low > 0.6
    assert other.method == "DeLong" and other.n == 300


def test_the_same_seed_gives_the_same_answer_and_leaves_torchs_generator_alone():
    rows = [random_rows(60, [.25] * 4, i) for i in range(2)]
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = discriminability(*rows, "ACGT", "cnn")
    assert torch.equal(torch.rand(1), expected)
    assert discriminability(*rows, "ACGT", "cnn").value == first.value
    assert discriminability(*rows, "ACGT", "cnn", seed=1).value != first.value


def test_too_few_rows_and_an_unknown_kind():
    few = discriminability(random_rows(20, [.25] * 4, 0), random_rows(90, [.25] * 4, 1), "ACGT")
    assert math.isnan(few.value) and "50 rows" in few.note
    with pytest.raises(ValueError, match="cnn, kmer, got 'svm'"):
        discriminability([], [], "ACGT", "svm")
