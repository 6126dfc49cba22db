"""Metrics and notes as static HTML with inline styles: what a notebook shows above the rows."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from scidiff.evaluation.drawing import FONT
from scidiff.evaluation.metric import LABELS, Metric

SHARES = ("valid", "unique", "novel")


def metric_strip(metrics: Sequence[Metric]) -> str:
    """Numbers side by side with their 95 % intervals."""
    boxes = "".join(
        "<div style='min-width:88px' title=\"" + html.escape(_definition(m)) + "\">"
        "<div style='font-size:11px;opacity:.7'>"
        f"{html.escape(LABELS.get(m.name, m.name))}</div>"
        f"<div style='font-size:19px;font-weight:600;line-height:1.25'>{_value(m.name, m.value)}"
        f"</div><div style='font-size:11px;opacity:.7'>{_beside(m) or '&nbsp;'}</div></div>"
        for m in metrics)
    return (f"<div style=\"display:flex;flex-wrap:wrap;gap:10px 26px;margin:6px 0 12px;"
            f"font-family:{FONT}\">{boxes}</div>")


def note_lines(notes: Sequence[str]) -> str:
    """Lines of text, one under the other."""
    return "".join(f"<div style=\"font:13px {FONT};margin:0 0 6px\">{html.escape(line)}</div>"
                   for line in notes)


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
