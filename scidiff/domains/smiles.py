"""Molecules as SMILES strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from scidiff.chem.checks import examine
from scidiff.chem.molecules import canonical_key, rooted
from scidiff.data.records import Record
from scidiff.data.tokens import TokenState, Vocabulary, encode_rows


def molecule_record(smiles: str) -> Record:
    """Check one SMILES: a valid record holds the RDKit molecule, an invalid one the rule it
    breaks."""
    mol, report = examine(smiles)
    return Record(smiles, mol if report.valid else None, report.valid, report.message)


@dataclass(frozen=True)
class SmilesDomain:
    """Strings over `vocabulary` are SMILES."""

    vocabulary: Vocabulary
    name: str = "smiles"
    kind: str = "molecule"
    notation: ClassVar[str] = "smiles"

    @staticmethod
    def spell(text: str) -> str:
        """A SMILES is its own text."""
        return text

    @staticmethod
    def respell(text: str, share: float) -> str:
        """The same molecule, begun at the atom a `share` in [0, 1) down the list."""
        return rooted(text, share) or text

    def decode(self, state: TokenState) -> list[Record]:
        return [molecule_record(self.vocabulary.decode(row)) for row in state.ids.tolist()]

    def encode(self, objects: Sequence[str]) -> TokenState:
        return TokenState(encode_rows(self.vocabulary, objects))

    def key(self, record: Record) -> str:
        return canonical_key(record.obj or record.text)

    def keys(self, objects: Sequence[str]) -> list[str]:
        return [canonical_key(text) for text in objects]


DOMAIN = SmilesDomain
