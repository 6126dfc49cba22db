"""What a domain is: how states become objects, and objects states."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from scidiff.core import ScidiffError
from scidiff.data.records import Record


class Domain(Protocol):
    """One kind of object in one notation; a model directory names its domain."""

    name: str  # "smiles", "selfies", ...
    kind: str  # what rewards and plots see: "molecule", "graph" or "sequence"
    notation: ClassVar[str]  # how its text is cut to tokens, a name of data.tokens.NOTATIONS

    @staticmethod
    def spell(text: str) -> str:
        """Bring an object as users write it (SMILES, a sequence) to the domain's own text; raise
        ValueError where it cannot be written."""
        ...

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


def spelled(domain: Any, objects: Sequence[str]) -> list[str]:
    """The domain's text of every object; an error names the first row that cannot be written."""
    out = []
    for number, text in enumerate(objects, start=1):
        try:
            out.append(domain.spell(text))
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from None
    return out


def find_domain(name: str) -> Any:
    """The domain class of `scidiff.domains.<name>`."""
    try:
        return importlib.import_module(f"scidiff.domains.{name}").DOMAIN
    except (ModuleNotFoundError, AttributeError):
        folder = Path(__file__).parent
        shared = ("domain", "sequence")  # what domains are made of
        known = sorted(p.stem for p in folder.glob("[a-z]*.py") if p.stem not in shared)
        raise ScidiffError(
            f"unknown domain {name!r}; expected one of {', '.join(known)}"
        ) from None
