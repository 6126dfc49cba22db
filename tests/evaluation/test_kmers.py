"""Distances of sets of sequences against their definitions."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from scidiff.data.letters import kmer_codes, letter_ids
from scidiff.evaluation.kmers import (
    js_distance,
    kmer_distance,
    kmer_pearson,
    ks_distance,
    pearson,
    position_distance,
)


def random_rows(n, p, rng, length=30):
    return ["".join(row) for row in rng.choice(list("ACGT"), (n, length), p=p)]


def test_js_distance_is_scipys_square_root_in_nats():
    rng = np.random.default_rng(0)
    p, q = rng.integers(0, 9, (2, 50))
    assert js_distance(p, q) == pytest.approx(jensenshannon(p, q), rel=1e-12)
    assert js_distance(np.array([3, 0]), np.array([0, 5])) == pytest.approx(math.sqrt(math.log(2)))
    assert js_distance(p, 7 * p) == 0
    assert math.isnan(js_distance(p, 0 * q))


def test_kmers_are_pooled_over_rows():
    ids = [letter_ids(rows, "ACGT") for rows in (["AAC", "ACGT"], ["AC"])]
    a, b = (kmer_codes(x, 2, 4) for x in ids)
    p, q = np.zeros(16), np.zeros(16)
    p[[0, 1, 6, 11]], q[1] = [1, 2, 1, 1], 1
    assert kmer_distance(a, b, 16) == pytest.approx(jensenshannon(p, q))
    assert kmer_pearson(a, b, 16) == pytest.approx(np.corrcoef(p, q)[0, 1])


def test_position_distance_is_a_mean_over_positions_that_half_reach():
    ids = letter_ids(["AC", "AC", "AG", "AGT"], "ACGT"), letter_ids(["AA", "CC"], "ACGT")
    first = jensenshannon([4, 0, 0, 0], [1, 1, 0, 0])
    second = jensenshannon([0, 2, 2, 0], [1, 1, 0, 0])
    assert position_distance(*ids, letters=4) == pytest.approx((first + second) / 2)
    assert math.isnan(position_distance(ids[0][:0], ids[1], 4))


def test_ks_and_pearson_at_the_edges():
    assert ks_distance(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1
    assert math.isnan(ks_distance(np.zeros(0), np.ones(3)))
    assert math.isnan(pearson(np.ones(3), np.arange(3.0)))


def test_two_samples_of_one_law_come_together():
    rng = np.random.default_rng(0)
    found = []
    for n in (20, 2_000):
        a, b = (kmer_codes(letter_ids(random_rows(n, [.4, .3, .2, .1], rng), "ACGT"), 2, 4)
                for _ in range(2))
        found.append(kmer_distance(a, b, 16))
    assert found[1] < found[0] / 5
