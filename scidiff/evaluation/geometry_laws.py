"""Bond lengths, angles and dihedrals of molecules in space, by type.

A length's type is its two elements and their bond (C-C, C=O, C:N), an angle's its elements with
the neighbours of the middle one (H-C4-H), a dihedral's the bond that it turns about with the
neighbours at both ends (C3-C4, in a ring C3-C4r).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Bond, Mol

from scidiff.evaluation.intervals import SUBSETS

KINDS: Mapping[str, str] = {  # what is measured -> its unit
    "bond_length": "angstrom", "bond_angle": "radian", "dihedral": "radian",
}
_BONDS = {1.0: "-", 2.0: "=", 3.0: "#", 1.5: ":"}
Found = Iterator[tuple[str, Sequence[int]]]  # type, atoms


class Law:
    """The values of molecules by kind and type, apart for each of SUBSETS disjoint subsets."""

    def __init__(self, mols: Iterable[Mol] = ()) -> None:
        self.n = 0
        self.parts: list[dict[str, dict[str, list[float]]]] = [
            {kind: defaultdict(list) for kind in KINDS} for _ in range(SUBSETS)]
        for mol in mols:
            self.add(mol)

    def add(self, mol: Mol) -> None:
        """Measure one sanitised molecule in space."""
        part = self.parts[self.n % SUBSETS]
        for kind, name, value in measured(mol):
            part[kind][name].append(value)
        self.n += 1

    def total(self) -> dict[str, dict[str, list[float]]]:
        """All values, kind -> type -> values."""
        found: dict[str, dict[str, list[float]]] = {kind: defaultdict(list) for kind in KINDS}
        for part in self.parts:
            for kind, types in part.items():
                for name, values in types.items():
                    found[kind][name] += values
        return found


def measured(mol: Mol) -> Iterator[tuple[str, str, float]]:
    """(kind, type, value) of every bond, of every angle, and of the dihedrals between heavy atoms
    without their sign, since a law does not tell mirror images apart."""
    places = np.array(mol.GetConformer().GetPositions())
    for kind, (find, value) in _MEASURES.items():
        found = list(find(mol))
        if found:
            atoms = np.array([atoms for _, atoms in found]).T
            values = value(*places[atoms]).tolist()
            yield from ((kind, name, v) for (name, _), v in zip(found, values, strict=True))


# ---------------------------------------------------------------- where each kind is


def _bonds(mol: Mol) -> Found:
    for bond in mol.GetBonds():
        a, b = bond.GetBeginAtom(), bond.GetEndAtom()
        yield _ends(a.GetSymbol(), _sign(bond), b.GetSymbol()), (a.GetIdx(), b.GetIdx())


def _angles(mol: Mol) -> Found:
    for atom in mol.GetAtoms():
        around = [(n.GetSymbol(), n.GetIdx()) for n in atom.GetNeighbors()]
        middle = f"-{atom.GetSymbol()}{len(around)}-"
        for (first, i), (last, k) in combinations(around, 2):
            yield _ends(first, middle, last), (i, atom.GetIdx(), k)


def _dihedrals(mol: Mol) -> Found:
    for bond in mol.GetBonds():
        ends = (bond.GetBeginAtom(), bond.GetEndAtom())
        j, k = (atom.GetIdx() for atom in ends)
        heavy = [[n.GetIdx() for n in atom.GetNeighbors()
                  if n.GetAtomicNum() > 1 and n.GetIdx() not in (j, k)] for atom in ends]
        first, last = (f"{atom.GetSymbol()}{atom.GetDegree()}" for atom in ends)
        name = _ends(first, _sign(bond), last) + "r" * bond.IsInRing()
        yield from ((name, (i, j, k, m)) for i, m in product(*heavy) if i != m)


def _sign(bond: Bond) -> str:
    return _BONDS.get(bond.GetBondTypeAsDouble(), "~")


def _ends(a: str, between: str, b: str) -> str:
    first, last = sorted((a, b))
    return f"{first}{between}{last}"


# ---------------------------------------------------------------- values; places are (m, 3)

Places = NDArray[np.float64]


def length(a: Places, b: Places) -> NDArray[np.float64]:
    """|a - b|."""
    return np.linalg.norm(a - b, axis=-1)


def angle(a: Places, b: Places, c: Places) -> NDArray[np.float64]:
    """At b, in [0, pi]."""
    return _between(a - b, c - b)


def dihedral(a: Places, b: Places, c: Places, d: Places) -> NDArray[np.float64]:
    """Between the planes (a, b, c) and (b, c, d), in [0, pi], 0 where a and d are eclipsed."""
    return _between(np.cross(b - a, c - b), np.cross(c - b, d - c))


def _between(u: Places, v: Places) -> NDArray[np.float64]:
    """atan2(|u x v|, u . v), exact at both ends."""
    return np.arctan2(np.linalg.norm(np.cross(u, v), axis=-1), (u * v).sum(-1))


_MEASURES: dict[str, tuple[Callable[[Mol], Found], Callable[..., Any]]] = {
    "bond_length": (_bonds, length), "bond_angle": (_angles, angle),
    "dihedral": (_dihedrals, dihedral),
}
