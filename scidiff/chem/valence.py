"""How many bonds an atom can have at most."""

from __future__ import annotations

from functools import cache

import numpy as np
from rdkit import Chem, rdBase

from scidiff.chem.assemble import assemble, broken_rule

_MOST = 12


@cache
def largest_valence(symbol: str) -> int:
    """The largest sum of bond orders that RDKit permits an atom such as C, [N+] or [O-].

    Raises ValueError for a symbol that is no atom.
    """
    try:
        with rdBase.BlockLogs():
            atom = assemble([symbol], np.zeros((1, 1), int), charge=False)
    except RuntimeError:
        raise ValueError(f"expected an atom such as C or [N+], got {symbol!r}") from None
    fits = [k for k in range(_MOST + 1) if not broken_rule(_with_hydrogens(atom, k), ("valence",))]
    return max(fits, default=0)


def _with_hydrogens(mol: Chem.Mol, count: int) -> Chem.Mol:
    """A copy whose one atom holds `count` hydrogens and no more."""
    copy = Chem.Mol(mol)
    atom = copy.GetAtomWithIdx(0)
    atom.SetNumExplicitHs(count)
    atom.SetNoImplicit(True)
    return copy
