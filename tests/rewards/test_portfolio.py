"""Portfolios: the best where nothing is asked, diverse where it is, and as good as that allows."""

from itertools import combinations

import numpy as np
import pytest
import torch
from rdkit import Chem

from scidiff.chem.molecules import fingerprints
from scidiff.evaluation.neighbours import internal_diversity
from scidiff.rewards import portfolio as module
from scidiff.rewards.portfolio import apart, comparison, portfolio, similarities

SMILES = [
    "CCO", "CCCO", "CCCCO", "CCCCCO", "CCCCCCO", "c1ccccc1", "c1ccccc1C", "c1ccncc1", "CC(=O)NC",
    "CS(=O)(=O)N", "C1CCOCC1", "N#CC(F)F", "O=C1CCCN1", "Clc1ccsc1", "CC#CC", "BrCCBr",
]  # fmt: skip
MOLS = [Chem.MolFromSmiles(s) for s in SMILES]
VALUES = [1.0 - 0.01 * i for i in range(len(SMILES))]  # alcohols, which are alike, are best


def told(rows):
    """Of pairs of two different molecules: as reported, which counts each with itself too."""
    return internal_diversity(fingerprints([MOLS[row] for row in rows]))[0] * len(rows) / (
        len(rows) - 1
    )


def test_similarities_are_those_of_the_reported_diversity():
    assert abs(apart(similarities("molecule", MOLS)) - told(range(len(MOLS)))) < 1e-6
    assert apart(similarities("molecule", MOLS[:1])) == 1


def test_sequences_of_one_length_are_compared_place_by_place():
    words = ["ACGT", "ACGA", "TTTT", "AGGT"]
    assert comparison("sequence", words) == "places"
    assert comparison("sequence", [*words, "ACG"]) == "sequence"
    assert comparison("molecule", MOLS) == "molecule"
    same = [[sum(a == b for a, b in zip(x, y, strict=True)) / 4 for y in words] for x in words]
    assert torch.equal(similarities("places", words), torch.tensor(same, dtype=torch.float64))
    found = portfolio("places", words, [4.0, 3.0, 2.0, 1.0], 2, 0.7)
    assert found == [0, 2]  # ACGA is as good and nearly the same


def test_the_best_are_taken_where_nothing_is_asked():
    assert portfolio("molecule", MOLS, VALUES, 5, 0.0) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("least", [0.3, 0.5, 0.6, 0.7])
def test_what_is_asked_holds_and_the_best_one_stays(least):
    rows = portfolio("molecule", MOLS, VALUES, 5, least)
    assert len(set(rows)) == 5 and rows == sorted(rows)
    assert told(rows) >= least and rows[0] == 0


@pytest.mark.parametrize("least", [0.5, 0.6, 0.7])
def test_no_set_is_much_better(least):
    """Among all sets of four that are diverse enough none has a mean 0.02 higher."""
    T = similarities("molecule", MOLS)
    fine = [s for s in combinations(range(len(MOLS)), 4)
            if apart(T[list(s)][:, list(s)]) >= least]
    most = max(np.mean([VALUES[i] for i in s]) for s in fine)
    rows = portfolio("molecule", MOLS, VALUES, 4, least)
    assert np.mean([VALUES[i] for i in rows]) > most - 0.02


def test_the_best_that_are_kept_stay_and_the_others_make_up_for_them():
    assert 1 not in portfolio("molecule", MOLS, VALUES, 5, 0.9)
    rows = portfolio("molecule", MOLS, VALUES, 5, 0.8, keep=3)
    assert rows[:3] == [0, 1, 2] and told(rows) >= 0.8
    assert portfolio("molecule", MOLS, VALUES, 3, 1.0, keep=10) == [0, 1, 2]


def test_more_than_can_be_had_is_the_most_diverse_set_that_was_met():
    rows = portfolio("molecule", MOLS[:5], VALUES[:5], 3, 1.0)
    assert told(rows) > told([0, 1, 2]) and len(rows) == 3


def test_few_objects_are_all_handed_on_best_first():
    assert portfolio("molecule", MOLS[:3], [0.1, 0.3, 0.2], 9, 0.8) == [1, 2, 0]
    assert portfolio("molecule", [], [], 9, 0.8) == []


def test_equal_values_are_no_obstacle():
    rows = portfolio("molecule", MOLS, [0.5] * len(MOLS), 4, 0.6)
    assert told(rows) >= 0.6


def test_large_pools_are_thinned_to_their_best_and_even_ranks(monkeypatch):
    monkeypatch.setattr(module, "MOST", 8)
    kept = module._compared(torch.arange(16)).tolist()
    assert kept[:4] == [0, 1, 2, 3] and kept[-1] == 15 and len(set(kept)) == 8
    assert set(portfolio("molecule", MOLS, VALUES, 3, 0.5)) <= set(kept)


def test_sequences_are_compared_by_their_words():
    words = ["ACGTACGT", "ACGTACGA", "TTTTGGGG", "GGGGCCCC"]
    assert portfolio("sequence", words, [4.0, 3.0, 2.0, 1.0], 2, 0.0) == [0, 1]
    assert portfolio("sequence", words, [4.0, 3.0, 2.0, 1.0], 2, 0.45) == [0, 2]


def test_a_diversity_beyond_one_is_refused():
    with pytest.raises(ValueError, match=r"diversity must lie in \[0, 1\], got 80"):
        portfolio("molecule", MOLS, VALUES, 3, 80)
