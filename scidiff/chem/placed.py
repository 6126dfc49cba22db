"""Bonds and charges of atoms in space whose SMILES is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from scidiff.chem.molecules import parse

REACH = 2.0  # angstrom; bonded atoms of H, C, N, O and F are closer


def placed(
    smiles: str, numbers: NDArray[np.int64], positions: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Formal charges (n,) and kekulised bond orders (n, n) of atoms at `positions` (n, 3).

    Heavy atoms stand in the order of the SMILES, as in QM9; a hydrogen belongs to the heavy atom
    next to it. Raises ValueError where that makes another molecule than the SMILES says.
    """
    mol = parse(smiles)
    if mol is None:
        raise ValueError(f"expected a readable SMILES, got {smiles!r}")
    Chem.Kekulize(mol, clearAromaticFlags=True)
    heavy = np.flatnonzero(numbers > 1)
    if [a.GetAtomicNum() for a in mol.GetAtoms()] != numbers[heavy].tolist():
        raise ValueError(f"the heavy atoms are not those of {smiles!r}, in its order")
    orders, charges = np.zeros((len(numbers),) * 2, np.int64), np.zeros_like(numbers)
    orders[np.ix_(heavy, heavy)] = Chem.GetAdjacencyMatrix(mol, useBO=True)
    charges[heavy] = [a.GetFormalCharge() for a in mol.GetAtoms()]
    _add_hydrogens(orders, numbers, positions)
    wanted = [a.GetTotalNumHs() for a in mol.GetAtoms()]
    if (orders[np.ix_(heavy, np.flatnonzero(numbers == 1))].sum(1) != wanted).any():
        raise ValueError(f"the hydrogens do not stand where {smiles!r} has them")
    i, j = np.nonzero(orders)
    if (np.linalg.norm(positions[i] - positions[j], axis=1) > REACH).any():
        raise ValueError(f"atoms that are bonded in {smiles!r} are more than {REACH} A apart")
    return charges, orders


def _add_hydrogens(
    orders: NDArray[np.int64], numbers: NDArray[np.int64], positions: NDArray[np.float64]
) -> None:
    heavy, hydrogens = np.flatnonzero(numbers > 1), np.flatnonzero(numbers == 1)
    if not len(heavy):
        return
    apart = np.linalg.norm(positions[hydrogens][:, None] - positions[heavy][None], axis=-1)
    nearest = heavy[apart.argmin(1)]
    orders[hydrogens, nearest] = orders[nearest, hydrogens] = 1
