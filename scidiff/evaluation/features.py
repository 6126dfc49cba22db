"""What is kept of a molecule after it was read: numbers and counts, so that a sample of any size
is measured block by block in bounded memory.

A million molecules keep about .5 GB: their names, 128 bytes of fingerprint, some numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.chem.molecules import as_mol, canonical
from scidiff.data.records import Record
from scidiff.evaluation.intervals import SUBSETS

BLOCK = 2_000


class Feature(Protocol):
    """Something kept of molecules; `add` is given every block of valid rows, in order."""

    def add(self, mols: Sequence[Mol], keys: Sequence[str]) -> None: ...


@dataclass
class Sample:
    """How many rows there were, and the canonical SMILES of the valid ones, in order."""

    n: int = 0
    keys: list[str] = field(default_factory=list)


def collect(rows: Iterable[Record], *features: Feature) -> Sample:
    """Read rows once, block by block, into features."""
    sample, source = Sample(), iter(rows)
    while block := list(islice(source, BLOCK)):
        mols = [m for m in map(_molecule, block) if m is not None]
        keys = [str(canonical(m)) for m in mols]
        for feature in features:
            feature.add(mols, keys)
        sample.n += len(block)
        sample.keys += keys
    return sample


def _molecule(record: Record) -> Mol | None:
    if not record.valid:
        return None
    return record.obj if isinstance(record.obj, Mol) else as_mol(record.text)


class Column:
    """An array with one row a molecule: `f` maps molecules to an array or a list of numbers."""

    def __init__(self, f: Callable[[Sequence[Mol]], Any]) -> None:
        self.f, self.parts = f, [np.asarray(f([]))]

    def add(self, mols: Sequence[Mol], keys: Sequence[str]) -> None:
        self.parts.append(np.asarray(self.f(mols)))

    def values(self) -> NDArray[Any]:
        """All rows, (B, ...)."""
        return np.concatenate(self.parts)


class Counts:
    """How often names occur, apart for each of SUBSETS disjoint subsets (every m-th row)."""

    def __init__(self, f: Callable[[Mol], list[str]]) -> None:
        self.f, self.seen = f, 0
        self.parts: list[Counter[str]] = [Counter() for _ in range(SUBSETS)]

    def add(self, mols: Sequence[Mol], keys: Sequence[str]) -> None:
        for mol in mols:
            self.parts[self.seen % SUBSETS].update(self.f(mol))
            self.seen += 1

    def total(self) -> Counter[str]:
        return sum(self.parts, Counter())
