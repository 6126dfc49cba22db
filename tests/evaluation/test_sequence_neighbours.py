"""Nearest neighbours of sequences against the obvious algorithms."""

import numpy as np
import pytest

from scidiff.data.alignment import edit_distances
from scidiff.data.letters import letter_ids
from scidiff.evaluation import sequence_neighbours as near

PEPTIDES = "ACDEFGHIKLMNPQRSTVWY"


def words(n, low, high, letters, seed=0):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), int(rng.integers(low, high + 1))))
            for _ in range(n)]


def edits(a, b):
    """Levenshtein by the recursion, a cell at a time."""
    line = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        line, old = [i], line
        for j, y in enumerate(b, 1):
            line.append(min(old[j] + 1, line[j - 1] + 1, old[j - 1] + (x != y)))
    return line[-1]


def test_edit_distances_are_those_of_the_recursion():
    rows = ["", *words(60, 1, 12, "ACD")]
    ids = letter_ids(rows, PEPTIDES)
    for word in ["ACDA", *words(5, 1, 15, "ACD", 1)]:
        found = edit_distances(letter_ids([word], PEPTIDES)[0], ids,
                                    np.array([len(r) for r in rows]))
        assert found.tolist() == [edits(word, r) for r in rows]


def test_the_nearest_edit_is_not_missed_by_the_bound(monkeypatch):
    monkeypatch.setattr(near, "CANDIDATES", 4)
    known, rows = words(80, 3, 14, "ACDE"), words(20, 3, 14, "ACDE", 1)
    found = near.nearest_edit([*rows, known[7]], known, PEPTIDES)
    expected = [min(edits(a, b) / max(len(a), len(b)) for b in known) for a in rows]
    assert found.tolist() == pytest.approx([*expected, 0])


def test_nearest_hamming_over_several_blocks(monkeypatch):
    monkeypatch.setattr(near, "BLOCK", 3)
    monkeypatch.setattr(near, "KNOWN", 7)
    known, rows = words(40, 9, 9, "ACGT"), words(10, 9, 9, "ACGT", 1)
    found = near.nearest_hamming([*rows, known[-1]], known, "ACGT")
    expected = [min(sum(x != y for x, y in zip(a, b, strict=True)) for b in known) / 9
                for a in rows]
    assert found.tolist() == pytest.approx([*expected, 0])


def test_pieces_find_a_copy_that_was_shifted():
    known = words(30, 100, 100, "ACGT")
    rows = [known[3][17:90], words(1, 80, 80, "ACGT", 5)[0], known[0][:19],
            known[1][:40] + words(1, 60, 60, "ACGT", 6)[0]]
    found = near.known_pieces(rows, known, "ACGT")
    assert found[:3].tolist() == [1, 0, 0]
    assert found[3] == pytest.approx(21 / 81)
