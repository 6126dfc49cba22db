"""The two strands of DNA: one molecule, two ways of writing it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scidiff.data.tokens import FIRST_SYMBOL, Vocabulary

_COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}
_TABLE = str.maketrans(_COMPLEMENT)


def reverse_complement(sequence: str) -> str:
    """The other strand of a DNA sequence over ACGT, read in its own direction."""
    return sequence.translate(_TABLE)[::-1]


def either_strand(sequence: str) -> str:
    """The one form of both strands: the first in the alphabet."""
    return min(sequence, reverse_complement(sequence))


def both_strands(sequences: Sequence[str]) -> list[str]:
    """Every sequence, then the other strand of every sequence: training rows, twice as many.

    A sequence that is its own reverse complement stands twice, like all the others. Hold rows out
    before: the other strand of a held-out sequence is no new one.
    """
    return [*sequences, *map(reverse_complement, sequences)]


def other_strand(ids: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Reverse complements of token rows (B, L): EOS and PAD stay behind the end, a MASK stands
    where the base that it hides now is."""
    complement = torch.arange(len(vocabulary), device=ids.device)
    index = {s: i + FIRST_SYMBOL for i, s in enumerate(vocabulary.symbols)}
    for base, other in _COMPLEMENT.items():
        if (base in index) != (other in index):
            raise ValueError(f"the vocabulary has only one of {base} and {other}, whose strands "
                             "it cannot write")
        if base in index:
            complement[index[base]] = index[other]
    written = ids >= FIRST_SYMBOL
    position = torch.arange(ids.shape[1], device=ids.device)
    source = torch.where(written, written.sum(1, keepdim=True) - 1 - position, position)
    return complement[ids.gather(1, source)]
