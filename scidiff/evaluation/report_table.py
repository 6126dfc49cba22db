"""A report in a notebook: a table with a picture of every interval; static HTML with inline styles
only, so that it reads the same where scripts and style sheets are taken off."""

from __future__ import annotations

import html
import math

from scidiff.evaluation.drawing import FONT
from scidiff.evaluation.metric import Metric, Report, short
from scidiff.evaluation.plots import BLUE, GREY, ORANGE
from scidiff.evaluation.report_plots import Strip, strips

WIDTH, HEIGHT = 170, 22  # of one picture, in pixels
HEADINGS = ("metric", "value", "95 % interval", "", "n", "definition")
CELL = "padding:2px 10px;text-align:left;vertical-align:middle"


def report_html(report: Report) -> str:
    """The metrics, one a row, and the notes below."""
    drawn = {strip.metric.name: strip for strip in strips(report)}
    head = "".join(f"<th style='{CELL}'>{h}</th>" for h in HEADINGS)
    body = "".join(_row(m, drawn.get(m.name)) for m in report)
    notes = "".join(f"<div style='white-space:pre-wrap'>{html.escape(line)}</div>"
                    for line in report.notes)
    legend = _legend(list(drawn.values()))
    return (f"<div style=\"font:13px/1.4 {FONT}\"><table style='border-collapse:collapse'>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<div style='opacity:.7;margin:4px 10px'>{legend}</div>{notes}</div>")


def strip_svg(strip: Strip) -> str:
    """A dot with its interval, its floor and published values on one line, as <svg>; pointing at
    a mark says what it is."""
    low, high = strip.ends
    m, middle = strip.metric, HEIGHT / 2

    def at(value: float) -> str:
        return f"{4 + (WIDTH - 8) * (value - low) / (high - low):.1f}"

    parts = [f"<line x1='0' x2='{WIDTH}' y1='{middle}' y2='{middle}' stroke='{GREY}' "
             "stroke-opacity='.5'/>"]
    parts += [_titled(f"<rect x='{at(b.value)}' y='3' width='1.5' height='16' fill='{GREY}'/>",
                      f"{b} ({b.source})") for b in strip.published]
    if math.isfinite(m.low) and math.isfinite(m.high):
        parts.append(f"<line x1='{at(m.low)}' x2='{at(m.high)}' y1='{middle}' y2='{middle}' "
                     f"stroke='{BLUE}' stroke-width='5' stroke-opacity='.45'/>")
    if strip.floor is not None and math.isfinite(strip.floor.value):
        x = float(at(strip.floor.value))
        points = f"{x - 5:g},11 {x:g},6 {x + 5:g},11 {x:g},16"
        parts.append(_titled(f"<polygon points='{points}' fill='{ORANGE}'/>",
                             f"as many training rows: {short(strip.floor.value)}"))
    parts.append(f"<circle cx='{at(m.value)}' cy='{middle}' r='4.5' fill='{BLUE}'/>")
    return (f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}' "
            f"viewBox='0 0 {WIDTH} {HEIGHT}' style='min-width:{WIDTH}px' role='img'>"
            f"{''.join(parts)}</svg>")


def _titled(mark: str, words: str) -> str:
    return f"<g><title>{html.escape(words)}</title>{mark}</g>"


def _row(m: Metric, strip: Strip | None) -> str:
    there = math.isfinite(m.low) and math.isfinite(m.high)
    bounds = f"{short(m.low)} – {short(m.high)}" if there else ""
    picture = "" if strip is None else strip_svg(strip)
    what = m.definition + (f" ({m.note})" if m.note else "")
    method = html.escape(m.method)
    cells = (f"<b style='font-weight:600'>{html.escape(m.name)}</b>", short(m.value),
             f"<span style='white-space:nowrap' title='{method}'>{bounds}</span>", picture,
             f"{m.n:,}",
             f"<span style='opacity:.75'>{html.escape(what)}</span>")
    return "<tr>" + "".join(f"<td style='{CELL}'>{c}</td>" for c in cells) + "</tr>"


def _legend(shown: list[Strip]) -> str:
    """What the marks are that are there."""
    said = ["each line has a scale of its own"]
    if any(s.published for s in shown):
        said.append("grey marks: the published values nearest to it, and the training set's")
    if any(s.floor is not None for s in shown):
        said.append("diamonds: what as many training rows score")
    return "; ".join(said)
