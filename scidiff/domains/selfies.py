"""Molecules as SELFIES strings (Krenn et al. 2020): every string spells a molecule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import selfies

from scidiff.chem.molecules import canonical_key
from scidiff.data.records import Record
from scidiff.data.tokens import TokenState, Vocabulary, encode_rows
from scidiff.domains.domain import spelled
from scidiff.domains.smiles import molecule_record


@dataclass(frozen=True)
class SelfiesDomain:
    """Strings over `vocabulary` are SELFIES (Krenn et al. 2020); records hold the SMILES they
    spell."""

    vocabulary: Vocabulary
    name: str = "selfies"
    kind: str = "molecule"
    notation: ClassVar[str] = "selfies"

    @staticmethod
    def spell(text: str) -> str:
        """Write a SMILES as SELFIES. Raises ValueError where SELFIES cannot hold it."""
        try:
            return str(selfies.encoder(text))
        except selfies.EncoderError as error:
            why = str(error).splitlines()[0]
            raise ValueError(f"{text!r} cannot be written as SELFIES: {why}") from None

    def decode(self, state: TokenState) -> list[Record]:
        return [
            molecule_record(selfies.decoder(self.vocabulary.decode(row)))
            for row in state.ids.tolist()
        ]

    def encode(self, objects: Sequence[str]) -> TokenState:
        return TokenState(encode_rows(self.vocabulary, spelled(type(self), objects)))

    def key(self, record: Record) -> str:
        return canonical_key(record.obj or record.text)

    def keys(self, objects: Sequence[str]) -> list[str]:
        return [canonical_key(selfies.decoder(text)) for text in objects]


DOMAIN = SelfiesDomain
