"""Alignments against exhaustive search."""

from functools import cache

import numpy as np

from scidiff.data.alignment import align, edit_distance


def slow_distance(a: str, b: str) -> int:
    @cache
    def d(i, j):
        if not i or not j:
            return i + j
        return min(d(i - 1, j - 1) + (a[i - 1] != b[j - 1]), d(i - 1, j) + 1, d(i, j - 1) + 1)

    return d(len(a), len(b))


def test_every_alignment_is_one_of_the_cheapest():
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = ("".join(rng.choice(list("ACG"), rng.integers(0, 8))) for _ in range(2))
        pairs, d = align(a, b), slow_distance(a, b)
        assert edit_distance(a, b) == edit_distance(b, a) == d
        assert [i for i, _ in pairs if i is not None] == list(range(len(a)))
        assert [j for _, j in pairs if j is not None] == list(range(len(b)))
        cost = sum(i is None or j is None or a[i] != b[j] for i, j in pairs)
        assert cost == d


def test_known_distances():
    assert edit_distance("kitten", "sitting") == 3 and edit_distance("", "abc") == 3
    assert align("AC", "AC") == [(0, 0), (1, 1)]
    assert align("AC", "C") == [(0, None), (1, 0)]
