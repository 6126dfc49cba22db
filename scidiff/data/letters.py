"""Sequences of letters as arrays: ids, and how often every k-mer occurs.

    letter_ids(["ACGT", "TT"], "ACGT")       # (2, 4) int8, -1 behind the end
    kmer_counts(ids, k=2, letters=4)         # (2, 16)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BEHIND = -1  # where a row has ended
Ids = NDArray[np.int8]


def letter_ids(sequences: Sequence[str], alphabet: str) -> Ids:
    """Places of letters in `alphabet`: (B, L) int8, L the longest row, -1 behind the end.

    Raises ValueError that names row, position (both from 1) and character of the first letter
    that is not in the alphabet: spell the sequences first (`data.alphabets`).
    """
    code = np.full(256, BEHIND, np.int8)
    code[np.frombuffer(alphabet.encode(), np.uint8)] = np.arange(len(alphabet))
    lengths = np.array([len(s) for s in sequences], np.int64)
    flat = code[np.frombuffer("".join(sequences).encode("ascii", "replace"), np.uint8)]
    if (flat == BEHIND).any():
        at = int(np.flatnonzero(flat == BEHIND)[0])
        row = int(np.searchsorted(lengths.cumsum(), at, "right"))
        place = at - int(lengths[:row].sum())
        raise ValueError(f"row {row + 1}: {sequences[row][place]!r} at position {place + 1} is "
                         f"not in {alphabet}")
    ids = np.full((len(lengths), int(lengths.max(initial=0))), BEHIND, np.int8)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = flat
    return ids


def kmer_codes(ids: Ids, k: int, letters: int) -> NDArray[np.int64]:
    """The k-mer that starts at every position, sum_j id_j letters^(k - 1 - j): (B, L - k + 1), -1
    where it would run over the end."""
    B, L = ids.shape
    codes = np.zeros((B, max(L - k + 1, 0)), np.int64)
    for j in range(k):
        codes = codes * letters + ids[:, j:j + codes.shape[1]]
    # ids fill a row from the left: a k-mer is whole where its last letter is there
    return np.where(ids[:, k - 1:] != BEHIND, codes, BEHIND)


def kmer_counts(ids: Ids, k: int, letters: int) -> NDArray[np.int32]:
    """How often every k-mer occurs in every row, overlaps included: (B, letters^k)."""
    codes = kmer_codes(ids, k, letters)
    rows, at = np.nonzero(codes != BEHIND)
    width = letters ** k
    found = np.bincount(rows * width + codes[rows, at], minlength=len(ids) * width)
    return found.reshape(len(ids), width).astype(np.int32)

