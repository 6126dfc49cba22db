"""Rows that are molecules in space: of a file, a result or a list, each with its reason if not.

A row's molecule is what its own bonds make of it, where it has any (a model's, an SDF record's),
else what EDM's rule reads off the distances.
"""

from __future__ import annotations

from pathlib import Path

from rdkit.Chem import Mol

from scidiff.chem.geometry import structure_of
from scidiff.data.points import Points
from scidiff.data.records import Record
from scidiff.data.structures import SUFFIXES, read_structures
from scidiff.evaluation.rows import Numbered, as_record, from_file


def structure_file(path: str | Path, column: str | None = None) -> Numbered:
    """Rows of an .xyz or .sdf file with their structures, numbered from 1; of any other file as
    they are, which have none."""
    if not any(suffix.lower() in SUFFIXES for suffix in Path(path).suffixes):
        yield from from_file(path, column)
        return
    for found in read_structures(path):
        yield found.number, (Record("", None, False, found.problem) if found.points is None
                             else as_record(found.points))


def points_of(record: Record) -> Points | None:
    """Where the atoms of a row are, valid or not; None where that is not known."""
    if record.points is not None:
        return record.points
    if not isinstance(record.obj, Mol):
        return None
    try:
        return Points.of(*structure_of(record.obj))
    except ValueError:
        return None
