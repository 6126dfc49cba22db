"""The order in which the atoms of a molecule are written."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from scidiff.chem.assemble import BONDS


def written_order(
    numbers: NDArray[np.int64], charges: NDArray[np.int64], orders: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Indices (n,) of atoms as canonical SMILES writes them, each followed by its hydrogens.

    orders (n, n) are kekulised bond orders. The order is the same for any numbering of the atoms,
    but that atoms which the molecular graph does not tell apart, such as the hydrogens of a
    methyl, may change places. Hydrogens without a heavy neighbour come last.
    """
    heavy = np.flatnonzero(numbers > 1)
    ranks = np.full(len(numbers), len(numbers), np.int64)
    if len(heavy):
        bonded = orders[:, heavy] > 0
        ranks[heavy[_smiles_order(numbers, charges, orders, heavy)]] = np.arange(len(heavy))
        loose = (numbers == 1) & bonded.any(1)
        ranks[loose] = ranks[heavy[bonded[loose].argmax(1)]]
    return np.lexsort((np.arange(len(numbers)), numbers == 1, ranks))


def _smiles_order(
    numbers: NDArray[np.int64],
    charges: NDArray[np.int64],
    orders: NDArray[np.int64],
    heavy: NDArray[np.int64],
) -> list[int]:
    """Places in `heavy` of the heavy atoms, in the order of the canonical SMILES."""
    mol, hydrogens = Chem.RWMol(), orders[:, numbers == 1].sum(1)
    for i in heavy.tolist():
        atom = Chem.Atom(int(numbers[i]))
        atom.SetFormalCharge(int(charges[i]))
        atom.SetNumExplicitHs(int(hydrogens[i]))
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    among = orders[np.ix_(heavy, heavy)]
    for i, j in np.argwhere(np.triu(among, 1)).tolist():
        mol.AddBond(i, j, BONDS[int(among[i, j])])
    with rdBase.BlockLogs():
        Chem.SanitizeMol(mol, catchErrors=True)  # aromatic bonds have no Kekule form to depend on
    Chem.MolToSmiles(mol)
    found: list[int] = json.loads(mol.GetProp("_smilesAtomOutputOrder").replace(",]", "]"))
    return found
