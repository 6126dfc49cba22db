"""Alphabets of biological sequences: which letters are written, and what is said of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from string import ascii_lowercase

_NUCLEIC = {
    "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC", "B": "CGT", "D": "AGT",
    "H": "ACT", "V": "ACG", "N": "ACGT",
}  # IUPAC-IUB 1984, Nucleic Acids Research 13:3021
_SIGNS = {"-": "a gap", ".": "a gap", "*": "a stop"}


@dataclass(frozen=True)
class Alphabet:
    """The letters a sequence is written with, all upper case.

    reads: letters that are taken for another one. meanings: what a refused letter stands for, for
    messages.
    """

    name: str
    letters: str
    reads: Mapping[str, str] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)

    def spell(self, text: str) -> str:
        """Write a sequence as the alphabet does: upper case, so that soft-masked repeats count.

        Raises ValueError naming the first letter that cannot be written and its position from 1.
        """
        written = text.translate(self._table)
        if reason := self.reason(written):
            raise ValueError(reason)
        return written

    def reason(self, text: str) -> str:
        """Why `text`, taken letter by letter as it stands, is no sequence of the alphabet, or ""
        if it is one."""
        if not text:
            return "an empty sequence"
        at = next((i for i, letter in enumerate(text) if letter not in self._set), None)
        if at is None:
            return ""
        meaning = self.meanings.get(text[at], "")
        return (f"{text[at]!r} at position {at + 1}{meaning and f' ({meaning})'} is not in the "
                f"{self.name} alphabet {self.letters}")

    @cached_property
    def _set(self) -> frozenset[str]:
        return frozenset(self.letters)

    @cached_property
    def _table(self) -> dict[int, str]:
        # letter by letter: str.upper() makes two letters of some that are not ASCII
        upper = {small: small.upper() for small in ascii_lowercase}
        table = {small: self.reads.get(large, large) for small, large in upper.items()}
        return str.maketrans({**table, **self.reads})


def _nucleic(thymine: str) -> dict[str, str]:
    codes = {code: "IUPAC for " + " or ".join(bases.replace("T", thymine))
             for code, bases in _NUCLEIC.items()}
    return codes | _SIGNS


DNA = Alphabet("DNA", "ACGT", meanings=_nucleic("T") | {"U": "uracil: RNA"})
"""U is refused: an RNA among DNA is more often a mistake than a way of writing."""
RNA = Alphabet("RNA", "ACGU", reads={"T": "U"}, meanings=_nucleic("U"))
"""T is read as U: sequencers, and most files of RNA, write RNA in the letters of its DNA."""
PEPTIDE = Alphabet("peptide", "ACDEFGHIKLMNPQRSTVWY", meanings={
    "B": "D or N", "Z": "E or Q", "J": "I or L", "X": "any residue", "U": "selenocysteine",
    "O": "pyrrolysine"} | _SIGNS)
"""The twenty residues that the genetic code shares (IUPAC-IUB 1983)."""
