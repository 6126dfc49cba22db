"""Places in angstrom: converted where another unit is named, suspected where bonds say another."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import GetPeriodicTable

from scidiff.chem.bond_lengths import distances
from scidiff.chem.checks import CheckReport
from scidiff.chem.constants import BOHR
from scidiff.chem.geometry import LARGEST, Placed
from scidiff.messages import nearest

UNITS: Mapping[str, float] = {"angstrom": 1.0, "bohr": BOHR, "nanometre": 10.0, "picometre": 0.01}
BOND = (0.75, 1.15)  # of the sum of two covalent radii: triple bonds .78, long ones 1.06
SHARE = 0.8  # of the atoms that must agree on a unit


def in_angstrom(positions: NDArray[Any], units: str = "angstrom") -> NDArray[np.float64]:
    """Convert places of a named unit. Raises ValueError for an unknown one."""
    if units not in UNITS:
        raise ValueError(
            f"units must be one of {', '.join(UNITS)}, got {units!r}{nearest(units, UNITS)}"
        )
    return np.asarray(positions, np.float64) * UNITS[units]


def suspected_unit(points: Placed) -> str:
    """The unit, other than angstrom, in which most atoms have a neighbour one bond away; "" if
    there is none.

    An atom's nearest neighbour is the one with the least d_ij / (r_i + r_j), r being covalent
    radii. In angstrom that lies in BOND wherever there is a bond, in another unit in BOND / its
    size.
    """
    numbers = np.asarray(points.numbers)
    if len(numbers) < 2:
        return ""
    nearest = _nearest(numbers, np.asarray(points.positions))
    for name, size in UNITS.items():
        bonded = (nearest * size > BOND[0]) & (nearest * size < BOND[1])
        if bonded.mean() >= SHARE:
            return name if name != "angstrom" else ""
    return ""


def unit_fault(points: Placed) -> CheckReport | None:
    """A report of rule "units" where places look like another unit than angstrom, or None."""
    unit = suspected_unit(points)
    if not unit:
        return None
    return CheckReport(False, "units", (), f"the distances are bonds if they are in {unit}: "
                                           f"units={unit!r} multiplies them by {UNITS[unit]:.4g}")


def _nearest(numbers: NDArray[Any], positions: NDArray[Any]) -> NDArray[np.float64]:
    radii = _radii()[numbers]
    ratio = distances(positions) / (radii[:, None] + radii[None, :])
    np.fill_diagonal(ratio, np.inf)
    return ratio.min(1)


@cache
def _radii() -> NDArray[np.float64]:
    table = GetPeriodicTable()
    return np.array([1.0, *(table.GetRcovalent(n) for n in range(1, LARGEST + 1))])
