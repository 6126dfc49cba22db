"""Global alignment of two rows of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
Pair = tuple[int | None, int | None]


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
