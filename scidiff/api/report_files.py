"""A file of any tool as an input of a report: every row in its order, with every column."""

from __future__ import annotations

import csv
import hashlib
import json
import lzma
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scidiff.core import ScidiffError
from scidiff.data.alphabets import DNA, PEPTIDE, RNA, Alphabet
from scidiff.data.formats import TableError, kind_of_suffix, open_rows
from scidiff.data.graph_exchange import to_networkx
from scidiff.data.graph_text import parse
from scidiff.data.records import Record
from scidiff.data.tables import choose_column
from scidiff.evaluation.rows import as_record, evenly
from scidiff.evaluation.sequence_sets import spelling_fault
from scidiff.evaluation.web.contents import Campaign
from scidiff.messages import nearest

KINDS = ("molecule", "sequence", "graph")
OWN = ("valid", "reason", "canonical")  # columns a saved result has for itself
_SEQUENCES = ("sequence", "seq", "dna", "rna", "peptide", "protein", "utr")
_OF_SUITE = {"dna": DNA, "rna": RNA, "peptide": PEPTIDE}
_GUESSED = 200  # rows that tell the alphabet of a file
Told = tuple[int, str, Mapping[str, Any], str]  # place, text, its cells, a problem


@dataclass(frozen=True)
class Input:
    """Rows of one input, evenly spaced where it has more than were asked for."""

    name: str
    kind: str
    records: Sequence[Record]
    places: Sequence[int]
    total: int
    columns: Mapping[str, Sequence[Any]]
    whole: Any  # what `evaluate` measures: a path or a result
    notes: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    campaign: Campaign | None = None
    title: str = ""  # of a page that shows this alone, "" for its name


def of_file(path: Path, most: int, *, column: str | None = None, kind: str | None = None,
            suite: str | None = None, name: str = "") -> Input:
    """A file, read twice in bounded memory: to count its rows, and to keep some.

    Raises TableError where it cannot be read, ScidiffError for a kind that is none.
    """
    if kind is not None and kind not in KINDS:
        raise ScidiffError(f"kind must be {', '.join(KINDS)}, got {kind!r}{nearest(kind, KINDS)}")
    total = sum(1 for _ in _rows(path, column))
    if not total:
        raise TableError(f"{path.name} has a header but no rows")
    wanted = set(evenly(total, most).tolist())
    kept = [row for i, row in enumerate(_rows(path, column)) if i in wanted]
    found = kind or kind_of_file(path, column)
    records = _records(kept, found, suite)
    cells = list(dict.fromkeys(n for _, _, row, _ in kept for n in row))
    columns = {n: column_values([row.get(n) for _, _, row, _ in kept])
               for n in cells if n not in OWN}
    return Input(name or stem(path), found, records, [k[0] for k in kept], total, columns,
                 path, provenance=file_provenance(path))


def kind_of_file(path: Path, column: str | None = None) -> str:
    """What a file holds, by its suffix and the name of its column."""
    if said := kind_of_suffix(path):
        return said
    with _readable(path):
        names, _ = open_rows(path)
    chosen = choose_column(names, column, path.name).lower()
    return "graph" if chosen == "graph" else "sequence" if chosen in _SEQUENCES else "molecule"


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Errors of a damaged file as one line that names it."""
    try:
        yield
    except (EOFError, OSError, csv.Error, zlib.error, lzma.LZMAError) as error:
        raise TableError(f"{path.name} cannot be read: {error}") from None


def _rows(path: Path, column: str | None) -> Iterator[Told]:
    """Every row of a file in its order, broken ones with the problem."""
    with _readable(path):
        names, rows = open_rows(path)
        chosen = choose_column(names, column, path.name)
        at = names.index(chosen)
        for row in rows:
            whole = not row.problem and len(row.values) == len(names)
            text = row.values[at] if at < len(row.values) else " ".join(map(str, row.values))
            cells = {n: v for n, v in zip(names, row.values, strict=False) if n != chosen} \
                if whole else {}
            yield row.number, "" if text is None else str(text), cells, row.problem


def _records(kept: Sequence[Told], kind: str, suite: str | None) -> list[Record]:
    alphabet = _OF_SUITE.get(suite or "")
    if kind == "sequence" and alphabet is None:
        alphabet = guessed([text for _, text, _, _ in kept])
    return [record_of(text, cells, problem, kind, alphabet) for _, text, cells, problem in kept]


def record_of(text: str, cells: Mapping[str, Any], problem: str, kind: str,
              alphabet: Alphabet | None = None) -> Record:
    """A row as `evaluate` counts it; a result that was saved says itself why a row is invalid."""
    said = str(cells.get("reason") or "")
    denied = str(cells.get("valid", "")).lower() in ("false", "0")
    if problem or (denied and said):
        return Record(text, None, False, problem or said)
    if kind == "graph":
        return _graph(text)
    if kind == "sequence" and alphabet is not None:
        fault = spelling_fault(text, alphabet)
        spelled = text if fault else alphabet.spell(text)
        return Record(spelled, None if fault else spelled, not fault, fault)
    found = as_record(text or None, kind)
    return Record(text, None, found.valid, found.reason)  # molecules are read again when drawn


def _graph(text: str) -> Record:
    try:
        graph = to_networkx(*parse(text))
    except ValueError as error:
        return Record(text, None, False, str(error))
    return Record(text, graph, True)


def guessed(texts: Sequence[str]) -> Alphabet:
    """The alphabet most of the first texts are written in: DNA, RNA, else peptide."""
    some = [text.upper() for text in texts if text][:_GUESSED]
    for alphabet in (DNA, RNA):
        if sum(not alphabet.reason(text) for text in some) * 2 > len(some):
            return alphabet
    written = [text for text in some if sum(c in "ACGTUN" for c in text) >= 0.95 * len(text)]
    if len(written) * 2 > len(some):  # nucleotides with letters in doubt are no peptides
        return RNA if any("U" in text for text in written) else DNA
    return PEPTIDE


def column_values(cells: Sequence[Any]) -> list[Any]:
    """Numbers where every cell that is there is one; 007 and the like stay text."""
    there = [c for c in cells if c not in (None, "")]
    if not there or any(not isinstance(c, str | int | float) or isinstance(c, bool)
                        for c in there):
        return [None if c == "" else c for c in cells]
    if any(isinstance(c, str) and len(c) > 1 and c.lstrip("-")[:1] == "0" and c.isdigit()
           for c in there):
        return list(cells)
    try:
        return [None if c in (None, "") else _number(c) for c in cells]
    except ValueError:
        return list(cells)


def _number(cell: Any) -> int | float:
    if not isinstance(cell, str):
        return cell
    return int(cell) if cell.lstrip("+-").isdigit() else float(cell)


def stem(path: Path) -> str:
    return path.name.removesuffix("".join(path.suffixes[-2:])) or path.name


def file_provenance(path: Path) -> dict[str, Any]:
    """Name and checksum of a file, and what a result that was saved says of itself."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    found: dict[str, Any] = {"file": path.name, "sha256": digest.hexdigest()}
    beside = path.with_name(path.name + ".json")
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        said = (pq.read_schema(path).metadata or {}).get(b"scidiff")
        return found if said is None else {**found, "made": read_json(said.decode(), path)}
    if beside.is_file():
        found["made"] = read_json(beside.read_text(encoding="utf-8"), beside).get("provenance")
    return found


def read_json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise TableError(f"{path.name} is damaged: {error}") from None
