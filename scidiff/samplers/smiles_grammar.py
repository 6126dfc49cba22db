"""The finite automaton of SMILES over the tokens of a vocabulary.

What a regular set can say of the notation (Weininger 1988): branches closed up to a bounded depth,
ring labels opened and closed, bonds between atoms, and what an atom can hold as long as it is in
sight. What it cannot say: kekulisation, the valence of an atom behind closed branches deeper than
`memory` (each remembered atom multiplies the states by what it may have left, about 5), and a ring
label closed by an atom that is bonded to its opener over a branch, C1(C)N1.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from scidiff.data.tokens import FIRST_SYMBOL, Vocabulary
from scidiff.samplers.automata import Automaton, explored

BONDS = {"-": 1, "=": 2, "#": 3, "$": 4, ":": 1, "/": 1, "\\": 1}
ROOM = {"B": 3, "C": 4, "N": 3, "O": 2, "F": 1, "Cl": 1, "Br": 1, "H": 1}
AROMATIC_ROOM = {"b": 3, "c": 3, "n": 3, "o": 2, "s": 2}  # bonds, whatever their order
MANY = 9  # an atom whose room is not known, or more than the 4 of any bond
_ATOM = re.compile(r"(?:B|C|N|O|P|S|F|Cl|Br|I|b|c|n|o|p|s|\*)")
_BRACKET = re.compile(
    r"\[\d*([A-Za-z][a-z]?|\*)@*(?:H(\d*))?(\++\d*|-+\d*)?(?::\d+)?\]", re.VERBOSE
)
_RING = re.compile(r"\d|%\d\d")


@dataclass(frozen=True)
class Atom:
    """What a bond may ask of an atom."""

    room: int = MANY  # bond orders it can still take; of an aromatic one, bonds
    aromatic: bool = False
    ringed: bool = True  # False for an aromatic atom not known to be in a ring yet

    def bonded(self, order: int) -> Atom | None:
        """The atom with one more bond of this order, or None where it has no room."""
        if self.aromatic and order > 2:
            return None
        used = 1 if self.aromatic else order
        if self.room == MANY:
            return self
        return None if self.room < used else replace(self, room=self.room - used)


@dataclass(frozen=True)
class Place:
    """Where the reader of a SMILES stands."""

    after: str = "start"  # start, atom, bond, branch, branch bond, branch end, end bond
    atom: Atom | None = None  # the one that the next bond is of
    order: int = 1  # of the bond that was read
    parents: tuple[Atom, ...] = ()  # atoms that the innermost open branches are of
    depth: int = 0
    open: frozenset[str] = frozenset()  # ring labels
    fresh: tuple[str, int] | None = None  # the last one opened and the bonds since: 0 or 1
    labelled: bool = False  # whether the atom that is read has a ring label already


@dataclass(frozen=True)
class SmilesRule:
    """Reads one label after the other, see `smiles`."""

    depth: int
    rings: int
    memory: int
    lowest: bool
    labels: Mapping[str, Sequence[str]]  # the smaller ring labels of each

    def __call__(self, at: Place, label: tuple[str, Hashable]) -> Place | None:
        kind, what = label
        read = getattr(self, f"_{kind}")
        after: Place | None = read(at, what)
        return after

    def ends(self, at: Place) -> bool:
        return at.after in ("atom", "branch end") and not (at.depth or at.open) and _left(at)

    def _atom(self, at: Place, new: Atom) -> Place | None:
        if at.after == "start":
            return replace(at, after="atom", atom=new)
        parent = at.atom.bonded(at.order) if at.atom and _left(at) else None
        child = new.bonded(at.order)
        if parent is None or child is None:
            return None
        parents = at.parents
        if at.after.startswith("branch") and at.after != "branch end":
            parents = (parent, *parents)[: self.memory]
        fresh = (at.fresh[0], 1) if at.fresh and at.fresh[1] == 0 else None
        return replace(
            at, after="atom", atom=child, order=1, parents=parents, fresh=fresh, labelled=False
        )

    def _bond(self, at: Place, order: int) -> Place | None:
        onward = {"atom": "bond", "branch": "branch bond", "branch end": "end bond"}
        if at.after not in onward or not at.atom or at.atom.bonded(order) is None:
            return None
        return replace(at, after=onward[at.after], order=order) if _left(at) else None

    def _ring(self, at: Place, name: str) -> Place | None:
        if at.after not in ("atom", "bond") or at.atom is None:
            return None
        atom = at.atom.bonded(at.order)
        closes = name in at.open
        if atom is None or (closes and at.fresh and at.fresh[0] == name):
            return None  # an atom is not bonded to itself, nor twice to its neighbour
        if not closes and (len(at.open) == self.rings or self._skipped(at, name)):
            return None
        if atom.aromatic:
            atom = replace(atom, ringed=True)
        return replace(
            at, after="atom", atom=atom, order=1, open=at.open ^ {name},
            fresh=at.fresh if closes else (name, 0), labelled=self.lowest,
        )  # fmt: skip

    def _skipped(self, at: Place, name: str) -> bool:
        """Whether a smaller label is free; behind another label it may be the one closed there."""
        free = any(other not in at.open for other in self.labels[name])
        return self.lowest and free and not at.labelled

    def _branch(self, at: Place, opens: bool) -> Place | None:
        if at.after not in ("atom", "branch end") or at.atom is None or not _left(at):
            return None
        if opens:
            if at.depth == self.depth or at.atom.bonded(1) is None:
                return None
            return replace(at, after="branch", depth=at.depth + 1, labelled=False)
        if not at.depth:
            return None
        parent, *others = at.parents or (Atom(),)
        return replace(
            at, after="branch end", atom=parent, depth=at.depth - 1, parents=tuple(others),
            fresh=None, labelled=False,
        )  # fmt: skip

    def _dot(self, at: Place, _: None) -> Place | None:
        fits = at.after in ("atom", "branch end") and not at.depth and _left(at)
        return Place(open=at.open) if fits else None


def _left(at: Place) -> bool:
    """Whether the atom may be left: an aromatic one is in a ring that is open or ended there."""
    return at.after not in ("atom", "bond") or not at.atom or at.atom.ringed or bool(at.open)


def smiles(
    vocabulary: Vocabulary,
    *,
    depth: int = 4,
    rings: int = 5,
    memory: int = 0,
    lowest: bool = True,
) -> Automaton:
    """The SMILES over the tokens of a vocabulary of notation "smiles", without EOS and PAD (see
    `automata.ended`).

    At most `depth` branches are open at a time and at most `rings` ring labels; a label is opened
    only if all smaller ones are open (`lowest`), as canonical SMILES are written. Every atom token
    has the valence that it has without a charge or with the one it names (N 3, [N+] 4, c 3 bonds);
    an atom before an open branch is remembered for the innermost `memory` of them. Raises
    ValueError for other notations.
    """
    if vocabulary.notation != "smiles":
        raise ValueError(
            f"the grammar is of notation 'smiles', got a vocabulary of {vocabulary.notation!r}"
        )
    labels: list[Hashable] = [None] * len(vocabulary)
    for i, symbol in enumerate(vocabulary.symbols):
        labels[i + FIRST_SYMBOL] = label_of(symbol)
    names = sorted((s for s in vocabulary.symbols if _RING.fullmatch(s)), key=_number)
    smaller = {name: names[:i] for i, name in enumerate(names)}
    rule = SmilesRule(depth, rings, memory, lowest, smaller)
    return explored(Place(), rule, rule.ends, labels)


def label_of(symbol: str) -> tuple[str, Hashable] | None:
    """What the rule sees of a token: ("atom", Atom), ("bond", order), ...; None for what is no
    token of SMILES."""
    if symbol in BONDS:
        return "bond", BONDS[symbol]
    if symbol in "()":
        return "branch", symbol == "("
    if symbol == ".":
        return "dot", None
    if _RING.fullmatch(symbol):
        return "ring", symbol
    return _atom_label(symbol)


def _atom_label(symbol: str) -> tuple[str, Hashable] | None:
    if _ATOM.fullmatch(symbol):
        element, hydrogens, charge = symbol, 0, 0
    elif found := _BRACKET.fullmatch(symbol):
        element = found[1]
        hydrogens = 0 if found[2] is None else int(found[2] or 1)
        charge = _charge(found[3] or "")
    else:
        return None
    aromatic = element[0].islower()
    room = (AROMATIC_ROOM if aromatic else ROOM).get(element, MANY)
    if room != MANY:
        gained = _gained_in_ring if aromatic else _gained
        room = min(4, max(0, room + gained(element, charge) - hydrogens))
    return "atom", Atom(room, aromatic, not aromatic)


def _number(label: str) -> int:
    return int(label.lstrip("%"))


def _charge(text: str) -> int:
    """+, -, ++, +2"""
    if not text:
        return 0
    digits = text.lstrip("+-")
    return (int(digits) if digits else len(text)) * (1 if text[0] == "+" else -1)


def _gained(element: str, charge: int) -> int:
    """Bonds that a charge gives an atom: N+ binds as C does, B- too, C+ and C- as B."""
    if element in ("N", "O"):
        return charge
    if element == "B":
        return -charge
    return -abs(charge)


def _gained_in_ring(element: str, charge: int) -> int:
    """Bonds that a charge gives an aromatic atom, which has at most 3 whatever their order: n+ and
    c- bind as n and c do, n- has lost one, o+ and s+ have won one."""
    if element in ("o", "s"):
        return max(charge, 0)
    return min(charge, 0) if element == "n" else 0
