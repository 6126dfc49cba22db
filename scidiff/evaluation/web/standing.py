"""Metrics of all runs in one table, with their intervals and the published values of the same
convention beside them: static HTML and SVG, good without a script."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence

from scidiff.evaluation.baselines import TAGS, Baseline, baselines, comparable
from scidiff.evaluation.metric import LABELS, Metric
from scidiff.evaluation.web.contents import Contents, Run

WIDE, HIGH, PAD = 250, 15, 8  # of a strip of values, in pixels; HIGH a run
NEAR, WORDS = 8, 4  # published values on a strip, beside the training set's, and in words


def metrics_table(contents: Contents) -> str:
    """A row a metric, a column a run, and a strip with every value on one axis."""
    names = list(dict.fromkeys(m.name for run in contents.runs for m in run.metrics))
    if not names:
        return ""
    heads = "".join(f"<th scope='col'><i class='run run{i}'></i>{html.escape(run.name)}</th>"
                    for i, run in enumerate(contents.runs))
    body = "".join(_line(name, contents) for name in names)
    return (f"<table class='metrics'><thead><tr><th scope='col'>metric</th>{heads}"
            f"<th scope='col'>{_strip_title(contents)}</th></tr></thead>"
            f"<tbody>{body}</tbody></table>{_below(contents)}")


def _strip_title(contents: Contents) -> str:
    return "with 95 % interval" + (", and published values of the same convention"
                                   if contents.suite else "")


def _line(name: str, contents: Contents) -> str:
    found = [next((m for m in run.metrics if m.name == name), None) for run in contents.runs]
    first = next(m for m in found if m is not None)
    cells = "".join(f"<td class='n'>{_cell(m)}</td>" for m in found)
    known = comparable_values(found, contents.runs, contents.suite)
    near = nearest(found, known)
    return (f"<tr><th scope='row' title=\"{html.escape(first.definition)}\">"
            f"{html.escape(LABELS.get(name, name))}</th>{cells}"
            f"<td>{_strip(found, near, contents.runs)}{_words(near, len(known))}</td></tr>")


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return "–"
    about = f"n = {metric.n:,}" + (f"; {metric.method}" if metric.method else "") + (
        f"; {metric.note}" if metric.note else "")
    bounds = "" if math.isnan(metric.low) or math.isnan(metric.high) else (
        f"<small>{short(metric.low)} – {short(metric.high)}</small>")
    return (f"<span title=\"{html.escape(about)}\"><b>{short(metric.value)}</b>"
            f"{bounds}</span>")


def short(value: float) -> str:
    """A number of at most four digits, a dash for none."""
    return f"{value:.4g}" if math.isfinite(value) else "–"


def comparable_values(found: Sequence[Metric | None], runs: Sequence[Run], suite: str
                      ) -> list[Baseline]:
    """Published values that may stand beside every run that has the metric."""
    if not suite:
        return []
    there = [(m, run.measured) for m, run in zip(found, runs, strict=True)
             if m is not None and math.isfinite(m.value)]
    return [b for b in baselines(suite, metric=there[0][0].name)
            if all(comparable(m, rows, b) for m, rows in there)] if there else []


def nearest(found: Sequence[Metric | None], known: Sequence[Baseline]) -> list[Baseline]:
    """The training set's own value, then those nearest to any of ours: far ones would squeeze the
    axis."""
    there = [m.value for m in found if m is not None and math.isfinite(m.value)]
    first = [b for b in known if b.model.startswith("Train")]
    others = sorted((b for b in known if b not in first),
                    key=lambda b: min(abs(b.value - v) for v in there))
    return [*first, *others[:NEAR]]


def _words(near: Sequence[Baseline], known: int) -> str:
    """The nearest published values in words, for paper and for who does not hover."""
    if not near:
        return ""
    left = f" · {known - WORDS} more" if known > WORDS else ""
    return f"<small>{html.escape(' · '.join(map(str, near[:WORDS])) + left)}</small>"


def _strip(found: Sequence[Metric | None], known: Sequence[Baseline], runs: Sequence[Run]
           ) -> str:
    """An axis with a line an interval and a dot a value; published values are grey ticks."""
    there = {i: m for i, m in enumerate(found) if m is not None and math.isfinite(m.value)}
    if not there:
        return ""
    ends = [e for m in there.values() for e in (m.value, m.low, m.high) if math.isfinite(e)]
    low, high = min([*ends, *(b.value for b in known)]), max([*ends, *(b.value for b in known)])
    # two values that nearly agree must not lie at the two ends
    room = max(high - low, 0.02 * max(abs(high), abs(low))) or 1.0

    def x(value: float) -> float:
        middle = (low + high) / 2
        return WIDE / 2 + (value - middle) / room * (WIDE - 2 * PAD)

    tall = HIGH * len(found) + 4
    ticks = "".join(
        f"<path class='tick' d='M{x(b.value):.1f} 1V{tall - 1}'><title>{html.escape(_told(b))}"
        "</title></path>" for b in known)
    marks = "".join(_mark(m, x, HIGH * i + HIGH / 2 + 2, i, runs[i].name)
                    for i, m in there.items())
    return (f"<svg class='strip' width='{WIDE}' height='{tall}' viewBox='0 0 {WIDE} {tall}' "
            f"role='img' aria-label='values on one axis'>{ticks}{marks}</svg>")


def _mark(m: Metric, x: Callable[[float], float], y: float, run: int, name: str) -> str:
    line = "" if math.isnan(m.low) or math.isnan(m.high) else (
        f"<path class='interval' d='M{x(m.low):.1f} {y}H{x(m.high):.1f}'/>")
    return (f"<g class='run{run}'>{line}<circle cx='{x(m.value):.1f}' cy='{y}' r='3.6'/>"
            f"<title>{html.escape(f'{name}: {m}')}</title></g>")


def _told(b: Baseline) -> str:
    unsure = "; second-hand, not checked against the paper" if TAGS[b.tag] else ""
    rows = f"; {b.n:,} rows" if b.n else ""
    data = f"{b.data}: " if b.data != b.suite else ""
    return f"{data}{b.model}: {b.value:.4g}{rows}{unsure}; {b.source}"


def _below(contents: Contents) -> str:
    lines = []
    if len({run.measured for run in contents.runs}) > 1:
        lines.append("The inputs have different numbers of rows, and metrics such as the FCD, "
                     "unique shares and diversity depend on it.")
    lines += refused(contents)
    if any("?" in TAGS[b.tag] for b in _all_known(contents)):
        lines.append("? second-hand, not checked against the paper.")
    return "".join(f"<p class='hint'>{html.escape(line)}</p>" for line in lines)


def _all_known(contents: Contents) -> list[Baseline]:
    return [b for metrics in _by_name(contents).values()
            for b in comparable_values(metrics, contents.runs, contents.suite)]


def _by_name(contents: Contents) -> Mapping[str, list[Metric | None]]:
    names = dict.fromkeys(m.name for run in contents.runs for m in run.metrics)
    return {n: [next((m for m in run.metrics if m.name == n), None) for run in contents.runs]
            for n in names}


def refused(contents: Contents) -> list[str]:
    """One line: which metrics have published values of another convention only, and why."""
    if not contents.suite:
        return []
    names, sizes = [], set()
    for name, metrics in _by_name(contents).items():
        known = baselines(contents.suite, metric=name)
        there = any(m is not None and math.isfinite(m.value) for m in metrics)
        if there and known and not comparable_values(metrics, contents.runs, contents.suite):
            names.append(name)
            sizes |= {b.n for b in known}
    if not names:
        return []
    rows = " and ".join(f"{n:,}" for n in sorted({run.measured for run in contents.runs}))
    published = " and ".join(f"{n:,}" for n in sorted(sizes))
    return [f"Not compared with published values: {', '.join(names)} depend on the number of "
            f"rows, published are {published}, here {rows}."]
