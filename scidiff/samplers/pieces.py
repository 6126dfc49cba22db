"""Which texts are pieces of molecules, read token by token: branches, rings, valence, and whether
aromatic atoms can alternate single and double bonds.

Aromatic atoms need a perfect matching of those that have to be at a double bond, along aromatic
bonds (what kekulisation looks for). A matching is guessed while the text is read, and all guesses
that still may come true are kept: the subsets of an automaton that guesses (Rabin and Scott 1959).
There are too many of them for a table, so they are explored as they are met.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import NamedTuple

from scidiff.samplers.smiles_grammar import MANY, label_of

ROOM = {"S": 6, "P": 5, "I": 1}  # the highest valences, for each is the lower ones' too
WIDTH = {"": 1, "-": 1, "=": 2, "#": 3}
MOST_DEEP = 6  # branches open at a time
NUMBERS = frozenset("123456789")
NOTHING: frozenset[str] = frozenset()


class Kind(NamedTuple):
    """What the rule sees of an atom."""

    room: int  # bond orders it can take; of an aromatic one, bonds
    pi: str = ""  # of an aromatic one: must, may or must not be at a double bond, or "n": if it
    # has two bonds

    @property
    def first(self) -> str:
        """The guesses when it is read: alone yet and to be matched, or never to be."""
        return {"must": "a", "not": "x", "n": "ax", "may": "ax"}.get(self.pi, "x")


class Spot(NamedTuple):
    """An atom that may get more bonds."""

    kind: Kind
    bonds: int = 0  # orders; of an aromatic one, bonds
    circle: int = 0  # aromatic bonds
    mine: frozenset[str] = NOTHING  # ring numbers opened here
    near: frozenset[str] = NOTHING  # and at atoms bonded to it
    shut: frozenset[str] = NOTHING  # and closed here, as long as others may follow

    def bonded(self, bond: str) -> Spot | None:
        """With one more bond, or None where there is no room."""
        pi = self.kind.pi
        if pi and (bond == "#" or (bond == "=" and pi not in ("must", "may"))):
            return None
        bonds = self.bonds + (1 if pi else WIDTH[bond])
        return self._replace(bonds=bonds) if bonds <= self.kind.room else None

    @property
    def begun(self) -> bool:
        """Whether it is aliphatic, or has an aromatic bond or a number that may become one."""
        return not self.kind.pi or self.circle + len(self.mine) > 0

    @property
    def owing(self) -> frozenset[str]:
        """The numbers that must close to an aromatic bond when it is left."""
        return self.mine if self.kind.pi and self.circle < 2 else NOTHING

    def final(self, guess: str) -> bool:
        """Whether it can be left as it is: "a" is alone, "m" matched, "x" at no aromatic double
        bond."""
        if self.kind.pi and self.circle + len(self.mine) < 2:
            return False
        if self.kind.pi == "n":
            return guess == ("m" if self.bonds == 2 else "x")
        return guess != "a"

    def without(self, name: str, aromatic: bool) -> Spot:
        """After a number is closed somewhere."""
        circle = self.circle + (aromatic and name in self.mine)
        return self._replace(circle=circle, mine=self.mine - {name}, near=self.near - {name})


class Level(NamedTuple):
    """What is open at one depth of branches."""

    spot: Spot | None
    outer: frozenset[str] = NOTHING  # ring numbers open where it began
    # for each aromatic bond that is in no ring yet the numbers open when it was read, of which one
    # is closed at this level
    owed: frozenset[frozenset[str]] = frozenset()


class Way(NamedTuple):
    """One guess of a matching."""

    atoms: str  # of the last atom of every level
    double: frozenset[str] = NOTHING  # ring numbers whose bond is a double one


class Reading(NamedTuple):
    """Where the reader stands."""

    after: str = "start"  # start, atom, branch (just open), end (of one)
    bond: str = ""  # the symbol just read
    levels: tuple[Level, ...] = ()
    rings: frozenset[frozenset[str]] = frozenset()  # open numbers, those of one atom together
    aromatic: frozenset[str] = NOTHING  # numbers opened at aromatic atoms
    owing: frozenset[str] = NOTHING  # of these, those that must be an aromatic bond
    ways: frozenset[Way] = frozenset()

    @property
    def open(self) -> frozenset[str]:
        return NOTHING.union(*self.rings)

    def on(self, spot: Spot) -> Reading:
        """With another last atom."""
        level = self.levels[-1]._replace(spot=spot)
        return self._replace(levels=(*self.levels[:-1], level))


def read(at: Reading, label: tuple[str, Hashable]) -> Reading | None:
    """Go on by one token, None where no piece begins so.

    Ring numbers join an atom to one on its way back to the first, as in any text that walks along
    the molecule: one opened in a branch is closed in it.
    """
    kind, what = label
    if kind == "atom":
        after = _atom(at, what) if isinstance(what, Kind) else None
    elif kind == "ring":
        after = _opened(at, str(what)) if str(what) not in at.open else _closed(at, str(what))
    else:
        after = {"bond": _bond, "join": _join, "branch": _branch}[kind](at, str(what))
    return after and _hopeful(after)


def _hopeful(at: Reading) -> Reading | None:
    """Without the guesses in which an atom waits for a partner that cannot come: aromatic bonds
    are in rings, so those after a branch need a number that was open before it."""
    open_ = at.open
    near = [level.outer & open_ for level in at.levels[1:]] + [open_]
    hope = [bool(rings) for rings in near]
    if at.bond in ("", "="):
        hope[-2 if at.after == "branch" else -1] = True  # a bond of the atom read last may do
    spots = [level.spot for level in at.levels]
    ways = frozenset(
        way for way in at.ways
        if all(_may_be(s, a, h) for s, a, h in zip(spots, way.atoms, hope, strict=True))
    )  # fmt: skip
    return at._replace(ways=ways) if ways else None


def _may_be(spot: Spot | None, guess: str, hope: bool) -> bool:
    """Whether a guess of an atom can still come true."""
    if spot is None or guess == "x":
        return True
    full = spot.kind.pi == "n" and spot.bonds == 3
    return not full and (hope or guess == "m")


def whole(at: Reading) -> bool:
    """Whether a piece may end here."""
    return len(at.levels) == 1 and not at.rings and _ended(at) is not None


def _atom(at: Reading, kind: Kind) -> Reading | None:
    if at.after == "start":
        ways, first = frozenset(map(Way, kind.first)), Spot(kind)
        return at._replace(after="atom", levels=(Level(first),), ways=ways)
    branch = at.after == "branch"
    before = at.levels[-2 if branch else -1].spot
    parent, new = before and before.bonded(at.bond), Spot(kind).bonded(at.bond)
    if parent is None or new is None or not parent.begun:
        return None
    aromatic = bool(parent.kind.pi and kind.pi and not at.bond)
    parent = parent._replace(circle=parent.circle + aromatic)
    new = new._replace(near=parent.mine, circle=int(aromatic))
    ways = frozenset(_reached(at, parent, kind, aromatic, branch))
    if not ways or (aromatic and not at.rings):
        return None
    top = at.levels[-1]
    level = Level(new, top.outer, top.owed | ({at.open} if aromatic else set()))
    levels = (*at.levels[:-2], at.levels[-2]._replace(spot=parent)) if branch else at.levels[:-1]
    owing = at.owing if branch else at.owing | parent.owing
    return at._replace(
        after="atom", bond="", levels=(*levels, level), owing=owing, ways=ways
    )


def _reached(
    at: Reading, parent: Spot, kind: Kind, aromatic: bool, branch: bool
) -> Iterator[Way]:
    """The guesses after a bond of the last atom to a new one."""
    for way in at.ways:
        own = way.atoms[-2] if branch else way.atoms[-1]
        outer = way.atoms[:-2] if branch else way.atoms[:-1]
        pairs = [(own, new) for new in kind.first]
        if at.bond == "=":
            if (parent.kind.pi and own != "a") or (kind.pi and "a" not in kind.first):
                continue
            pairs = [("x", "x")]
        elif aromatic and own == "a" and "a" in kind.first:
            pairs.append(("m", "m"))
        for before, new in pairs:
            if branch:
                yield way._replace(atoms=outer + before + new)
            elif parent.final(before):
                yield way._replace(atoms=outer + new)


def _bond(at: Reading, bond: str) -> Reading | None:
    if at.after == "start" or at.bond or bond not in WIDTH:
        return None
    before = at.levels[-2 if at.after == "branch" else -1].spot
    fits = before and before.begun and before.bonded(bond)
    return at._replace(bond=bond) if fits else None


def _join(at: Reading, _: str) -> Reading | None:
    """A label: a single bond to another piece."""
    spot = at.levels[-1].spot if at.after == "atom" and not at.bond else None
    spot = spot and spot.bonded("")
    return at.on(spot) if spot else None


def _opened(at: Reading, name: str) -> Reading | None:
    spot = at.levels[-1].spot if at.after == "atom" and not at.bond else None
    spot = spot and spot.bonded("")
    if not spot:
        return None
    if any(other < name for other in NUMBERS - at.open - spot.shut):
        return None  # the lowest number that is free
    together, ways = spot.mine | {name}, at.ways
    rings = (at.rings - {spot.mine}) | {together}
    if spot.kind.pi:
        ways |= {Way(way.atoms[:-1] + "m", way.double | {name})
                 for way in ways if way.atoms[-1] == "a"}  # fmt: skip
        at = at._replace(aromatic=at.aromatic | {name})
    return at.on(spot._replace(mine=together))._replace(rings=rings, ways=ways)


def _closed(at: Reading, name: str) -> Reading | None:
    fits = at.after == "atom" and at.bond in ("", "-")
    spot = at.levels[-1].spot if fits else None
    spot = spot and spot.bonded(at.bond)
    if not spot or name in spot.mine | spot.near:
        return None  # no bond to itself, and none twice
    aromatic = bool(spot.kind.pi and name in at.aromatic and not at.bond)
    if name in at.owing and not aromatic:
        return None
    ways = frozenset(_matched(at, name, aromatic))
    there = next(ring for ring in at.rings if name in ring)
    rings = frozenset({ring - {name} for ring in at.rings} - {NOTHING})
    spot = spot._replace(
        near=spot.near | there, shut=spot.shut | {name}, circle=spot.circle + aromatic
    )
    levels = tuple(
        Level(level.spot and level.spot.without(name, aromatic), level.outer,
              frozenset(o for o in level.owed if name not in o))
        for level in at.on(spot).levels
    )  # fmt: skip
    return at._replace(
        bond="", levels=levels, rings=rings, aromatic=at.aromatic - {name},
        owing=at.owing - {name}, ways=ways,
    ) if ways else None  # fmt: skip


def _matched(at: Reading, name: str, aromatic: bool) -> Iterator[Way]:
    for way in at.ways:
        if name not in way.double:
            yield way
        elif aromatic and way.atoms[-1] == "a":
            yield Way(way.atoms[:-1] + "m", way.double - {name})


def _branch(at: Reading, symbol: str) -> Reading | None:
    if at.after not in ("atom", "end") or at.bond:
        return None
    spot = at.levels[-1].spot
    if symbol == ")":
        return _ended(at) if len(at.levels) > 1 else None
    if len(at.levels) > MOST_DEEP or not (spot and spot.begun and spot.bonded("")):
        return None
    ways = frozenset(way._replace(atoms=way.atoms + "x") for way in at.ways)
    at = at.on(spot._replace(shut=NOTHING))
    return at._replace(after="branch", levels=(*at.levels, Level(None, at.open)), ways=ways)


def _ended(at: Reading) -> Reading | None:
    """Leave a level."""
    level = at.levels[-1]
    spot = level.spot if at.after in ("atom", "end") and not at.bond else None
    if not (spot and spot.begun) or level.owed or not at.open <= level.outer:
        return None
    ways = frozenset(way._replace(atoms=way.atoms[:-1]) for way in at.ways
                     if spot.final(way.atoms[-1]))  # fmt: skip
    owing, levels = at.owing | spot.owing, at.levels[:-1]
    return at._replace(after="end", levels=levels, owing=owing, ways=ways) if ways else None


def kind_of(symbol: str) -> tuple[str, Hashable] | None:
    """What the rule sees of a token: ("atom", Kind), ("ring", "1"), ("join", "")...; None for a
    dot and for what is no token of SMILES."""
    if symbol.startswith("%"):
        return "join", ""
    if symbol in ("(", ")"):
        return "branch", symbol
    label = label_of(symbol)
    if label is None or label[0] == "dot":
        return None
    if label[0] != "atom":
        return label[0], symbol
    room, aromatic = label[1].room, label[1].aromatic  # type: ignore[attr-defined]
    room = ROOM.get(symbol, room) if room == MANY else room
    return "atom", Kind(room, _pi(symbol) if aromatic else "")


def _pi(symbol: str) -> str:
    """Whether an aromatic atom is at a double bond of its ring."""
    if symbol in ("c", "[c]", "[cH]"):
        return "must"
    if symbol == "n":
        return "n"
    return "not" if symbol in ("o", "s", "[nH]", "[se]") else "may"
