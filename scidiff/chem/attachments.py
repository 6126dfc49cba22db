"""Open ends in a SMILES: dummy atoms rewritten as labels on the atoms they hang on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"(?P<atom>\[[^\[\]]*\]|Cl|Br|[A-Za-z*])|(?P<ring>%\d\d|\d)|(?P<bond>[-=#$:/\\~])"
    r"|(?P<open>\()|(?P<close>\))"
)
_BEFORE, _HYDROGEN, _RING, _END, _BRANCH = range(5)  # neighbours of an atom as SMILES orders them


@dataclass(frozen=True)
class Piece:
    """A piece of a molecule: SMILES, with a number in every place where a label belongs."""

    parts: tuple[str | int, ...]

    @property
    def ends(self) -> tuple[int, ...]:
        """The open ends in the order written."""
        return tuple(part for part in self.parts if isinstance(part, int))

    def text(self, labels: Mapping[int, int]) -> str:
        """The piece with the label of each end, 10 to 99, as %nn."""
        return "".join(p if isinstance(p, str) else f"%{labels[p]}" for p in self.parts)


def piece(smiles: str, ends: Iterable[int | None]) -> Piece:
    """Read the SMILES of one piece whose j-th atom is the open end ends[j], or an atom if None.

    Raises ValueError for an end on a bond that is not a plain single one, or on an atom whose
    geometry is not tetrahedral.
    """
    reader, left = _Reader(), iter(ends)
    for token in _TOKEN.finditer(smiles):
        kind, text = token.lastgroup, token.group()
        if kind == "atom":
            end = next(left)
            reader.atom(text) if end is None else reader.end(end)
        elif kind == "ring":
            reader.ring(text)
        else:
            reader.mark(text)
    return Piece(tuple(p for part in reader.out for p in _parts(part)))


@dataclass
class _Atom:
    """An atom as it is read."""

    token: str
    rings: str = ""
    ends: list[int] = field(default_factory=list)
    neighbours: list[int] = field(default_factory=list)  # their kinds, in the order written

    def parts(self) -> list[str | int]:
        """Ends stand behind ring digits and before branches; the chiral mark turns where that
        moves neighbours by an odd number of swaps."""
        token = self.token
        if self.ends and "@" in token:
            if re.search(r"@[A-Z]{2}\d", token):
                raise ValueError(f"an open end at {token}, which is not tetrahedral")
            token = _turned(token) if _inversions(self.neighbours) % 2 else token
        return [token + self.rings, *self.ends]


def _parts(part: str | _Atom) -> list[str | int]:
    return [part] if isinstance(part, str) else part.parts()


def _inversions(order: list[int]) -> int:
    return sum(a > b for i, a in enumerate(order) for b in order[i + 1 :])


def _turned(token: str) -> str:
    return token.replace("@@", "@") if "@@" in token else token.replace("@", "@@")


_NOTHING = _Atom("")


class _Reader:
    """Collect one piece token by token."""

    def __init__(self) -> None:
        self.out: list[str | _Atom] = []
        self.previous = _NOTHING
        self.branches: list[_Atom] = []
        self.first: list[int] = []  # an end in front of the first atom
        self.emptied = False  # whether the open branch held an end alone

    def atom(self, token: str) -> None:
        atom = _Atom(token)
        if self.previous is not _NOTHING:
            self.previous.neighbours.append(_BRANCH)
            atom.neighbours.append(_BEFORE)
        atom.neighbours += [_END] * len(self.first)
        atom.ends, self.first = self.first, []
        if "@H" in token:
            atom.neighbours.append(_HYDROGEN)
        self.out.append(atom)
        self.previous = atom

    def end(self, end: int) -> None:
        if self.previous is _NOTHING:
            self.first = [end]
            return
        if self.out[-1] == "(":
            self.out.pop()
            self.emptied = True
        elif self.out[-1] not in (")", self.previous):
            raise ValueError(f"an open end behind {self.out[-1]!r}, expected a plain single bond")
        self.previous.ends.append(end)
        self.previous.neighbours.append(_END)

    def ring(self, digit: str) -> None:
        """A bond symbol in front belongs to the digit."""
        bond = self.out.pop() if self.out[-1] is not self.previous else ""
        self.previous.rings += f"{bond}{digit}"
        self.previous.neighbours.append(_RING)

    def mark(self, text: str) -> None:
        if text == "(":
            self.branches.append(self.previous)
        elif text == ")":
            self.previous = self.branches.pop()
            if self.emptied:
                self.emptied = False
                return
        elif self.first and not self.out:
            raise ValueError(f"an open end before {text!r}, expected a plain single bond")
        self.out.append(text)
