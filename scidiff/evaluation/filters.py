"""The medicinal chemistry filters of MOSES (Polykovskiy et al. 2020)."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import Mol
from rdkit.DataStructs import BitVectToBinaryText

ELEMENTS = frozenset({"C", "N", "S", "O", "F", "Cl", "Br", "H"})
LARGEST_RING = 7
_FILE = Path(__file__).parent / "_data" / "moses_filters.csv"


def passes_filters(mol: Mol) -> bool:
    """Whether a molecule has no MCF or PAINS pattern (hydrogens added), no charged atom, no atom
    but C, N, S, O, F, Cl, Br, H and no ring of eight atoms or more."""
    if any(len(ring) > LARGEST_RING for ring in mol.GetRingInfo().AtomRings()):
        return False
    if any(a.GetFormalCharge() != 0 or a.GetSymbol() not in ELEMENTS for a in mol.GetAtoms()):
        return False
    with rdBase.BlockLogs():
        whole = Chem.AddHs(mol)
        patterns, fingerprints = _patterns()
        # a pattern can only match where its fingerprint is part of the molecule's
        possible = ~(fingerprints & ~_fingerprint(whole)).any(1)
        return not any(whole.HasSubstructMatch(patterns[i]) for i in np.flatnonzero(possible))


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[Mol, ...], NDArray[np.uint64]]:
    """The patterns and their fingerprints, (P, 32)."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        patterns = tuple(Chem.MolFromSmarts(row["smarts"]) for row in csv.DictReader(file))
    return patterns, np.stack([_fingerprint(p) for p in patterns])


def _fingerprint(mol: Mol) -> NDArray[np.uint64]:
    """RDKit's fingerprint for substructure screening, 2,048 bits in 32 words."""
    return np.frombuffer(BitVectToBinaryText(Chem.PatternFingerprint(mol)), np.uint64)
