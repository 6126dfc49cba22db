"""RNA as ACGU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scidiff.data.alphabets import RNA, Alphabet
from scidiff.domains.sequence import SequenceDomain


@dataclass(frozen=True)
class RnaDomain(SequenceDomain):
    """RNA, 5' to 3'. T is read as U and lower case as upper case; N and the other IUPAC codes are
    refused."""

    name: str = "rna"
    alphabet: ClassVar[Alphabet] = RNA


DOMAIN = RnaDomain
