"""Sets of sequences that others are compared with: splits of data sets, files, lists."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scidiff.data import datasets
from scidiff.data.alphabets import Alphabet
from scidiff.data.records import Record
from scidiff.data.tables import Table, stream
from scidiff.evaluation.novelty import KnownSet


@dataclass(frozen=True)
class SequenceSet:
    """Sequences as the alphabet spells them; also what novelty is asked of."""

    name: str
    sequences: tuple[str, ...]

    @cached_property
    def known(self) -> KnownSet:
        return KnownSet.build(self.sequences, self.name)

    @property
    def size(self) -> int:
        return self.known.size

    def contains(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        """Say which sequences are in the set, (B,) bool."""
        return self.known.contains(keys)

    def facts(self) -> dict[str, Any]:
        """What provenance says of it."""
        digest = hashlib.sha256("\n".join(self.sequences).encode()).hexdigest()
        return {"name": self.name, "n": len(self.sequences), "sha256": digest[:16]}


def sequence_set(given: Any, alphabet: Alphabet) -> SequenceSet:
    """A set out of "dataset:split", a file, a Table, a result or a list; invalid rows are left
    out.

    Raises ValueError where nothing is left, DatasetError for an unknown data set.
    """
    if isinstance(given, SequenceSet):
        return given
    name, texts = _texts(given, alphabet)
    valid = tuple(alphabet.spell(text) for text in texts if not spelling_fault(text, alphabet))
    if not valid:
        raise ValueError(f"{name} has no valid {alphabet.name} sequence to compare with")
    return SequenceSet(name, valid)


def _texts(given: Any, alphabet: Alphabet) -> tuple[str, list[str]]:
    if isinstance(given, Table):
        return given.source, given.objects()
    if not isinstance(given, str | Path):
        return "the sequences given", [r.text if isinstance(r, Record) else str(r) for r in given]
    data, _, split = str(given).partition(":")
    if data in datasets.names() and not Path(given).exists():
        table = datasets.load(data, split or None)
        return table.source, table.objects()
    parts = [t.objects() for t in stream(given, check=lambda text: spelling_fault(text, alphabet))]
    return Path(given).name, [text for part in parts for text in part]


def spelling_fault(text: str, alphabet: Alphabet) -> str:
    """Why a sequence cannot be spelled, or ""."""
    try:
        alphabet.spell(text)
    except ValueError as error:
        return str(error)
    return ""
