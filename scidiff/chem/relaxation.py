"""A structure relaxed to the nearest minimum of a force field, with what that changed.

The structure given is never altered, and what is relaxed says so: where it came from, how far its
atoms moved and how much energy it gave up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import Mol
from rdkit.Chem.rdForceFieldHelpers import (
    MMFFGetMoleculeForceField,
    MMFFGetMoleculeProperties,
    MMFFHasAllMoleculeParams,
    UFFGetMoleculeForceField,
    UFFHasAllMoleculeParams,
)

from scidiff.chem.conformers import ConformerError

STEPS = 2000


@dataclass(frozen=True)
class Relaxed:
    """A structure after relaxation and how it differs from the one before."""

    mol: Mol  # a copy, its conformer relaxed
    method: str  # "mmff", "uff" or what a caller brought
    rmsd: float  # angstrom over all atoms, turned onto each other
    strain: float  # kcal/mol given up
    converged: bool


def relaxed(mol: Mol, method: str = "mmff", steps: int = STEPS) -> Relaxed:
    """Relax a molecule in space by MMFF94 (Halgren 1996) or UFF (Rappe et al. 1992).

    Raises ValueError for another method, ConformerError where the molecule has no structure with
    its hydrogens or the force field does not know its atoms.
    """
    if method not in _FIELDS:
        raise ValueError(f"method must be one of {', '.join(_FIELDS)}, got {method!r}")
    if not mol.GetNumConformers() or any(a.GetTotalNumHs() for a in mol.GetAtoms()):
        raise ConformerError("relaxation needs a structure in space with every hydrogen in it")
    copy = Chem.Mol(mol)
    with rdBase.BlockLogs():
        field = _FIELDS[method](copy)
        before = field.CalcEnergy()
        left = field.Minimize(maxIts=steps)
        after = field.CalcEnergy()
    return Relaxed(copy, method, rmsd(places(mol), places(copy)), before - after, left == 0)


def rmsd(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Root mean square distance of two sets of places (n, 3), b moved and turned onto a (Kabsch
    1976, Acta Cryst. A 32:922); a mirror image is not turned into its original."""
    x, y = a - a.mean(0), b - b.mean(0)
    u, s, v = np.linalg.svd(x.T @ y)
    s[-1] *= np.sign(np.linalg.det(u) * np.linalg.det(v))
    # |x|^2 + |y|^2 - 2 tr s, which rounding may take below zero for equal places
    return float(np.sqrt(max((x * x).sum() + (y * y).sum() - 2 * s.sum(), 0.0) / len(x)))


def places(mol: Mol) -> NDArray[np.float64]:
    """Where the atoms of a molecule are, (n, 3) angstrom."""
    return np.array(mol.GetConformer().GetPositions(), np.float64)


def _mmff(mol: Mol) -> Any:
    if not MMFFHasAllMoleculeParams(mol):
        raise ConformerError("MMFF94 has no parameters for its atoms")
    return MMFFGetMoleculeForceField(mol, MMFFGetMoleculeProperties(mol))


def _uff(mol: Mol) -> Any:
    if not UFFHasAllMoleculeParams(mol):
        raise ConformerError("UFF has no parameters for its atoms")
    return UFFGetMoleculeForceField(mol)


_FIELDS: dict[str, Callable[[Mol], Any]] = {"mmff": _mmff, "uff": _uff}
