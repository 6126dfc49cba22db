"""Why a SMILES cannot be read: the written line is walked once, without RDKit's log messages."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from scidiff.chem.molecules import parse

TOKEN = re.compile(
    r"(?P<atom>\[[^\[\]\s]*\]|Cl|Br|[BCNOPSFIbcnops*])|(?P<ring>%\d\d|%\(\d+\)|\d)"
    r"|(?P<bond>[-=#$:/\\~]|->|<-)|(?P<open>\()|(?P<close>\))|(?P<dot>\.)"
)


@dataclass(frozen=True)
class Fault:
    """The first thing wrong in a SMILES."""

    rule: str  # "syntax", "parentheses" or "ring closure"
    atoms: tuple[int, ...]  # in the order written, from 0
    message: str


class _Broken(Exception):
    def __init__(self, rule: str, message: str, *atoms: int) -> None:
        self.fault = Fault(rule, tuple(a for a in atoms if a >= 0), message)


@dataclass
class _Walk:
    """The state of a reader: which atom comes before, and what is still open."""

    atoms: int = 0
    previous: int = -1  # -1: no atom to bind to
    bond: str = ""  # a bond symbol that still waits for its atom
    branches: list[tuple[int, int]] = field(default_factory=list)  # (atom, position) of each "("
    rings: dict[str, tuple[int, int]] = field(default_factory=dict)  # label -> (atom, position)
    bonds: set[frozenset[int]] = field(default_factory=set)

    def atom(self, text: str, at: int) -> None:
        if text.startswith("[") and parse(text, sanitize=False) is None:
            raise _Broken("syntax", f"{text} at position {at} is not an atom", self.atoms)
        if self.previous >= 0:
            self.bonds.add(frozenset((self.previous, self.atoms)))
        elif self.bond:
            raise _Broken("syntax", f"bond {self.bond!r} before position {at} has no first atom")
        self.previous, self.bond, self.atoms = self.atoms, "", self.atoms + 1

    def bond_symbol(self, text: str, at: int) -> None:
        if self.bond:
            raise _Broken("syntax", f"two bonds in a row at position {at}", self.previous)
        self.bond = text

    def open(self, text: str, at: int) -> None:
        if self.previous < 0:
            raise _Broken("parentheses", f"'(' at position {at} follows no atom")
        self._no_dangling_bond(at)
        self.branches.append((self.previous, at))

    def close(self, text: str, at: int) -> None:
        self._no_dangling_bond(at)
        if not self.branches:
            raise _Broken("parentheses", f"')' at position {at} closes nothing", self.previous)
        self.previous, _ = self.branches.pop()

    def dot(self, text: str, at: int) -> None:
        self._no_dangling_bond(at)
        self.previous = -1

    def ring(self, text: str, at: int) -> None:
        label = text.strip("%()").lstrip("0") or "0"
        here, self.bond = self.previous, ""
        if here < 0:
            raise _Broken("ring closure", f"ring label {label} at position {at} follows no atom")
        if label not in self.rings:
            self.rings[label] = (here, at)
            return
        start, _ = self.rings.pop(label)
        if start == here:
            raise _Broken("ring closure", f"ring {label} binds atom {here} to itself", here)
        if frozenset((start, here)) in self.bonds:
            raise _Broken("ring closure", f"ring {label} binds atoms {start} and {here}, "
                                          "which are already bonded", start, here)
        self.bonds.add(frozenset((start, here)))

    def end(self) -> None:
        self._no_dangling_bond()
        if self.branches:
            atom, at = self.branches[-1]
            raise _Broken("parentheses", f"'(' at position {at} is never closed", atom)
        if self.rings:
            label, (atom, _) = next(iter(self.rings.items()))
            raise _Broken("ring closure", f"ring {label} opened at atom {atom} is never closed",
                          *(a for a, _ in self.rings.values()))
        if self.previous < 0:
            raise _Broken("syntax", "the line ends with '.'")

    def _no_dangling_bond(self, at: int | None = None) -> None:
        if self.bond:
            where = "at the end" if at is None else f"before position {at}"
            raise _Broken("syntax", f"bond {self.bond!r} {where} has no second atom",
                          self.previous)


def fault(smiles: str) -> Fault:
    """Name the first fault of a SMILES that RDKit could not read; positions count from 1.

    Faults of form are told in the order written; what is never closed comes last. A line in which
    this walk finds nothing wrong is a plain "syntax" fault.
    """
    walk, at = _Walk(), 0
    step = {"atom": walk.atom, "ring": walk.ring, "bond": walk.bond_symbol,
            "open": walk.open, "close": walk.close, "dot": walk.dot}
    try:
        while at < len(smiles):
            token = TOKEN.match(smiles, at)
            if token is None or token.lastgroup is None:
                raise _Broken("syntax", f"{smiles[at]!r} at position {at + 1} is not SMILES")
            step[token.lastgroup](token.group(), at + 1)
            at = token.end()
        walk.end()
    except _Broken as broken:
        return broken.fault
    return Fault("syntax", (), "not a readable SMILES")
