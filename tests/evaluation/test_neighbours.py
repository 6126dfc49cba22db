"""Similarities in blocks are similarities at once, and those of RDKit."""

import math

import numpy as np
import pytest

from scidiff.chem.molecules import as_mol, fingerprints, tanimoto
from scidiff.evaluation import neighbours
from scidiff.evaluation.neighbours import internal_diversity, nearest_similarity


def packed(n, seed, density=0.05):
    return np.packbits(np.random.default_rng(seed).random((n, 1024)) < density, axis=1)


def test_diversity_in_blocks_is_diversity_at_once(monkeypatch):
    bits = packed(50, 0)
    t = tanimoto(bits, bits)
    expected = 1 - t.mean(), 1 - np.sqrt((t**2).mean(1)).mean()
    assert internal_diversity(bits) == pytest.approx(expected, abs=1e-6)
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    assert internal_diversity(bits) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("block", [3, 4096])
@pytest.mark.parametrize("density", [0.02, 0.4])
def test_nearest_is_the_largest_of_all(monkeypatch, block, density):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    a, b = packed(20, 1, density), packed(35, 2, density)
    assert nearest_similarity(a, b) == pytest.approx(tanimoto(a, b).max(1))
    own = tanimoto(a, a)
    np.fill_diagonal(own, 0)
    assert nearest_similarity(a, a, itself=True) == pytest.approx(own.max(1))


def test_empty_fingerprints_are_equal():
    none = np.zeros((2, 128), np.uint8)
    assert nearest_similarity(none, none).tolist() == [1, 1]
    assert nearest_similarity(packed(2, 0), none).tolist() == [0, 0]


def test_one_molecule_has_no_diversity():
    bits = fingerprints([as_mol("CCO"), as_mol("c1ccccc1")])
    assert all(math.isnan(v) for v in internal_diversity(bits[:1]))
    assert internal_diversity(bits)[0] > 0
