"""Molecules as SELFIES strings (Krenn et al. 2020): every string spells a molecule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import selfies

from scidiff.chem.molecules import canonical_key
from scidiff.data.records import Record
from scidiff.data.tokens import TokenState, Vocabulary, encode_rows
from scidiff.domains.smiles import molecule_record


@dataclass(frozen=True)
class SelfiesDomain:
    """Strings over `vocabulary` are SELFIES (Krenn et al. 2020); records hold the SMILES they
    spell."""

    vocabulary: Vocabulary
    name: str = "selfies"
    kind: str = "molecule"

    def decode(self, state: TokenState) -> list[Record]:
        return [
            molecule_record(selfies.decoder(self.vocabulary.decode(row)))
            for row in state.ids.tolist()
        ]

    def encode(self, objects: Sequence[str]) -> TokenState:
        return TokenState(encode_rows(self.vocabulary, to_selfies(objects)))

    def key(self, record: Record) -> str:
        return canonical_key(record.obj or record.text)

    def keys(self, objects: Sequence[str]) -> list[str]:
        return [canonical_key(selfies.decoder(text)) for text in objects]


def to_selfies(smiles: Sequence[str]) -> list[str]:
    """Write SMILES as SELFIES; an error names the first row that SELFIES cannot hold."""
    out = []
    for number, text in enumerate(smiles, start=1):
        try:
            out.append(selfies.encoder(text))
        except selfies.EncoderError as error:
            why = str(error).splitlines()[0]
            raise ValueError(
                f"row {number}: {text!r} cannot be written as SELFIES: {why}"
            ) from None
    return out


DOMAIN = SelfiesDomain
