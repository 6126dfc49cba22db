"""A pool of scored objects as a person has it: a file, a table, a result or the folder of a
campaign."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scidiff.api.model import Model
from scidiff.core import ScidiffError
from scidiff.data import tables
from scidiff.data.tables import Problem, Table, words_of
from scidiff.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_log = logging.getLogger("scidiff")
ASKED = "asked.csv"  # what a campaign's folder holds of every object that was asked


@dataclass(frozen=True)
class ScoredPool:
    """Objects in the model's own text, and what each is worth."""

    texts: list[str]
    values: list[float]
    problems: tuple[Problem, ...] = ()
    source: str = "pool"

    @property
    def digest(self) -> str:
        """SHA-256 of texts and values."""
        return hashlib.sha256(repr((self.texts, self.values)).encode()).hexdigest()


def read_pool(
    pool: Any, model: Model, column: str | None = None, score: str = "score"
) -> ScoredPool:
    """Read a CSV or Parquet file, a DataFrame, a result of `sd.design` (all that it asked) or a
    campaign's folder.

    A row without a score, whose `status` is not ok, or which the model cannot hold is a problem
    and not in the pool. Raises ScidiffError where no column or row has a score, or where all
    scores are equal.
    """
    table = _table(pool, column)
    if score not in table.columns:
        near = [name for name in table.columns if "score" in name.lower()]
        hint = f"; did you mean score={near[0]!r}?" if near else ""
        raise ScidiffError(
            f"{table.source} is not scored: it has no column {score!r}, its columns are "
            f"{', '.join(table.columns)}{hint}"
        )
    found = _usable(table, model, score)
    if not found.texts:
        first = found.problems[0].reason if found.problems else "it is empty"
        raise ScidiffError(f"{table.source}: no row can be learned from: {first}")
    if len(set(found.values)) < 2:
        raise ScidiffError(
            f"{table.source}: all {len(found.values)} scores are {found.values[0]:g}; there is "
            "nothing to prefer, so nothing to learn"
        )
    return found


def tell_problems(pool: ScoredPool, out: Path) -> None:
    """Write the rows that were left out to `out`/rejects.csv, and say so."""
    if not pool.problems:
        return
    import pandas as pd

    cells = [(p.row, p.text, p.reason) for p in pool.problems]
    frame = pd.DataFrame(cells, columns=["row", "text", "reason"])
    write_atomically(out / "rejects.csv", frame.to_csv(index=False).encode())
    _log.warning(
        "%s: %d of %d rows left out, first: %s; see %s", pool.source, len(cells),
        len(cells) + len(pool.texts), pool.problems[0].reason, out / "rejects.csv",
    )  # fmt: skip


def _usable(table: Table, model: Model, score: str) -> ScoredPool:
    cells, values = table.values(score), table.numbers(score)
    status = table.values("status") if "status" in table.columns else ["ok"] * len(table)
    texts: list[str] = []
    kept: list[float] = []
    problems = list(table.problems)
    for row, text, cell, value, said in zip(
        table.rows.tolist(), table.objects(), cells, values.tolist(), status, strict=True
    ):
        reason = _problem(text, cell, value, said, model)
        if reason:
            problems.append(Problem(row, str(text), reason))
        else:
            texts.append(model.domain.spell(text))
            kept.append(value)
    problems.sort(key=lambda problem: problem.row)
    return ScoredPool(texts, kept, tuple(problems), table.source)


def _problem(text: Any, cell: Any, value: float, status: Any, model: Model) -> str:
    """Why a row cannot be learned from, whose `cell` says a score of `value`, or ""."""
    if not isinstance(text, str) or not text:
        return "no object"
    if str(status).lower() != "ok":
        return f"its status is {status}"
    if words_of([cell], [value]):
        return f"its score {cell!r} is not a number"
    if not math.isfinite(value):
        return "no score" if math.isnan(value) else f"its score is {value}"
    return model.unreadable(text)


def _table(pool: Any, column: str | None) -> Table:
    if isinstance(pool, str | Path):
        path = Path(pool)
        if path.is_dir():
            if not (path / ASKED).is_file():
                raise FileNotFoundError(
                    f"{path} is not the folder of a finished campaign: it has no {ASKED}"
                )
            path = path / ASKED
        return tables.read(path, column)
    import pandas as pd
    import pyarrow as pa

    found = getattr(pool, "asked", pool)  # of a design, all that was asked
    found = found.to_frame() if hasattr(found, "to_frame") else found
    if not isinstance(found, pd.DataFrame):
        raise ValueError(
            "pool must be a file, a DataFrame, a result or a campaign's folder, got "
            f"{type(pool).__name__}"
        )
    names = [str(name) for name in found.columns]
    columns = [_column(found.iloc[:, i]) for i in range(len(names))]
    return Table(pa.table(columns, names), tables.choose_column(names, column, "pool"), "pool")


def _column(cells: pd.Series) -> pa.Array:
    """A column of a DataFrame; where it holds Python objects, all of them as text."""
    import pyarrow as pa

    if cells.dtype != object:
        return pa.array(cells, from_pandas=True)
    there = cells.notna()
    return pa.array([str(v) if known else None for v, known in zip(cells, there, strict=True)],
                    pa.string())
