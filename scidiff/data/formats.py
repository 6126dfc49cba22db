"""Files as rows: CSV, TSV, SMILES, text, FASTA, SDF, XYZ, Parquet and graphs, text also packed.

A reader yields every row of its file, those it cannot use with the reason; nothing is skipped.
"""

from __future__ import annotations

import csv
import gzip
import io
import lzma
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from scidiff.core import ScidiffError


class TableError(ScidiffError, ValueError):
    """A file that cannot be read as a table: one line, what is wrong and what was expected."""


class Row(NamedTuple):
    """One row as read: its values, or the problem that keeps it from having any."""

    number: int  # from 1: the line in a text file, the row in Parquet, the record in SDF
    values: tuple[Any, ...]
    problem: str = ""  # one line, "" for a usable row


Rows = tuple[list[str], Iterator[Row]]  # column names, rows
PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
EMPTY = "empty line"
EDGE_LIST = {"graph", "source", "target"}  # columns of a table whose rows are edges
FASTA_COLUMNS = ["name", "sequence", "description"]  # then the labels of its headers
SMILES_HEADERS = {"smiles", "canonical_smiles"}


def open_rows(path: Path) -> Rows:
    """Open a file by its suffix; raises TableError for one that is unknown or unreadable."""
    suffixes = [s.lower() for s in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKED else ""
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in READERS:
        raise TableError(f"{path.name}: unknown suffix {suffix or '(none)'!r}; readable are "
                         f"{', '.join(READERS)}, text also as .gz or .xz")
    if not path.exists():
        raise TableError(f"no such file: {path}")
    if path.is_dir():
        raise TableError(f"{path} is a folder, expected a file")
    if path.stat().st_size == 0:
        raise TableError(f"{path.name} is empty")
    names, rows = READERS[suffix](path, packing)
    return names, _without_last_blanks(rows)


def _without_last_blanks(rows: Iterator[Row]) -> Iterator[Row]:
    """Empty lines at the end of a file are no rows; those before another row are."""
    held: list[Row] = []
    for row in rows:
        if row.problem == EMPTY:
            held.append(row)
            continue
        yield from held
        held.clear()
        yield row


def open_binary(path: Path, packing: str) -> BinaryIO:
    """Open a file, unpacked."""
    return PACKED[packing](path, "rb") if packing else path.open("rb")


def open_text(path: Path, packing: str) -> TextIO:
    """Open as UTF-8; bytes that are not come through as U+FFFD, which rejects their row."""
    with open_binary(path, packing) as start:
        head = start.read(4096)
    if not head:
        raise TableError(f"{path.name} is empty")
    if b"\0" in head or head.startswith(b"\x1f\x8b"):
        raise TableError(f"{path.name} is not a text file: it starts with {head[:8]!r}")
    stream = open_binary(path, packing)
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")


def text_row(number: int, values: Sequence[str]) -> Row:
    damaged = "\ufffd" in "\n".join(values)
    return Row(number, tuple(values), "bytes that are not UTF-8" if damaged else "")


# ---------------------------------------------------------------- delimited text


def _csv(path: Path, packing: str) -> Rows:
    with open_text(path, packing) as file:
        first = file.readline()
    delimiter = "\t" if ".tsv" in path.suffixes else max(",;\t", key=first.count)
    names = [n.strip() for n in next(csv.reader([first], delimiter=delimiter), [])]
    names = [name or f"column_{i}" for i, name in enumerate(names, 1)]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise TableError(f"{path.name}: column names must differ, {', '.join(twice)} is repeated")
    rows = _csv_rows(path, packing, delimiter, len(names))
    if EDGE_LIST <= {n.lower() for n in names}:
        from scidiff.data.graph_files import edge_list

        return edge_list([n.lower() for n in names], rows)
    return names, rows


def _csv_rows(path: Path, packing: str, delimiter: str, width: int) -> Iterator[Row]:
    with open_text(path, packing) as file:
        reader = csv.reader(file, delimiter=delimiter)
        next(reader)
        before = reader.line_num
        for values in reader:
            number, before = before + 1, reader.line_num  # a quoted cell may span lines
            if not values:
                yield Row(number, (), EMPTY)
            elif len(values) != width:
                yield Row(number, tuple(values), f"{len(values)} fields, expected {width}")
            else:
                yield text_row(number, [v.strip() for v in values])


# ---------------------------------------------------------------- one object a line


def _smi(path: Path, packing: str) -> Rows:
    def rows() -> Iterator[Row]:
        with open_text(path, packing) as file:
            for number, line in enumerate(file, 1):
                smiles, _, name = line.strip().partition("\t" if "\t" in line.strip() else " ")
                if number == 1 and smiles.lower() in SMILES_HEADERS:
                    continue
                yield text_row(number, (smiles, name.strip())) if smiles else \
                    Row(number, (), EMPTY)

    return ["smiles", "name"], rows()


def _txt(path: Path, packing: str, column: str = "text") -> Rows:
    def rows() -> Iterator[Row]:
        with open_text(path, packing) as file:
            for number, line in enumerate(file, 1):
                text = line.strip()
                yield text_row(number, (text,)) if text else Row(number, (), EMPTY)

    return [column], rows()


def _fasta(path: Path, packing: str) -> Rows:
    from scidiff.data.fasta import read_fasta

    return read_fasta(path, packing)


# ---------------------------------------------------------------- binary and structured


def _parquet(path: Path, packing: str) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if packing:
        raise TableError(f"{path.name}: Parquet is packed inside, unpack the file first")
    try:
        names = list(pq.read_schema(path).names)
    except pa.ArrowInvalid as error:
        raise TableError(f"{path.name} is not a Parquet file: {error}") from None

    def rows() -> Iterator[Row]:
        number = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for values in zip(*(c.to_pylist() for c in batch.columns), strict=True):
                    number += 1
                    yield Row(number, values)

    return names, rows()


def _sdf(path: Path, packing: str) -> Rows:
    """Records as canonical SMILES, title and properties; coordinates are left out."""
    from rdkit import Chem, rdBase

    from scidiff.chem.checks import examine
    from scidiff.chem.molecules import canonical

    open_text(path, packing).close()

    def records() -> Iterator[Chem.Mol | None]:
        with open_binary(path, packing) as file, rdBase.BlockLogs():
            yield from Chem.ForwardSDMolSupplier(file, sanitize=False, removeHs=False)

    properties = list(dict.fromkeys(p for m in records() if m for p in m.GetPropNames()))

    def rows() -> Iterator[Row]:
        for number, raw in enumerate(records(), 1):
            if raw is None:
                yield Row(number, (), "an unreadable record")
                continue
            mol, report = examine(raw)
            if mol is None:
                yield Row(number, (), f"{report.rule}: {report.message}")
                continue
            cells = [raw.GetProp(p).strip() if raw.HasProp(p) else "" for p in properties]
            title = raw.GetProp("_Name") if raw.HasProp("_Name") else ""
            yield text_row(number, [canonical(mol) or "", title, *cells])

    return ["smiles", "name", *(p if p not in ("smiles", "name") else f"{p}_property"
                                for p in properties)], rows()


def _xyz(path: Path, packing: str) -> Rows:
    """Molecules whose bonds are found by EDM's rule, as canonical SMILES with their comments;
    coordinates are left out (`data.structures` keeps them)."""
    from scidiff.chem.geometry import examine_points
    from scidiff.chem.molecules import canonical
    from scidiff.data.xyz import read_xyz

    def rows() -> Iterator[Row]:
        for found in read_xyz(path, packing):
            if found.points is None:
                yield Row(found.number, (), found.problem)
                continue
            mol, report = examine_points(found.points)
            if mol is None:
                yield Row(found.number, (), f"{report.rule}: {report.message}")
                continue
            yield text_row(found.number, [canonical(mol) or "", found.name])

    return ["smiles", "name"], rows()


# ---------------------------------------------------------------- graphs


def _graph6(path: Path, packing: str) -> Rows:
    return _txt(path, packing, column="graph")


def _arrays(path: Path, packing: str) -> Rows:
    from scidiff.data.graph_files import arrays

    return arrays(path, packing)


def _graphml(path: Path, packing: str) -> Rows:
    from scidiff.data.graph_files import graphml

    return graphml(path, packing)


GRAPHS = (".g6", ".s6", ".npz", ".graphml")  # files that hold nothing else
FASTA = (".fasta", ".fa", ".fna", ".faa")
READERS: dict[str, Callable[[Path, str], Rows]] = {
    ".csv": _csv, ".tsv": _csv, ".smi": _smi, ".smiles": _smi, ".txt": _txt,
    **dict.fromkeys(FASTA, _fasta),
    ".sdf": _sdf, ".xyz": _xyz, ".parquet": _parquet,
    ".g6": _graph6, ".s6": _graph6, ".npz": _arrays, ".graphml": _graphml,
}


def kind_of_suffix(path: Path) -> str:
    """What a file holds where its suffix says so, else ""."""
    suffixes = {s.lower() for s in path.suffixes}
    return "sequence" if suffixes & set(FASTA) else "graph" if suffixes & set(GRAPHS) else ""
