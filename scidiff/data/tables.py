"""A user's file as a table of objects, with every row that could not be used and why."""

from __future__ import annotations

import csv
import lzma
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scidiff.data.formats import FASTA_COLUMNS, Row, TableError, open_rows
from scidiff.messages import nearest

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

COLUMNS = (
    "smiles", "canonical_smiles", "smi", "isomeric_smiles", "structure", "mol", "molecule",
    "sequence", "seq", "dna", "rna", "peptide", "protein", "utr", "text", "graph",
)
_COMMA = re.compile(r"[+-]?\d*,(\d+)(?:[eE][+-]?\d+)?")  # 4,01
_POINT = re.compile(r"\d\.\d")
Check = Callable[[str], str]  # an object -> "" or the one-line reason why it cannot be used


@dataclass(frozen=True)
class Problem:
    """A row that deserves a look."""

    row: int  # from 1: the line in a text file, the row in Parquet, the record in SDF
    text: str
    reason: str
    kept: bool = False  # True: the row is in the table all the same


@dataclass(frozen=True)
class Table:
    """Rows of a file, or of a data set, with one column that holds the objects.

    `data` is an Arrow table; text columns of a file whose every value is a number are numbers,
    with a decimal point or, all of them, a decimal comma.
    """

    data: pa.Table
    column: str  # the objects: SMILES, sequences or other text
    source: str
    problems: tuple[Problem, ...] = ()
    places: NDArray[np.int64] | None = None  # (B,) of the rows, as `Problem.row`; None: in a row

    def __len__(self) -> int:
        return self.data.num_rows

    @property
    def columns(self) -> list[str]:
        return list(self.data.column_names)

    @property
    def rejects(self) -> list[Problem]:
        """The rows that are not in the table."""
        return [p for p in self.problems if not p.kept]

    def objects(self) -> list[str]:
        """The column of objects, in order."""
        return self.data.column(self.column).to_pylist()

    def values(self, column: str) -> list[Any]:
        """Any column as Python values; raises TableError naming the nearest one."""
        return self.data.column(find_column(self.columns, column, self.source)).to_pylist()

    def numbers(self, column: str) -> NDArray[np.float64]:
        """A column as (B,) float64, NaN where a cell is empty or holds no number (`as_numbers`);
        raises TableError for text, where half of the cells or more hold none."""
        values = self.values(column)
        numbers = as_numbers(values)
        words = words_of(values, numbers)
        there = sum(v is not None and v != "" for v in values)
        if words and 2 * len(words) >= there:
            raise TableError(f"{self.source}: column {column!r} is not numeric: {len(words):,} of "
                             f"{there:,} values are not numbers, the first {words[0]!r}")
        return numbers

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Table:
        """Some rows, in the order given; the problems stay those of the whole."""
        rows = np.asarray(rows, np.int64)
        return replace(self, data=self.data.take(rows), places=self.rows[rows])

    @property
    def rows(self) -> NDArray[np.int64]:
        """Where each row of the table was (B,), as `Problem.row`."""
        return np.arange(1, len(self) + 1) if self.places is None else self.places

    def frame(self) -> pd.DataFrame:
        return self.data.to_pandas()

    def problem_frame(self) -> pd.DataFrame:
        """The problems as columns row, text, reason, kept."""
        import pandas as pd

        cells = [(p.row, p.text, p.reason, p.kept) for p in self.problems]
        return pd.DataFrame(cells, columns=["row", "text", "reason", "kept"])

    def summary(self) -> str:
        """One line: rows kept, rows rejected and the first reason."""
        line = f"{self.source}: {len(self):,} rows of {self.column!r}"
        if not self.problems:
            return line
        first = self.problems[0]
        return (f"{line}, {len(self.rejects):,} rejected, {len(self.problems):,} problems; "
                f"first: row {first.row}: {first.reason}")


def read(path: str | Path, column: str | None = None, check: Check | None = None) -> Table:
    """Read a whole file; see `stream` for its arguments."""
    import pyarrow as pa

    parts = list(stream(path, column, check))
    data = pa.concat_tables([p.data for p in parts], promote_options="permissive")
    typed = pa.table({name: data[name] if name == parts[0].column else _typed(data[name])
                      for name in data.column_names})
    return replace(parts[0], data=typed, problems=tuple(q for p in parts for q in p.problems),
                   places=np.concatenate([p.rows for p in parts]))


def stream(
    path: str | Path, column: str | None = None, check: Check | None = None, rows: int = 65_536
) -> Iterator[Table]:
    """Read a file in tables of up to `rows` rows, in bounded memory; text columns stay text.

    `column` names the objects; without it the first known name is taken (smiles, sequence, ...),
    or the only column there is. `check` says why an object cannot be used, or "". Rows with a
    wrong number of fields, an empty object, or a reason from `check` are in `problems` and not in
    the table; a FASTA name that came before is in both. Raises TableError for a file that cannot
    be read and for a column that is not there. At least one table is yielded.
    """
    path = Path(path)
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    try:
        names, source = open_rows(path)
        chosen = choose_column(names, column, path.name)
        yield from _tables(source, _Sorter(path, names, chosen, check), rows)
    except (EOFError, OSError, csv.Error, zlib.error, lzma.LZMAError) as error:
        raise TableError(f"{path.name} cannot be read: {error}") from None


def find_column(names: Sequence[str], wanted: str, source: str) -> str:
    """The column `wanted`; raises TableError listing the columns and naming the nearest."""
    if wanted in names:
        return wanted
    hint = nearest(wanted, names, cutoff=0.5)
    raise TableError(f"{source} has no column {wanted!r}; its columns: {', '.join(names)}{hint}")


