"""What is wrong with a molecule in space: every fault with its rule, its atoms and one line.

Bond lengths and the spans of angles may leave the bounds of distance geometry by a quarter, as in
PoseBusters (Buttenschoen et al. 2024, Chem. Sci. 15:3130). Atoms more than three bonds apart clash
below CLOSEST times the sum of their van der Waals radii, which 1 in 1,000 molecules of QM9 do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import Mol, rdDistGeom

from scidiff.chem.bond_lengths import distances
from scidiff.chem.checks import CheckReport
from scidiff.chem.geometry import Placed, examine_points, readable
from scidiff.chem.relaxation import relaxed
from scidiff.chem.units import unit_fault

ON_TOP = 0.5  # angstrom: nearer than any two atoms of any molecule
TOLERANCE, CLOSEST = 0.25, 0.6
FLAT = 0.3  # of the volume that four neighbours span around a tetrahedral atom
RULES = ("size", "unsupported", "units", "overlap", "bond length", "bond angle", "clash",
         "chirality", "strain")


def structure_faults(
    points: Placed, rule: str = "edm", *, elements: Collection[int] = (),
    largest: int | None = None, strain: float | None = None,
) -> list[CheckReport]:
    """Every fault of points as a molecule in space, an empty list if there is none.

    First what makes it no molecule (`chem.geometry.examine_points`); where there is one, its
    lengths, angles, clashes and flat stereocentres, and with `strain` the kcal/mol that it may
    lie above its own MMFF94 minimum. `elements` (atomic numbers) and `largest` (atoms) are what a
    model can hold.
    """
    unreadable = readable(points)
    if unreadable is not None:
        return [unreadable]
    found = [*_held(points, elements, largest), *filter(None, [unit_fault(points)]),
             *_on_top(points)]
    mol, report = examine_points(points, rule)
    found += [] if report.valid else [report]
    return found if mol is None else [*found, *geometry_faults(mol, strain)]


def geometry_faults(mol: Mol, strain: float | None = None) -> list[CheckReport]:
    """Faults of a sanitised molecule's structure: lengths, angles, clashes, flat stereocentres
    and, where asked for, strain."""
    found = [*_out_of_bounds(mol), *_flat_centres(mol)]
    return found if strain is None else [*found, *_strained(mol, strain)]


def chirality_kept(before: Mol, after: Mol) -> CheckReport | None:
    """A report of rule "chirality" where atoms of two structures of one molecule, in one order,
    differ in CIP labels; None where all are kept. Raises ValueError for other atoms."""
    if [a.GetAtomicNum() for a in before.GetAtoms()] != [a.GetAtomicNum() for a in
                                                         after.GetAtoms()]:
        raise ValueError("expected two structures of the same atoms in the same order")
    one, other = _labels(before), _labels(after)
    changed = tuple(i for i in sorted({*one, *other}) if one.get(i) != other.get(i))
    if not changed:
        return None
    said = ", ".join(f"{_name(after, i)} {one.get(i, 'none')} to {other.get(i, 'none')}"
                     for i in changed)
    return CheckReport(False, "chirality", changed, f"stereocentres changed: {said}")


# ---------------------------------------------------------------- of points


def _held(
    points: Placed, elements: Collection[int], largest: int | None
) -> Iterator[CheckReport]:
    numbers = np.asarray(points.numbers)
    if largest is not None and len(numbers) > largest:
        yield CheckReport(False, "size", (), f"{len(numbers)} atoms, the model holds at most "
                                             f"{largest}")
    foreign = np.flatnonzero(~np.isin(numbers, list(elements)))
    if elements and len(foreign):
        yield CheckReport(False, "unsupported", tuple(foreign.tolist()),
                          f"elements {_symbols(numbers[foreign].tolist())} are not among "
                          f"{_symbols(elements)}")


def _symbols(numbers: Collection[int]) -> str:
    symbol = Chem.GetPeriodicTable().GetElementSymbol
    return ", ".join(symbol(int(n)) for n in sorted(set(numbers)))


def _on_top(points: Placed) -> Iterator[CheckReport]:
    near = np.triu(distances(np.asarray(points.positions)) < ON_TOP, 1)
    if near.any():
        atoms = tuple(np.flatnonzero((near | near.T).any(1)).tolist())
        yield CheckReport(False, "overlap", atoms, f"{near.sum()} pairs of atoms are less than "
                                                   f"{ON_TOP} angstrom apart")


# ---------------------------------------------------------------- of molecules


def _out_of_bounds(mol: Mol) -> Iterator[CheckReport]:
    """Lengths (pairs one bond apart), angles (two) and clashes (more)."""
    with rdBase.BlockLogs():
        bounds = rdDistGeom.GetMoleculeBoundsMatrix(mol, set15bounds=True, scaleVDW=True,
                                                    doTriangleSmoothing=True)
    low, high = np.tril(bounds, -1).T, np.triu(bounds, 1)
    found = distances(np.array(mol.GetConformer().GetPositions()))
    apart = Chem.GetDistanceMatrix(mol)
    for rule, steps in (("bond length", 1), ("bond angle", 2)):
        outside = (found < (1 - TOLERANCE) * low) | (found > (1 + TOLERANCE) * high)
        yield from _pairs(mol, rule, np.triu(outside & (apart == steps), 1), found)
    radius = np.array([Chem.GetPeriodicTable().GetRvdw(a.GetAtomicNum()) for a in mol.GetAtoms()])
    clash = (found < CLOSEST * (radius[:, None] + radius[None, :])) & (apart > 3)
    yield from _pairs(mol, "clash", np.triu(clash, 1), found)


def _pairs(
    mol: Mol, rule: str, wrong: NDArray[np.bool_], found: NDArray[np.float64]
) -> Iterator[CheckReport]:
    if not wrong.any():
        return
    i, j = min(np.argwhere(wrong).tolist(), key=lambda pair: found[pair[0], pair[1]])
    atoms = tuple(np.flatnonzero((wrong | wrong.T).any(1)).tolist())
    what = {"bond length": "bonds", "bond angle": "angles", "clash": "clashes"}[rule]
    where = "" if rule == "clash" else " out of range"
    yield CheckReport(False, rule, atoms, f"{wrong.sum()} {what}{where}, nearest "
                      f"{_name(mol, i)} to {_name(mol, j)}: {found[i, j]:.2f} angstrom")


def _flat_centres(mol: Mol) -> Iterator[CheckReport]:
    """Atoms with four different neighbours that lie too flat to be one hand or the other."""
    copy = Chem.Mol(mol)
    Chem.AssignStereochemistryFrom3D(copy)
    found = Chem.FindMolChiralCenters(copy, includeUnassigned=True, useLegacyImplementation=False)
    flat = tuple(i for i, label in found if label == "?" and _volume(copy, i) < FLAT)
    if flat:
        yield CheckReport(False, "chirality", flat, "stereocentres without a hand: "
                          + " ".join(_name(mol, i) for i in flat))


def _volume(mol: Mol, atom: int) -> float:
    """Volume that the directions to four neighbours span, over that of a regular tetrahedron;
    1 for an atom with another number of neighbours."""
    around = [n.GetIdx() for n in mol.GetAtomWithIdx(atom).GetNeighbors()]
    if len(around) != 4:
        return 1.0
    places = np.array(mol.GetConformer().GetPositions())
    arms = places[around] - places[atom]
    arms /= np.linalg.norm(arms, axis=1, keepdims=True)
    return float(abs(np.linalg.det(arms[:3] - arms[3])) * 3 * 3**0.5 / 16)


def _strained(mol: Mol, most: float) -> Iterator[CheckReport]:
    energy = relaxed(mol).strain
    if energy > most:
        yield CheckReport(False, "strain", (), f"{energy:.1f} kcal/mol above its MMFF94 minimum, "
                                               f"expected at most {most:g}")


def _labels(mol: Mol) -> dict[int, str]:
    copy = Chem.Mol(mol)
    Chem.AssignStereochemistryFrom3D(copy)
    return {i: str(label) for i, label in Chem.FindMolChiralCenters(
        copy, useLegacyImplementation=False)}


def _name(mol: Mol, atom: int) -> str:
    return f"{mol.GetAtomWithIdx(atom).GetSymbol()}{atom}"
