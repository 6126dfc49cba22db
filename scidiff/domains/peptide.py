"""Peptides in one-letter code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scidiff.data.alphabets import PEPTIDE, Alphabet
from scidiff.domains.sequence import SequenceDomain


@dataclass(frozen=True)
class PeptideDomain(SequenceDomain):
    """Peptides, N to C terminus, of the twenty common residues. Lower case, which some files use
    for D-residues, is read as upper case; B, J, O, U, X, Z and gaps are refused."""

    name: str = "peptide"
    alphabet: ClassVar[Alphabet] = PEPTIDE


DOMAIN = PeptideDomain
