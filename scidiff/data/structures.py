"""Molecules in space out of files: XYZ, and SDF with its coordinates and bonds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scidiff.data import datasets
from scidiff.data.formats import PACKED, TableError, open_binary, open_text
from scidiff.data.packages import DatasetError
from scidiff.data.points import PackedPoints, Points

SUFFIXES = (".xyz", ".sdf")


@dataclass(frozen=True)
class Structure:
    """One molecule of a file as read: its atoms in space, or the problem that leaves none."""

    number: int  # from 1, in the file
    points: Points | None  # with bonds where the file has them
    name: str = ""  # the title or comment
    problem: str = ""  # one line, "" where there are points


def read_structures(path: str | Path, units: str = "angstrom") -> Iterator[Structure]:
    """Every molecule of an .xyz or .sdf file, also packed (.gz, .xz), in bounded memory.

    Places are taken to be in `units` (`chem.units.UNITS`) and handed out in angstrom. Raises
    TableError for a file that is missing, empty or of another kind, ValueError for unknown units.
    """
    from scidiff.chem.units import in_angstrom

    path = Path(path)
    suffixes = [s.lower() for s in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKED else ""
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in SUFFIXES:
        raise TableError(f"{path.name}: expected structures in {' or '.join(SUFFIXES)}, got "
                         f"{suffix or 'no suffix'!r}")
    if not path.is_file():
        raise TableError(f"no such file: {path}")
    for found in _reader(suffix)(path, packing):
        if found.points is None:
            yield found
            continue
        places = in_angstrom(found.points.positions, units)
        yield replace(found, points=replace(found.points, positions=places))


def _reader(suffix: str) -> Callable[[Path, str], Iterator[Structure]]:
    if suffix == ".sdf":
        return read_sdf
    from scidiff.data.xyz import read_xyz

    return read_xyz


def read_sdf(path: Path, packing: str = "") -> Iterator[Structure]:
    """Every record of a file; flat coordinates are no structure in space."""
    from rdkit import Chem, rdBase

    open_text(path, packing).close()
    with open_binary(path, packing) as file, rdBase.BlockLogs():
        for number, mol in enumerate(
            Chem.ForwardSDMolSupplier(file, sanitize=False, removeHs=False), 1
        ):
            if mol is None:
                yield Structure(number, None, "", "an unreadable record")
                continue
            yield _record(number, mol)


def _record(number: int, mol: Any) -> Structure:
    from scidiff.chem.geometry import structure_of

    title = mol.GetProp("_Name") if mol.HasProp("_Name") else ""
    try:
        return Structure(number, Points.of(*structure_of(mol)), title)
    except ValueError as error:
        return Structure(number, None, title, str(error).strip().splitlines()[0])


def load_points(name: str = "qm9_3d") -> PackedPoints:
    """The structures of a data set in space, one molecule a row of `datasets.load(name)`.

    Raises DatasetError where it is not on this machine (`scidiff data get qm9_3d`) or has none.
    """
    file = datasets.path(name)
    if file.suffix != ".npz":
        raise DatasetError(f"{name} has no structures in space, expected qm9_3d")
    with np.load(file, allow_pickle=False) as arrays:
        if "xyz_milliangstrom" not in arrays:
            raise DatasetError(f"{name} has no structures in space, expected qm9_3d")
        places = (arrays["xyz_milliangstrom"] / 1000).astype(np.float32)
        numbers = arrays["z"]
        counts = arrays["n_atoms"].astype(np.int64)
    return PackedPoints(counts, numbers, places, np.zeros(len(numbers), np.int8))
