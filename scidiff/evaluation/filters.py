"""The medicinal chemistry filters of MOSES (Polykovskiy et al. 2020)."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

from rdkit import Chem, rdBase
from rdkit.Chem import Mol

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
        return not any(whole.HasSubstructMatch(p) for p in _patterns())


@lru_cache(maxsize=1)
def _patterns() -> tuple[Mol, ...]:
    with _FILE.open(encoding="utf-8", newline="") as file:
        return tuple(Chem.MolFromSmarts(row["smarts"]) for row in csv.DictReader(file))
