"""How near sequences come to those a model was trained on: the nearest one, and shared pieces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from scidiff.data.alignment import edit_distances
from scidiff.data.letters import BEHIND, kmer_codes, letter_ids

BLOCK, KNOWN = 512, 4_096  # rows of a block of pairs
CANDIDATES = 64  # pairs whose edit distance is found at once
PIECE = 20  # letters; one in 4^20 pairs of random DNA positions agrees in so many


def nearest_hamming(
    sequences: Sequence[str], known: Sequence[str], alphabet: str
) -> NDArray[np.float64]:
    """Share of positions that differ from the nearest known sequence, all of one length: (B,)."""
    length, best = len(known[0]), torch.zeros(len(sequences))
    mine = _one_hot(sequences, alphabet)
    for j in range(0, len(known), KNOWN):
        theirs = _one_hot(known[j:j + KNOWN], alphabet).T.contiguous()
        for i in range(0, len(mine), BLOCK):
            equal = (mine[i:i + BLOCK] @ theirs).amax(1)
            best[i:i + BLOCK] = torch.maximum(best[i:i + BLOCK], equal)
    return (1 - best.double() / length).numpy()


def _one_hot(sequences: Sequence[str], alphabet: str) -> torch.Tensor:
    ids = torch.from_numpy(letter_ids(sequences, alphabet))
    return (ids[:, :, None] == torch.arange(len(alphabet), dtype=torch.int8)).flatten(1).float()


def nearest_edit(
    sequences: Sequence[str], known: Sequence[str], alphabet: str
) -> NDArray[np.float64]:
    """Edits to the nearest known sequence over the length of the longer one: (B,).

    Known sequences are tried by a lower bound of their distance, the letters that one has more
    often than the other, until the bound passes the best.
    """
    ids = letter_ids(known, alphabet)
    lengths = (ids != BEHIND).sum(1)
    counts = np.stack([(ids == v).sum(1) for v in range(len(alphabet))], 1)
    return np.array([_nearest(row[row != BEHIND], ids, lengths, counts)
                     for row in letter_ids(sequences, alphabet)], np.float64)


def _nearest(
    word: NDArray[np.int8], ids: NDArray[np.int8], lengths: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> float:
    more = np.bincount(word, minlength=counts.shape[1]) - counts
    bag = np.maximum(np.maximum(more, 0).sum(1), np.maximum(-more, 0).sum(1))
    longer = np.maximum(lengths, len(word))
    bound, best = bag / longer, 1.0
    order = np.argsort(bound, kind="stable")
    for i in range(0, len(order), CANDIDATES):
        chosen = order[i:i + CANDIDATES]
        if bound[chosen[0]] >= best:
            break
        found = edit_distances(word, ids[chosen], lengths[chosen]) / longer[chosen]
        best = min(best, float(found.min()))
    return best


def known_pieces(
    sequences: Sequence[str], known: Sequence[str], alphabet: str, k: int = PIECE
) -> NDArray[np.float64]:
    """Share of a row's k-mers that occur anywhere in the known sequences: (B,), 0 for a row that
    is shorter than k. It finds copies that are shifted or cut, which positions do not."""
    V = len(alphabet)
    theirs = np.unique(kmer_codes(letter_ids(known, alphabet), k, V))
    codes = kmer_codes(letter_ids(sequences, alphabet), k, V)
    there = codes != BEHIND
    found = np.isin(codes, theirs) & there
    return found.sum(1) / np.maximum(there.sum(1), 1)
