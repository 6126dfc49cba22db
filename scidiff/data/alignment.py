"""Global alignment of two rows of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Pair = tuple[int | None, int | None]
Letters = NDArray[np.integer[Any]]


def _table(a: Sequence[T], b: Sequence[T]) -> list[list[int]]:
    """Edit distances of all beginnings: table[i][j] of a[:i] and b[:j]."""
    table = [list(range(len(b) + 1))]
    for i, x in enumerate(a, start=1):
        above, row = table[-1], [i]
        for j, y in enumerate(b, start=1):
            row.append(min(above[j - 1] + (x != y), above[j] + 1, row[-1] + 1))
        table.append(row)
    return table


def edit_distance(a: Sequence[T], b: Sequence[T]) -> int:
    """The fewest substitutions, insertions and deletions that turn a into b (Levenshtein 1966)."""
    return _table(a, b)[-1][-1]


def edit_distances(
    word: Letters, ids: Letters, lengths: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Levenshtein distances of one word (M,) to rows (B, L) of given lengths: (B,).

    D_ij = min(D_i-1,j + 1, D_i-1,j-1 + [a_i != b_j], D_i,j-1 + 1), a line at a time: insertions
    along a line are j + min_{k <= j} (T_k - k), a running minimum.
    """
    places = np.arange(int(lengths.max(initial=0)) + 1)
    ids = ids[:, :len(places) - 1]
    line = np.broadcast_to(places, (len(ids), len(places))).copy()
    for i, letter in enumerate(word, 1):
        above = line + 1
        above[:, 0] = i
        above[:, 1:] = np.minimum(above[:, 1:], line[:, :-1] + (ids != letter))
        line = places + np.minimum.accumulate(above - places, 1)
    return line[np.arange(len(ids)), lengths]


def align(a: Sequence[T], b: Sequence[T]) -> list[Pair]:
    """The columns of one cheapest alignment (Needleman and Wunsch 1970, unit costs): places in a
    and b, None where one of them has a gap. Of equal ones, the one that pairs most at the end."""
    table = _table(a, b)
    pairs: list[Pair] = []
    i, j = len(a), len(b)
    while i or j:
        here = table[i][j]
        if i and j and here == table[i - 1][j - 1] + (a[i - 1] != b[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif i and here == table[i - 1][j] + 1:
            i -= 1
            pairs.append((i, None))
        else:
            j -= 1
            pairs.append((None, j))
    return pairs[::-1]
