"""What a picture compares a result with: a reference of any origin as objects of the result's
kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
from rdkit.Chem import Mol

from scidiff.chem.molecules import as_mol
from scidiff.data import datasets
from scidiff.data.graph_exchange import to_networkx
from scidiff.data.graph_text import parse
from scidiff.data.records import Record
from scidiff.data.tables import column_of
from scidiff.evaluation.rows import evenly, from_file

EXPECTED = {"molecule": "SMILES or RDKit molecules", "sequence": "sequences",
            "graph": "graph6 texts or networkx graphs"}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "molecule": (str, Mol, Record), "sequence": (str, Record), "graph": (str, nx.Graph, Record)}


def objects_of(given: Any, kind: str, most: int | None = None) -> list[Any]:
    """Molecules, upper-case texts or networkx graphs out of a result, a list, a file, or
    "data set:split"; at most `most` of the rows, evenly spaced. Invalid rows are passed over.

    Raises ValueError for rows of another kind, TableError or DatasetError for what is not there.
    """
    rows = list(_rows(given, kind))
    if most is not None:
        rows = [rows[i] for i in evenly(len(rows), most)]
    found = (READERS[kind](row) for row in rows)
    return [obj for obj in found if obj is not None]


def _rows(given: Any, kind: str) -> Iterator[Any]:
    what = f"a reference is a result, {EXPECTED[kind]}, a file of them or 'data set:split'"
    if getattr(given, "kind", kind) != kind:
        raise ValueError(f"{what}, got a result of the kind {given.kind}")
    if isinstance(given, str | Path):
        yield from _named(given, kind)
        return
    if not isinstance(given, Iterable):
        raise ValueError(f"{what}, got a {type(given).__name__}")
    for row in column_of(given):
        if not isinstance(row, _TYPES[kind]):
            raise ValueError(f"{what}, got a list with a {type(row).__name__}")
        yield row


def _named(given: str | Path, kind: str) -> Iterable[Any]:
    """Rows of a data set by its name, else of a file."""
    data, _, split = str(given).partition(":")
    if data in datasets.names() and not Path(given).exists():
        return datasets.load(data, split or None).objects()
    return (record for _, record in from_file(given, kind=kind))


def _molecule(row: str | Mol | Record) -> Mol | None:
    if isinstance(row, Record):
        usable = row.obj if isinstance(row.obj, Mol) else row.text
        return as_mol(usable) if row.valid else None
    return as_mol(row)


def _sequence(row: str | Record) -> str | None:
    text = row.text if isinstance(row, Record) else row
    return text.strip().upper() or None if not isinstance(row, Record) or row.valid else None


def _graph(row: str | nx.Graph | Record) -> nx.Graph | None:
    if isinstance(row, Record):
        if not row.valid:
            return None
        row = row.obj if isinstance(row.obj, nx.Graph) else row.text
    if isinstance(row, nx.Graph):
        return row
    try:
        return to_networkx(*parse(row))
    except ValueError:  # an unreadable row of a reference is passed over, like a SMILES
        return None


READERS: Mapping[str, Callable[[Any], Any]] = {
    "molecule": _molecule, "sequence": _sequence, "graph": _graph}


def as_records(objects: Sequence[Any]) -> list[Record]:
    """Objects of `objects_of` as valid records, for what measures rows."""
    return [Record(o if isinstance(o, str) else "", o, True) for o in objects]
