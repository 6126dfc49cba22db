"""A result as one self-contained HTML page: no network, two lines of script, good on paper."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scidiff.evaluation.drawing import FONT, Card, picture_svg
from scidiff.evaluation.metric import Metric
from scidiff.evaluation.page import SCRIPT, STYLE

LABELS = {"valid": "valid", "unique": "unique", "novel": "novel", "qed": "QED", "logp": "logP",
          "internal_diversity": "internal diversity", "sa": "SA score", "mw": "weight, g/mol"}
SHARES = ("valid", "unique", "novel")
ROW_WIDTH, ROW_HEIGHT = 170, 112


@dataclass(frozen=True)
class Table:
    """Rows of a report: what is drawn, and the values beside it."""

    cards: Sequence[Card]
    columns: Mapping[str, Sequence[Any]]  # name -> one value a row
    total: int  # rows of the result, of which these are the first


@dataclass(frozen=True)
class Page:
    """What a report shows; parts that are empty are left out."""

    title: str
    subtitle: str = ""
    metrics: Sequence[Metric] = ()
    notes: Sequence[str] = ()  # certificate, cost
    plots: Mapping[str, str] = field(default_factory=dict)  # caption -> <svg>
    reasons: Mapping[str, int] = field(default_factory=dict)  # why rows are invalid, how often
    table: Table | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


def report(page: Page) -> str:
    """Write the page; equal pages give equal bytes."""
    parts = [
        f"<header><h1>{html.escape(page.title)}</h1><p>{html.escape(page.subtitle)}</p></header>",
        metric_strip(page.metrics) if page.metrics else "",
        _section("How far to trust it, and what it cost", note_lines(page.notes), page.notes),
        _section("Distributions", f"<div class='plots'>{_figures(page.plots)}</div>", page.plots),
        _section("Why rows are invalid", _reasons(page.reasons), page.reasons),
        rows_table(page.table) if page.table is not None and page.table.cards else "",
        _section("Provenance", _provenance(page.provenance), page.provenance),
    ]
    return ("<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width,initial-scale=1'>"
            f"<title>{html.escape(page.title)}</title><style>{STYLE}</style></head>\n<body>"
            + "\n".join(p for p in parts if p) + f"\n<script>{SCRIPT}</script></body></html>\n")


def metric_strip(metrics: Sequence[Metric]) -> str:
    """Numbers side by side with their 95 % intervals; inline styles, for notebooks too."""
    boxes = "".join(
        "<div style='min-width:88px' title=\"" + html.escape(_definition(m)) + "\">"
        "<div style='font-size:11px;opacity:.7'>"
        f"{html.escape(LABELS.get(m.name, m.name))}</div>"
        f"<div style='font-size:19px;font-weight:600;line-height:1.25'>{_value(m.name, m.value)}"
        f"</div><div style='font-size:11px;opacity:.7'>{_beside(m) or '&nbsp;'}</div></div>"
        for m in metrics)
    return (f"<div class='strip' style=\"display:flex;flex-wrap:wrap;gap:10px 26px;"
            f"margin:6px 0 12px;font-family:{FONT}\">{boxes}</div>")


def note_lines(notes: Sequence[str]) -> str:
    """Lines of text, one under the other."""
    return "".join(f"<div class='note' style=\"font:13px {FONT};margin:0 0 6px\">"
                   f"{html.escape(line)}</div>" for line in notes)


def rows_table(table: Table) -> str:
    """Rows with drawings; a click on a heading sorts."""
    names = list(table.columns)
    head = "".join(f"<th>{html.escape(h)}</th>" for h in ("row", "", "as written", *names, "note"))
    numbers = {n: [_sort_value(v) for v in table.columns[n]] for n in names}
    body = "".join(_row(i, card, {n: (table.columns[n][i], numbers[n][i]) for n in names})
                   for i, card in enumerate(table.cards))
    count = f"{table.total:,} rows" if len(table.cards) == table.total else (
        f"The first {len(table.cards):,} of {table.total:,} rows")
    return (f"<section><h2>Rows</h2><p class='hint'>{count}; click a heading to sort.</p>"
            f"<table class='rows'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            "</section>")


def _row(i: int, card: Card, values: Mapping[str, tuple[Any, str]]) -> str:
    cells = "".join(
        f"<td class='n' data-v='{html.escape(key)}'>{html.escape(cell_text(value))}</td>"
        for value, key in values.values())
    picture = picture_svg(card, ROW_WIDTH, ROW_HEIGHT) or (
        "<span class='none'>no picture</span>" if card.reason else "")
    mark = " class='wrong'" if card.reason else ""
    return (f"<tr{mark}><td class='n' data-v='{i}'>{i}</td><td class='p'>{picture}</td>"
            f"<td class='t'>{html.escape(card.text) or '(nothing)'}</td>{cells}"
            f"<td>{html.escape(card.reason)}</td></tr>\n")


def cell_text(value: Any) -> str:
    """A value of a cell: numbers short, what is missing as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _sort_value(value: Any) -> str:
    """What a cell is sorted by; a missing number comes after all others, best first."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-1e999"
    return repr(float(value)) if isinstance(value, bool | int | float) else str(value)


def _section(title: str, body: str, there: Any) -> str:
    return f"<section><h2>{title}</h2>{body}</section>" if there else ""


def _figures(plots: Mapping[str, str]) -> str:
    return "".join(f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"
                   for caption, svg in plots.items())


def _reasons(reasons: Mapping[str, int]) -> str:
    most = max(reasons.values(), default=1)
    rows = "".join(
        f"<tr><td class='n'>{n:,}</td><td class='bar'><i style='width:{100 * n / most:.0f}%'></i>"
        f"</td><td>{html.escape(reason)}</td></tr>" for reason, n in reasons.items())
    return f"<table class='reasons'>{rows}</table>"


def _provenance(facts: Mapping[str, Any]) -> str:
    text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False)
    return f"<pre>{html.escape(text)}</pre>"


def _definition(m: Metric) -> str:
    return f"{m.definition}; n = {m.n:,}" + (f"; {m.note}" if m.note else "")


def _value(name: str, value: float) -> str:
    if not math.isfinite(value):
        return "–"
    if name in SHARES or name.startswith("unique@"):
        return f"{100 * value:.3g} %" if value < 0.9995 or value == 1 else f"{100 * value:.2f} %"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _beside(m: Metric) -> str:
    """The interval, or else the note."""
    if math.isfinite(m.low) and math.isfinite(m.high):
        return f"{_value(m.name, m.low)} – {_value(m.name, m.high)}"
    return html.escape(m.note)
