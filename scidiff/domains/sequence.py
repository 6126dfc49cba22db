"""What DNA, RNA and peptides share: a row is its letters, and its text is the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from scidiff.data.alphabets import Alphabet
from scidiff.data.records import Record
from scidiff.data.tokens import TokenState, Vocabulary, encode_rows
from scidiff.domains.domain import spelled


@dataclass(frozen=True)
class SequenceDomain:
    """Base of the sequence domains: token rows over `vocabulary`, one letter a token.

    Rewards see the sequence as text, upper case. A subclass says its name and alphabet.
    """

    vocabulary: Vocabulary
    kind: str = "sequence"
    notation: ClassVar[str] = "characters"
    alphabet: ClassVar[Alphabet]

    @classmethod
    def symbols(cls) -> tuple[str, ...]:
        """Every letter of the alphabet, so that a model can write those its training set lacks."""
        return tuple(cls.alphabet.letters)

    @classmethod
    def spell(cls, text: str) -> str:
        """Upper-case a sequence; ValueError names a letter outside the alphabet and its place."""
        return cls.alphabet.spell(text)

    def decode(self, state: TokenState) -> list[Record]:
        return [self._record(self.vocabulary.decode(row)) for row in state.ids.tolist()]

    def _record(self, text: str) -> Record:
        reason = self.alphabet.reason(text)
        return Record(text, None if reason else text, not reason, reason)

    def encode(self, objects: Sequence[str]) -> TokenState:
        return TokenState(encode_rows(self.vocabulary, spelled(type(self), objects)))

    def key(self, record: Record) -> str:
        return self.canonical(record.text)

    def keys(self, objects: Sequence[str]) -> list[str]:
        return [self.canonical(text) for text in objects]

    def canonical(self, text: str) -> str:
        """Two sequences with one canonical form are one object."""
        return text
