"""Typical lengths of bonds by element and order, and the bond orders that distances alone say.

The rule and the table are those by which models of molecules in space are compared: EDM
(Hoogeboom et al. 2022, ICML, appendix C, tables of single, double and triple bonds).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import GetPeriodicTable

MARGINS = (0.10, 0.05, 0.03)  # angstrom, of single, double and triple bonds; chosen for QM9
# picometres of a single, double and triple bond between the element before the colon and those
# behind it
_TABLE = """
H: H 74, C 109, N 101, O 96, F 92, B 119, Si 148, P 144, As 152, S 134, Cl 127, Br 141, I 161
C: C 154/134/120, N 147/129/116, O 143/120/113, F 135, Si 185, P 184, S 182/160, Cl 177, Br 194
C: I 214
N: N 145/125/110, O 140/121, F 136, P 177, S 168, Cl 175, Br 214, I 222
O: O 148/121, F 142, Si 163, P 163/150, S 151, Cl 164, Br 172, I 194
F: F 142, Si 160, P 156, S 158, Cl 166, Br 178, I 187
Si: Si 233, S 200, Cl 202, Br 215, I 243
P: P 221, S 210/186, Cl 203, Br 222
S: S 204, Cl 207, Br 225, I 234
B: Cl 175
Cl: Cl 199, Br 214
Br: Br 228
I: I 266
"""
# sums of bond orders at which an atom is stable; formal charges are not looked at
STABLE: dict[str, tuple[int, ...]] = {
    "H": (1,), "B": (3,), "C": (4,), "N": (3,), "O": (2,), "F": (1,), "Al": (3,), "Si": (4,),
    "P": (3, 5), "S": (4,), "Cl": (1,), "As": (3,), "Br": (1,), "I": (1,), "Hg": (1, 2),
    "Bi": (3, 5),
}
_LARGEST = 118
_MOST = 8  # bond orders that an atom sums to, above every stable one


@cache
def thresholds() -> NDArray[np.float64]:
    """Distances in angstrom below which two atoms are bonded once, twice, three times:
    (119, 119, 3) by atomic number, 0 where the table has no such bond."""
    found = np.zeros((_LARGEST + 1, _LARGEST + 1, 3))
    number = GetPeriodicTable().GetAtomicNumber
    for line in _TABLE.strip().splitlines():
        first, others = line.split(": ")
        for other, lengths in (entry.split() for entry in others.split(", ")):
            for order, length in enumerate(lengths.split("/")):
                limit = int(length) / 100 + MARGINS[order]
                a, b = number(first), number(other)
                found[a, b, order] = found[b, a, order] = limit
    return found


@cache
def stable_valences() -> NDArray[np.bool_]:
    """Which sums of bond orders make an atom stable: (119, 9) by atomic number."""
    found = np.zeros((_LARGEST + 1, _MOST + 1), np.bool_)
    for symbol, sums in STABLE.items():
        found[GetPeriodicTable().GetAtomicNumber(symbol), list(sums)] = True
    return found


def bonded_orders(numbers: NDArray[Any], positions: NDArray[Any]) -> NDArray[np.int64]:
    """Bond orders 0 to 3, (n, n), of atoms `numbers` (n,) at `positions` (n, 3) in angstrom.

    A pair is bonded k times where its distance is below length_k + margin_k; the thresholds of
    one pair fall with the order, so that the order is the number of them not reached.
    """
    limits = thresholds()[numbers[:, None], numbers[None, :]]
    orders = (distances(positions)[..., None] < limits).sum(-1)
    np.fill_diagonal(orders, 0)
    return orders


def distances(positions: NDArray[Any]) -> NDArray[np.float64]:
    """All distances (n, n) of places (n, 3), in their unit."""
    gaps = positions[:, None].astype(np.float64) - positions[None, :]
    return np.sqrt((gaps * gaps).sum(-1))


def stable(numbers: NDArray[Any], orders: NDArray[Any]) -> NDArray[np.bool_]:
    """Atoms (n,) whose bond orders (n, n) sum to a valence of theirs (Hoogeboom et al. 2022).

    An element that the table does not know is never stable.
    """
    return stable_valences()[numbers, np.minimum(orders.sum(1), _MOST)]
