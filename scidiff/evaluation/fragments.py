"""Fragments and scaffolds as MOSES counts them, and the cosine of two such counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Mol
from rdkit.Chem.rdmolops import FragmentOnBRICSBonds
from rdkit.Chem.Scaffolds.MurckoScaffold import GetScaffoldForMol

from scidiff.evaluation.intervals import SPREAD, spread_of
from scidiff.evaluation.metric import Metric

MIN_RINGS = 2


def brics_fragments(mol: Mol) -> list[str]:
    """Cut every BRICS bond (Degen et al. 2008); a molecule without one is its own fragment."""
    with rdBase.BlockLogs():
        return Chem.MolToSmiles(FragmentOnBRICSBonds(mol)).split(".")


def ring_scaffold(mol: Mol) -> list[str]:
    """The Bemis-Murcko scaffold of a molecule, none where it has fewer than MIN_RINGS rings."""
    with rdBase.BlockLogs():
        try:
            core = GetScaffoldForMol(mol)
        except (ValueError, RuntimeError):  # RDKit gives up on some metal complexes
            return []
        if core.GetRingInfo().NumRings() < MIN_RINGS:
            return []
        return [Chem.MolToSmiles(core)]


def cosine(a: Mapping[str, int], b: Mapping[str, int]) -> float:
    """a . b / |a| |b| of counts by name; NaN where one is empty."""
    if not a or not b:
        return math.nan
    both = sum(float(n) * b[name] for name, n in a.items() if name in b)
    return both / (_norm(a) * _norm(b))


def cosine_metric(
    name: str, parts: Sequence[Counter[str]], reference: Mapping[str, int], n: int, what: str
) -> Metric:
    """Cosine of the sum of disjoint subsets' counts to a reference, with their spread."""
    value = cosine(sum(parts, Counter()), reference)
    low, high = spread_of(value, [cosine(p, reference) for p in parts])
    return Metric(name, value, low, high, n, f"cosine of counts of {what}", "",
                  "" if math.isnan(low) else SPREAD)


def _norm(counts: Mapping[str, int]) -> float:
    return float(np.linalg.norm(np.fromiter(counts.values(), np.float64, len(counts))))
