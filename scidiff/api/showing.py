"""A result as HTML: a strip and a grid in a notebook, a report in a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rdkit.Chem import Mol

from scidiff.api.saving import plain
from scidiff.evaluation.description import SHOWN, graph_values, property_values
from scidiff.evaluation.drawing import Card, grid_svg
from scidiff.evaluation.plots import TITLES
from scidiff.evaluation.report import LABELS, Page, Table, metric_strip, note_lines, report

if TYPE_CHECKING:
    from scidiff.api.results import SampleResult

GRID = 24  # rows of a grid
TABLE_ROWS = 200  # rows of a report
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


def page_of(result: SampleResult, first: Mapping[str, str] | None = None) -> str:
    """The report of a result as one HTML page, with pictures of one's own (caption -> <svg>)
    first."""
    made = "Designs" if "score" in result.columns else "Samples"
    source = f" from {result.provenance['model']}" if "model" in result.provenance else ""
    rows = {name: values[:TABLE_ROWS] for name, values in result.columns.items()}
    return report(Page(
        title=made + source,
        subtitle=_subtitle(result),
        metrics=result.metrics(),
        notes=result.notes,
        plots={**(first or {}), **(_figures(result) if result.valid.any() else {})},
        reasons=result.description.reasons,
        table=Table([_card(result, i) for i in range(min(TABLE_ROWS, len(result)))],
                    {**rows, **_measured(result)}, len(result)),
        provenance=plain(result.provenance),
    ))


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


def _subtitle(result: SampleResult) -> str:
    facts = [f"{len(result):,} rows", f"{int(result.valid.sum()):,} valid"]
    design = result.provenance.get("design", {})
    facts += [f"{k} {design[k]}" for k in ("reward", "method", "budget") if k in design]
    facts += [f"{k} {result.provenance[k]}" for k in ("seed", "scidiff") if k in result.provenance]
    return " · ".join(facts)


def _figures(result: SampleResult) -> dict[str, str]:
    found = {"Properties of the valid rows; lines mark the medians":
             result.plot.properties().svg()}
    if "score" in result.columns:
        found["Scores from the best down (mean dashed), and the terms of the reward; "
              "boxes span the quartiles"] = result.plot.scores().svg()
    # equal pages give equal bytes, whatever extras are installed
    found["Map: neighbours are similar"] = result.plot.space(method="pca").svg()
    return found


def _measured(result: SampleResult) -> dict[str, Sequence[float]]:
    """Properties of the rows of a report, NaN for invalid ones."""
    if result.kind == "graph":
        return _measured_graphs(result)
    mols = [_drawn(result, i) for i in range(min(len(result), TABLE_ROWS))]
    if result.kind != "molecule":
        return {}
    found = property_values([m for m in mols if m is not None])
    values = {name: iter(found[name].tolist()) for name in SHOWN}
    return {LABELS[name]: [math.nan if m is None else next(values[name]) for m in mols]
            for name in SHOWN}


def _measured_graphs(result: SampleResult) -> dict[str, Sequence[float]]:
    rows = result.records[:TABLE_ROWS]
    found = graph_values([r for r in rows if r.valid])
    values = {name: iter(column.tolist()) for name, column in found.items()}
    return {TITLES[name]: [next(values[name]) if r.valid else math.nan for r in rows]
            for name in found}