def choose_column(names: Sequence[str], wanted: str | None, source: str) -> str:
    """The column of objects: the one asked for, else the first known name, else the only one."""
    if wanted is not None:
        return find_column(names, wanted, source)
    if list(names[:3]) == FASTA_COLUMNS:  # its labels may have any name
        return FASTA_COLUMNS[1]
    folded = {n.lower().replace(" ", "_"): n for n in reversed(names)}
    for known in COLUMNS:
        if known in folded:
            return folded[known]
    if len(names) == 1:
        return names[0]
    raise TableError(f"{source}: which column holds the objects? none of {', '.join(names)} has a "
                     "known name (smiles, sequence, ...); name it: column=, or --column")


def column_of(given: Any, wanted: str | None = None) -> Any:
    """The objects of a pandas DataFrame, its column found as in a file, a missing cell as "";
    anything else as it is."""
    import pandas as pd

    if not isinstance(given, pd.DataFrame):
        return given
    names = [str(name) for name in given.columns]
    cells = given.iloc[:, names.index(choose_column(names, wanted, "the DataFrame"))]
    return ["" if gone else cell for cell, gone in zip(cells, cells.isna(), strict=True)]


class _Sorter:
    """Decides row by row what enters the table and what is a problem."""

    def __init__(self, path: Path, names: list[str], column: str, check: Check | None) -> None:
        self.path, self.names, self.column, self.check = path, names, column, check
        self.place = names.index(column)
        self.seen: dict[str, int] | None = {} if names[:2] == ["name", "sequence"] else None
        self.first: list[Problem] = []
        if len(names) == 1 and column.lower() not in COLUMNS:
            self.first = [Problem(1, column, "taken as the name of the column", kept=True)]

    def __call__(self, row: Row) -> Problem | None:
        text = row.values[self.place] if self.place < len(row.values) else " ".join(row.values)
        if row.problem:
            return Problem(row.number, str(text), row.problem)
        if text is None or text == "":
            return Problem(row.number, "", f"no value in column {self.column!r}")
        if not isinstance(text, str):
            return Problem(row.number, repr(text), f"expected text, got {type(text).__name__}")
        if self.check is not None and (reason := self.check(text)):
            return Problem(row.number, text, reason)
        return self._repeated(row)

    def _repeated(self, row: Row) -> Problem | None:
        if self.seen is None:
            return None
        name = row.values[0]
        first = self.seen.setdefault(name, row.number)
        if first == row.number:
            return None
        return Problem(row.number, name, f"name {name!r} was used on line {first}", kept=True)


def _tables(source: Iterator[Row], sort: _Sorter, size: int) -> Iterator[Table]:
    import pyarrow as pa

    problems, yielded = list(sort.first), False
    while batch := list(islice(source, size)):
        found = [sort(row) for row in batch]
        problems += [p for p in found if p]
        kept = [r for r, p in zip(batch, found, strict=True) if p is None or p.kept]
        cells = [r.values for r in kept]
        columns = zip(*cells, strict=True) if cells else ([] for _ in sort.names)
        data = pa.table({name: pa.array(list(column))
                         for name, column in zip(sort.names, columns, strict=True)})
        places = np.array([r.number for r in kept], np.int64)
        yield Table(data, sort.column, sort.path.name, tuple(problems), places)
        problems, yielded = [], True
    if not yielded:
        raise TableError(f"{sort.path.name} has a header but no rows")


def as_numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Cells as (B,) float64, NaN for those that are empty or hold no number: '>8', 'n.d.'. A comma
    is a decimal point where it is in some cells, no cell has a point and they do not all have the
    three digits behind it of 1,234."""
    texts = [v for v in values if isinstance(v, str)]
    commas = _decimal_commas(texts)

    def number(value: Any) -> float:
        try:
            return float(value.replace(",", ".") if commas and isinstance(value, str) else value)
        except (TypeError, ValueError):
            return math.nan

    return np.array([number(v) for v in values], np.float64)


def words_of(values: Sequence[Any], numbers: Iterable[float]) -> list[str]:
    """The cells, not empty, in which `as_numbers` found none of these numbers, as text."""
    return [str(v) for v, x in zip(values, numbers, strict=True)
            if math.isnan(x) and v is not None and str(v).strip().lower() not in ("", "nan")]


def _decimal_commas(texts: Sequence[str]) -> bool:
    behind = [len(m[1]) for text in texts if (m := _COMMA.fullmatch(text.strip()))]
    return any(digits != 3 for digits in behind) and not any(map(_POINT.search, texts))


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text whose every value is a number becomes int64 or float64; names like 007 stay text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(column.type):
        return column
    cells = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    padded = pc.any(pc.match_substring_regex(cells, r"^-?0\d")).as_py()
    if cells.null_count == len(cells) or padded:
        return column
    for kind in (pa.int64(), pa.float64()):
        try:
            return cells.cast(kind)
        except pa.ArrowInvalid:
            continue
    first = next(cell.as_py() for cell in cells if cell.is_valid).replace(",", ".")
    if words_of([first], as_numbers([first])):
        return column  # most text is told by its first cell
    values = cells.to_pylist()
    numbers = as_numbers(values)
    return column if words_of(values, numbers) else pa.array(numbers, from_pandas=True)


def smiles_reason(smiles: str) -> str:
    """A `check` for `read` and `stream`: why RDKit refuses a SMILES, or ""."""
    from scidiff.chem.checks import check

    report = check(smiles)
    return "" if report.valid else f"{report.rule}: {report.message}"
