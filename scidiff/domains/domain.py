"""What a domain is: how states become objects, and objects states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from scidiff.data.records import Record


class Domain(Protocol):
    """One kind of object in one notation; a model directory names its domain."""

    name: str  # "smiles", "selfies", ...
    kind: str  # what rewards and plots see: "molecule", "graph" or "sequence"

    def decode(self, state: Any) -> list[Record]:
        """Turn every row of a clean state into a record; an invalid row says which rule it
        broke."""
        ...

    def encode(self, objects: Sequence[str]) -> Any:
        """Turn strings into a clean state; an error names the first row that cannot be written in
        this notation."""
        ...

    def key(self, record: Record) -> str:
        """Canonical form of a valid record: two records with one key are one object."""
        ...

    def keys(self, objects: Sequence[str]) -> list[str]:
        """Canonical forms of strings in this notation, for filters of training sets."""
        ...
