"""One decoded object: what a domain makes of a row of a state. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Record:
    """A decoded row, kept whether or not it is a valid object of its domain.

    An invalid molecule is data, not an error: `valid` is False and `reason` is one line that says
    which rule it broke.
    """

    text: str  # a SMILES, a sequence, a line notation; "" where nothing could be written
    obj: Any | None  # the domain's own object (an RDKit Mol, a networkx graph) if there is one
    valid: bool
    reason: str = ""  # one line, empty for a valid row
    points: Any | None = None  # of a molecule in space, also an invalid one: data.points.Points
    note: str = ""  # one line of how it was read, where there is more than one way

    def __post_init__(self) -> None:
        if self.valid == bool(self.reason):
            raise ValueError(f"a valid record has no reason and an invalid one has one, "
                             f"got valid={self.valid}, reason={self.reason!r}")
