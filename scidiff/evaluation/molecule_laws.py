"""What molecular graphs are made of, counted, and how far two such laws are apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping

from rdkit import Chem, rdBase
from rdkit.Chem import Mol

from scidiff.chem.assemble import atom_symbol

LARGE = 9  # rings of so many atoms and more count as one size


def atom_types(mol: Mol) -> list[str]:
    """Elements with their formal charges: C, [N+]."""
    return [atom_symbol(atom) for atom in mol.GetAtoms()]


def bond_orders(mol: Mol) -> list[str]:
    """1, 2 or 3 for every bond, after kekulisation."""
    kekule = Chem.Mol(mol)
    with rdBase.BlockLogs():
        Chem.Kekulize(kekule, clearAromaticFlags=True)
    return [f"{bond.GetBondTypeAsDouble():g}" for bond in kekule.GetBonds()]


def ring_sizes(mol: Mol) -> list[str]:
    """Atoms of every ring of the smallest set of smallest rings, LARGE for that many or more."""
    return [str(min(len(ring), LARGE)) for ring in mol.GetRingInfo().AtomRings()]


def ring_motifs(mol: Mol) -> list[str]:
    """Every ring of the smallest set of smallest rings by itself, as SMILES."""
    with rdBase.BlockLogs():
        return [Chem.MolFragmentToSmiles(mol, ring, isomericSmiles=False)
                for ring in mol.GetRingInfo().AtomRings()]


def ring_count(mol: Mol) -> list[str]:
    """The number of rings, as the one entry."""
    return [str(mol.GetRingInfo().NumRings())]


def total_variation(a: Mapping[str, int], b: Mapping[str, int]) -> float:
    """Half the sum of |p_i - q_i| of two counts, each scaled to 1; NaN where one is empty."""
    m, n = sum(a.values()), sum(b.values())
    if not m or not n:
        return math.nan
    return sum(abs(a.get(k, 0) / m - b.get(k, 0) / n) for k in a.keys() | b.keys()) / 2


def wasserstein(a: Mapping[str, int], b: Mapping[str, int]) -> float:
    """1-Wasserstein distance of counts of whole numbers: sum of |CDF_a - CDF_b|; NaN where one is
    empty."""
    m, n = sum(a.values()), sum(b.values())
    if not m or not n:
        return math.nan
    gap, total = 0.0, 0.0
    for k in range(max(map(int, a.keys() | b.keys()))):
        gap += a.get(str(k), 0) / m - b.get(str(k), 0) / n
        total += abs(gap)
    return total


def shares(counts: Mapping[str, int]) -> str:
    """Counts as a line of shares in the order of their names."""
    n = sum(counts.values())
    return ", ".join(f"{k} {counts[k] / n:.3f}" for k in sorted(counts))


Distance = Callable[[Counter[str], Counter[str]], float]

# name -> what is counted, distance, definition
LAWS: dict[str, tuple[Callable[[Mol], list[str]], Distance, str]] = {
    "atom_type_tv": (atom_types, total_variation, "total variation of elements with charges"),
    "bond_order_tv": (bond_orders, total_variation, "total variation of kekulised bond orders"),
    "ring_size_tv": (ring_sizes, total_variation,
                     f"total variation of ring sizes, {LARGE} and more as one"),
    "ring_motif_tv": (ring_motifs, total_variation, "total variation of single rings as SMILES"),
    "rings_per_molecule_w1": (ring_count, wasserstein, "1-Wasserstein distance of ring numbers"),
}
