"""Molecules in space: what a state of positions, atom types and bonds says, with its conformer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from scidiff.chem.assemble import atom_symbol, kekulised
from scidiff.chem.conformers import ConformerError, structure
from scidiff.chem.geometry import examine_points, structure_of
from scidiff.chem.molecules import canonical, canonical_key, parse
from scidiff.data.points import PackedPoints, Points, PointState
from scidiff.data.records import Record
from scidiff.data.tokens import UnknownToken, Vocabulary

RULES = {"model": "given", "edm": "edm", "rdkit": "rdkit"}
"""Where bonds come from, and what `chem.geometry` calls it."""


def species(symbols: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Atomic numbers and formal charges (K,) of atom symbols such as C or [N+]."""
    atoms = [
        Chem.AtomFromSmarts(s if s[0] == "[" else f"[{s}]") if s != "H" else Chem.Atom(1)
        for s in symbols
    ]
    return (
        np.array([a.GetAtomicNum() for a in atoms], np.int64),
        np.array([a.GetFormalCharge() for a in atoms], np.int64),
    )


def symbol(number: int, charge: int) -> str:
    """Name an atom with its formal charge: C, [N+]."""
    atom = Chem.Atom(number)
    atom.SetFormalCharge(charge)
    return atom_symbol(atom)


@dataclass(frozen=True)
class Molecule3DDomain:
    """Atoms over the symbols of `vocabulary`, hydrogens among them, at places in space.

    angstrom: what 1 in a state is. bonds: "model" reads the state's own, "edm" and "rdkit" find
    them by distances (`chem.geometry`); a state without bonds is always read by distances, then
    by "edm" where "model" is asked. A record's note says which. Nothing is corrected: a molecule
    is valid where RDKit sanitises it, it is one fragment and no atom has a free valence.
    """

    vocabulary: Vocabulary
    angstrom: float = 1.0
    bonds: str = "model"
    name: str = "molecule_3d"
    kind: str = "molecule"
    notation: ClassVar[str] = "points"

    def __post_init__(self) -> None:
        if self.bonds not in RULES:
            raise ValueError(f"bonds must be one of {', '.join(RULES)}, got {self.bonds!r}")
        if not self.angstrom > 0:
            raise ValueError(f"angstrom must be positive, got {self.angstrom}")

    @property
    def atoms(self) -> tuple[str, ...]:
        """Atom symbols, in the order of a state's types."""
        return self.vocabulary.symbols

    # ---- objects to states

    @staticmethod
    def spell(text: str | Points) -> str | Points:
        """A SMILES is its own text, which has a structure by `encode`, and a structure stays one.
        Raises ValueError for a SMILES that cannot be written as atoms and bonds."""
        if isinstance(text, Points):
            return text
        mol = parse(text)
        if mol is None:
            raise ValueError(f"expected a readable SMILES, got {text!r}")
        kekulised(mol, hydrogens=True)
        return text

    def encode(self, objects: Sequence[str | Points]) -> PointState:
        """Structures, or SMILES embedded and relaxed (`chem.conformers`), as a clean state; an
        error names the first row that has none."""
        molecules = []
        for number, one in enumerate(objects, start=1):
            try:
                molecules.append(placed(one))
            except (ValueError, ConformerError) as error:
                raise ValueError(f"row {number}: {one!r}: {error}") from None
        return self.state(PackedPoints.of(molecules))

    def state(self, points: PackedPoints) -> PointState:
        """Molecules in angstrom as a clean state in the units of this domain, one-hot types.
        Raises UnknownToken for an atom that it does not know."""
        rows = np.arange(len(points))
        state = points.padded(rows, self.species_of(points), len(self.atoms))
        return state.moved((state.positions / self.angstrom, *state.parts[1:]))

    def species_of(self, points: PackedPoints) -> NDArray[np.int64]:
        """The type of every atom of a table (M,). Raises UnknownToken for one that it does not
        know."""
        numbers, charges = self._species
        same = (points.numbers[:, None] == numbers) & (points.charges[:, None] == charges)
        if not same.any(1).all():
            at = int(same.any(1).argmin())
            found = symbol(int(points.numbers[at]), int(points.charges[at]))
            row = int(np.searchsorted(points.starts, at, "right"))
            raise UnknownToken(
                f"row {row} has atom type {found}, the model knows {', '.join(self.atoms)}"
            )
        return same.argmax(1)

    # ---- states to objects

    def decode(self, state: PointState) -> list[Record]:
        """Read and check every row; the record of an invalid one says which rule it broke."""
        if state.types.shape[2] != len(self.atoms):
            raise ValueError(f"expected {len(self.atoms)} types, got {state.types.shape[2]}")
        return [self.record(points) for points in self.points(state)]

    def points(self, state: PointState) -> list[Points]:
        """Every row as atoms in space, in angstrom, each of its likeliest type."""
        numbers, charges = self._species
        places = (state.positions.double() * self.angstrom).cpu().numpy()
        types, mask = state.types.argmax(-1).cpu().numpy(), state.mask.cpu().numpy()
        bonds = None if state.bonds is None else state.bonds.argmax(-1).cpu().numpy()
        found = []
        for i, here in enumerate(mask):
            orders = None if bonds is None else bonds[i][np.ix_(here, here)]
            kind = types[i][here]
            found.append(Points.of(numbers[kind], places[i][here], charges[kind], orders))
        return found

    def record(self, points: Points) -> Record:
        """A molecule in space as a row, read by this domain's rule."""
        known = points.bonds is not None
        bonds = self.bonds if known or self.bonds != "model" else "edm"
        mol, report = examine_points(
            points, RULES[bonds], allow_disconnected=False, allow_radicals=False
        )
        text, note = (mol is not None and canonical(mol)) or "", f"bonds: {bonds}"
        reason = "" if report.valid else f"{report.rule}: {report.message}"
        return Record(text, mol if report.valid else None, report.valid, reason, points, note)

    def key(self, record: Record) -> str:
        """Canonical SMILES of a valid record: structures of one molecule are one object."""
        return canonical_key(record.text if record.obj is None else record.obj)

    def keys(self, objects: Sequence[str]) -> list[str]:
        """Canonical forms of SMILES."""
        return [canonical_key(text) for text in objects]

    @cached_property
    def _species(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return species(self.atoms)


def placed(one: str | Points) -> Points:
    """A structure as it is, or one of a SMILES with its bonds. Raises ValueError for an unreadable
    SMILES, ConformerError where no structure can be made."""
    if isinstance(one, Points):
        return one
    mol = parse(one)
    if mol is None:
        raise ValueError("expected a readable SMILES")
    return Points.of(*structure_of(structure(mol)))


DOMAIN = Molecule3DDomain
