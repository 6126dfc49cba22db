"""A result in a notebook: a strip of metrics and a grid of its first rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rdkit.Chem import Mol

from scidiff.evaluation.description import property_values
from scidiff.evaluation.drawing import Card, grid_svg
from scidiff.evaluation.metric import LABELS
from scidiff.evaluation.strip import metric_strip, note_lines

if TYPE_CHECKING:
    from scidiff.api.results import SampleResult

GRID = 24  # rows of a grid
OWN_PLACE = ("score", "log_w", "status")  # columns that are no terms of a reward


def cards_of(result: SampleResult, rows: int = GRID) -> list[Card]:
    """The first rows as they are drawn: a score and its terms below, or else properties."""
    return [_card(result, i, _caption(result, i)) for i in range(min(rows, len(result)))]


def _card(result: SampleResult, row: int, caption: tuple[str, ...] = ()) -> Card:
    record = result.records[row]
    return Card(record.text, _drawn(result, row), record.reason, caption, _graph(result, row))


def notebook_html(result: SampleResult) -> str:
    """Metrics, notes and the first rows as static HTML: no script, no style sheet."""
    more = [f"first {GRID} of {len(result):,} rows"] if len(result) > GRID else []
    return (f"<div>{metric_strip(result.metrics())}{note_lines([*result.notes, *more])}"
            f"{grid_svg(cards_of(result))}</div>")


def _drawn(result: SampleResult, row: int) -> Mol | None:
    record = result.records[row]
    return record.obj if result.kind == "molecule" and record.valid else None


def _graph(result: SampleResult, row: int) -> Any:
    """The networkx graph of a row, or None."""
    record = result.records[row]
    return record.obj if result.kind == "graph" and record.valid else None


def _caption(result: SampleResult, row: int) -> tuple[str, ...]:
    mol, columns = _drawn(result, row), result.columns
    if "score" not in columns:
        graph = _graph(result, row)
        if graph is not None:
            return (f"{len(graph)} nodes · {graph.number_of_edges()} edges",)
        own = {} if mol is None else {LABELS[k].split()[0]: float(v[0])
                                      for k, v in property_values([mol]).items() if k != "mw"}
        return _joined(own)
    status = columns["status"][row] if "status" in columns else "ok"
    first = f"score {columns['score'][row]:.3f}" if status == "ok" else f"unscored: {status}"
    return first, *_joined({k: v[row] for k, v in columns.items() if k not in OWN_PLACE})


def _joined(facts: dict[str, Any]) -> tuple[str, ...]:
    """The first three numbers in one line, or no line."""
    parts = [f"{_short(name)} {value:.3g}" for name, value in facts.items()
             if isinstance(value, int | float) and not math.isnan(value)]
    return (" · ".join(parts[:3]),) if parts else ()


def _short(name: str) -> str:
    """A term's name in a caption: the function without what it was given."""
    head, called, _ = name.partition("(")
    return head[:14] + ("(…)" if called else "")
