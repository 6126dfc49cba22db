"""Distance of molecules to a set of known ones: fingerprint novelty and new scaffolds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rdkit.Chem import Mol, MolToSmiles
from rdkit.Chem.Scaffolds.MurckoScaffold import GetScaffoldForMol
from rdkit.DataStructs import BulkTanimotoSimilarity

from scidiff.chem.molecules import parse
from scidiff.rewards.fingerprints import fingerprint
from scidiff.rewards.programs import digest_files
from scidiff.rewards.scores import of_kind


class Novelty:
    """1 - the largest Tanimoto similarity (ECFP4 bits) to any molecule of a set, in [0, 1].

    `known` is a file with a SMILES first on every line, or a list of SMILES. Raises ValueError
    where none can be read.
    """

    bounds, floor = (0.0, 1.0), 0.0

    def __init__(self, known: str | Sequence[str]) -> None:
        self.known = known if isinstance(known, str) else tuple(known)
        self.version = "1"
        self._prints = _prints(self.known)

    @property
    def name(self) -> str:
        return f"novelty({_shown(self.known)})"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"known": _told(self.known)}

    def __call__(self, mols: Sequence[Mol]) -> list[float]:
        make = fingerprint("ECFP4")
        return [1 - max(BulkTanimotoSimilarity(make(m), self._prints)) for m in mols]


class ScaffoldNovelty:
    """1 where no molecule of a set has the Murcko scaffold (Bemis and Murcko 1996), else 0.

    Molecules without rings share the empty scaffold. `known` as for `Novelty`.
    """

    bounds, floor = (0.0, 1.0), 0.0

    def __init__(self, known: str | Sequence[str]) -> None:
        self.known = known if isinstance(known, str) else tuple(known)
        self.version = "1"
        self._scaffolds = _scaffolds(self.known)

    @property
    def name(self) -> str:
        return f"scaffold_novelty({_shown(self.known)})"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"known": _told(self.known)}

    def __call__(self, mols: Sequence[Mol]) -> list[float]:
        return [float(scaffold(m) not in self._scaffolds) for m in mols]


def scaffold(mol: Mol) -> str:
    """SMILES of the Murcko scaffold; empty without rings."""
    return str(MolToSmiles(GetScaffoldForMol(mol)))


def _read(known: str | tuple[str, ...]) -> list[Mol]:
    if isinstance(known, str):
        if not Path(known).is_file():
            raise ValueError(f"novelty: there is no file {known!r} of SMILES")
        lines: Sequence[str] = Path(known).read_text().splitlines()
    else:
        lines = known
    found = [parse(line.replace(",", " ").split()[0]) for line in lines if line.strip()]
    mols = [m for m in found if m is not None]
    if not mols:
        raise ValueError(f"novelty: none of {len(lines)} lines of {_shown(known)} is a SMILES")
    return mols


@lru_cache(maxsize=4)
def _prints(known: str | tuple[str, ...]) -> list[Any]:
    make = fingerprint("ECFP4")
    return [make(m) for m in _read(known)]


@lru_cache(maxsize=4)
def _scaffolds(known: str | tuple[str, ...]) -> frozenset[str]:
    return frozenset(scaffold(m) for m in _read(known))


def _shown(known: str | Sequence[str]) -> str:
    return repr(known) if isinstance(known, str) else f"{len(known)} molecules"


def _told(known: str | tuple[str, ...]) -> Any:
    """What tells a set: the contents of a file, or the list itself."""
    return digest_files([Path(known)]) if isinstance(known, str) else known


REWARDS = of_kind("molecule", {"novelty": Novelty, "scaffold_novelty": ScaffoldNovelty})
