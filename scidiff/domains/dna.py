"""DNA as ACGT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scidiff.data.alphabets import DNA, Alphabet
from scidiff.data.strands import either_strand
from scidiff.domains.sequence import SequenceDomain

STRANDS = ("forward", "both")


@dataclass(frozen=True)
class DnaDomain(SequenceDomain):
    """DNA, 5' to 3'. Soft-masked (lower case) letters are read as upper case; N and the other
    IUPAC codes are refused.

    strands: "forward", a sequence and its reverse complement are two objects; "both", they are
    one, for novelty, uniqueness and what a reward is asked (rewards then see the strand that was
    drawn first).
    """

    name: str = "dna"
    strands: str = "forward"
    alphabet: ClassVar[Alphabet] = DNA

    def __post_init__(self) -> None:
        if self.strands not in STRANDS:
            raise ValueError(f"strands must be one of {', '.join(STRANDS)}, got {self.strands!r}")

    def canonical(self, text: str) -> str:
        return either_strand(text) if self.strands == "both" else text


DOMAIN = DnaDomain
