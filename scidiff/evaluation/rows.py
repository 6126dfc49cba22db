"""Rows of any origin as records, one at a time, and what is wrong with the invalid ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.chem.checks import examine
from scidiff.chem.geometry import examine_points
from scidiff.chem.molecules import canonical
from scidiff.data import graph_text, tables
from scidiff.data.points import Points
from scidiff.data.records import Record

Numbered = Iterator[tuple[int, Record]]  # from 1: the line of a file, the place in a list
FIRST = 10
BLOCK = 4_096  # molecules of a file that are in memory at once


Check = Callable[[str], str]  # why a text is no object of its kind, or ""


def as_record(row: Any, kind: str = "molecule", check: Check | None = None) -> Record:
    """Make a record of a SMILES, a molecule, `Points`, a record, or None for a row that is lost.

    Rows of other kinds than molecules are passed on as the object of a valid record, texts of
    these where `check` has nothing against them. Raises ValueError for a molecule of an unknown
    type.
    """
    if check is not None and (isinstance(row, str) or (isinstance(row, Record) and row.valid)):
        text = row if isinstance(row, str) else row.text
        reason = check(text)
        return Record(text, None if reason else text, not reason, reason)
    if isinstance(row, Record):
        return row
    if row is None:
        return Record("", None, False, "nothing there")
    if isinstance(row, Points):
        return _placed(row)
    if kind != "molecule":
        return Record(row if isinstance(row, str) else "", row, True)
    if not isinstance(row, str | Mol):
        raise ValueError("a row is a SMILES, an RDKit molecule, points or a record, "
                         f"got a {type(row).__name__}")
    mol, report = examine(row)
    text = row if isinstance(row, str) else ""
    return Record(text, mol if report.valid else None, report.valid, report.message)


def _placed(points: Points) -> Record:
    """The row of a molecule in space, by its own bonds or else EDM's rule."""
    rule = "edm" if points.bonds is None else "given"
    mol, report = examine_points(points, rule)
    text, reason = (mol is not None and canonical(mol)) or "", ""
    if not report.valid:
        reason = f"{report.rule}: {report.message}"
    return Record(text, mol if report.valid else None, report.valid, reason, points,
                  f"bonds: {rule}")


def listed(
    rows: Iterable[Any], kind: str = "molecule", check: Check | None = None
) -> Numbered:
    """Records of rows in memory, numbered from 1."""
    return ((i, as_record(row, kind, check)) for i, row in enumerate(rows, 1))


def from_file(
    path: str | Path, column: str | None = None, kind: str = "molecule",
    check: Check | None = None,
) -> Numbered:
    """Records of a file of molecules, graphs or sequences in bounded memory; a row that cannot be
    read is invalid. The object of a graph or a sequence is its text (`data.graph_text`).

    Valid rows come in order and carry the number 0, which nothing asks for.
    """
    if kind != "molecule":
        yield from _texts(path, column, _graph_reason if kind == "graph" else check)
        return
    reader = _Reader()
    for table in tables.stream(path, column, check=reader, rows=BLOCK):
        mols, reader.mols = reader.mols, []
        for text, mol in zip(table.objects(), mols, strict=True):
            yield 0, Record(text, mol, True)
        for problem in table.rejects:
            yield problem.row, Record(problem.text, None, False, problem.reason)


def _texts(path: str | Path, column: str | None, check: Check | None) -> Numbered:
    for table in tables.stream(path, column, check=check, rows=BLOCK):
        yield from ((0, Record(text, text, True)) for text in table.objects())
        yield from ((p.row, Record(p.text, None, False, p.reason)) for p in table.rejects)


def _graph_reason(text: str) -> str:
    try:
        graph_text.parse(text)
    except ValueError as error:
        return str(error)
    return ""


@dataclass
class _Reader:
    """A check of strings that keeps the molecule it had to make."""

    mols: list[Mol] = field(default_factory=list)

    def __call__(self, text: str) -> str:
        mol, report = examine(text)
        if report.valid and mol is not None:
            self.mols.append(mol)
        return report.message


@dataclass
class Faults:
    """Invalid rows: how many, why, and the first of them."""

    seen: int = 0  # rows, valid or not
    n: int = 0
    counts: Counter[str] = field(default_factory=Counter)  # by reason, positions left out
    first: list[tuple[int, str, str]] = field(default_factory=list)  # row, text, reason

    def watch(self, rows: Numbered) -> Iterator[Record]:
        """Pass records on, and note the invalid ones."""
        for number, record in rows:
            self.seen += 1
            if not record.valid:
                self.n += 1
                self.counts[without_places(record.reason)] += 1
                if len(self.first) < FIRST:
                    self.first.append((number, record.text, record.reason))
            yield record

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = ("row", "text", "reason")
        return {"n": self.n, "reasons": dict(self.counts.most_common()),
                "first": [dict(zip(names, row, strict=True)) for row in self.first]}

    def lines(self, most: int = 5) -> list[str]:
        """A few lines: reasons by frequency, then the first rows."""
        if not self.n:
            return []
        shown = self.counts.most_common(most)
        more = f"; {len(self.counts) - most} more reasons" if len(self.counts) > most else ""
        return [f"{self.n:,} invalid: " + "; ".join(f"{k:,} x {why}" for why, k in shown) + more,
                *(f"  row {row}: {text or '(nothing)'}: {why}"
                  for row, text, why in self.first[:most])]


def without_places(reason: str) -> str:
    """A reason without the numbers of atoms and positions, so that equal faults count together."""
    reason = re.sub(r"(\b[A-Za-z]{1,2}\d+\b[ ,]*){2,}", "… ", reason)
    reason = re.sub(r"\b([A-Z][a-z]?)\d+\b", r"\1", reason)
    return re.sub(r"\b(position|atom|ring|row) (# )?\d+", r"\1 …", reason)


def evenly(n: int, most: int) -> NDArray[np.int64]:
    """At most `most` of n row numbers, evenly spaced, in order."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)


def first_of_kind(keys: Sequence[str]) -> NDArray[np.int64]:
    """Numbers of the rows whose key did not come before, in order."""
    places = {key: i for i, key in reversed(list(enumerate(keys)))}
    return np.sort(np.fromiter(places.values(), np.int64, len(places)))
