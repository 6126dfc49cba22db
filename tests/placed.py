"""Molecules in space for tests: atoms and places, and rows of QM9 where it is at hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from scidiff.chem.conformers import embed
from scidiff.chem.molecules import parse
from scidiff.data.points import Points


def moved(points: Points, atom: int, by: tuple[float, float, float]) -> Points:
    """Points with one atom somewhere else."""
    places = np.array(points.positions, float)
    places[atom] += by
    return replace(points, positions=places)


def scaled(points: Points, factor: float) -> Points:
    """Points in another unit, or with all bonds too long or short."""
    return replace(points, positions=points.positions * factor)


def named(points: Points, *numbers: int) -> Points:
    """Points with other elements."""
    return replace(points, numbers=np.array(numbers))


WATER = Points.of([8, 1, 1], [[0, 0, 0], [0.957, 0, 0], [-0.24, 0.927, 0]])
_T = 1.09 / 3**0.5
METHANE = Points.of([6, 1, 1, 1, 1], [
    [0, 0, 0], [_T, _T, _T], [_T, -_T, -_T], [-_T, _T, -_T], [-_T, -_T, _T]])


def placed(smiles: str, seed: int = 0) -> Points:
    """A molecule as the conformer that `chem.conformers` makes of it."""
    mol = embed(parse(smiles), seed)
    atoms = list(mol.GetAtoms())
    return Points.of([a.GetAtomicNum() for a in atoms], mol.GetConformer().GetPositions(),
                     [a.GetFormalCharge() for a in atoms])


def qm9_rows(folder: Path, rows: list[int] | range) -> tuple[list[Points], list[str]]:
    """Structures and SMILES of rows of QM9."""
    with np.load(folder / "qm9_3d.npz") as z:
        ends = np.cumsum(z["n_atoms"].astype(int))
        numbers, places = z["z"], z["xyz_milliangstrom"]
        names = z["smiles"].tobytes().decode().split("\n")
        counts = z["n_atoms"].astype(int)
    cuts = [slice(ends[i] - counts[i], ends[i]) for i in rows]
    return ([Points.of(numbers[c].astype(int), places[c] / 1000) for c in cuts],
            [names[i] for i in rows])
