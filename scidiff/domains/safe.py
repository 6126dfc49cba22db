"""Molecules as pieces joined by labels, see `chem.fragments`: every row is also a SMILES."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from scidiff.chem.fragments import spell
from scidiff.chem.molecules import canonical_key
from scidiff.data.records import Record
from scidiff.data.tokens import TokenState, Vocabulary, encode_rows
from scidiff.domains.domain import spelled
from scidiff.domains.smiles import molecule_record

_LABEL = re.compile(r"%\d\d")


def fragment_record(text: str) -> Record:
    """Check one row; an invalid one says which label has no partner, or the rule of chemistry that
    it breaks."""
    record = molecule_record(text)
    odd = [label for label, times in Counter(_LABEL.findall(text)).items() if times % 2]
    if record.valid or not odd:
        return record
    return replace(record, reason=f"attachment {' '.join(odd)} has no partner")


@dataclass(frozen=True)
class FragmentDomain:
    """Strings over `vocabulary` are molecules in pieces."""

    vocabulary: Vocabulary
    name: str = "safe"
    kind: str = "molecule"
    notation: ClassVar[str] = "smiles"

    @staticmethod
    def spell(text: str) -> str:
        """Write a SMILES in pieces. Raises ValueError for what is not a whole molecule."""
        return spell(text)

    def decode(self, state: TokenState) -> list[Record]:
        return [fragment_record(self.vocabulary.decode(row)) for row in state.ids.tolist()]

    def encode(self, objects: Sequence[str]) -> TokenState:
        return TokenState(encode_rows(self.vocabulary, spelled(type(self), objects)))

    def key(self, record: Record) -> str:
        return canonical_key(record.obj or record.text)

    def keys(self, objects: Sequence[str]) -> list[str]:
        return [canonical_key(text) for text in objects]


DOMAIN = FragmentDomain
