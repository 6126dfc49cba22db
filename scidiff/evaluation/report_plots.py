"""A report as a picture: every metric as a dot with its interval, beside published values of the
same convention and, where one was measured, its floor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from scidiff.evaluation.baselines import Baseline, baselines, comparable
from scidiff.evaluation.drawing import FAINT, INK, LINE
from scidiff.evaluation.intervals import REPEATS, WILSON
from scidiff.evaluation.metric import Metric, Report
from scidiff.evaluation.plots import BLUE, ORANGE, Picture, shortened

FLOOR = "_floor"  # the end of the name of what as many training rows score
BESIDE = 1  # published values below and above that are shown
STRIP = 0.46  # inches


@dataclass(frozen=True)
class Strip:
    """What one line of the picture shows."""

    metric: Metric
    floor: Metric | None
    published: tuple[Baseline, ...]  # by value

    @property
    def ends(self) -> tuple[float, float]:
        """The part of the axis that is shown: all that stands on it, from 0 where nothing is
        published, to 1 for shares."""
        m = self.metric
        there = [m.value, m.low, m.high, *(b.value for b in self.published)]
        there += [] if self.floor is None else [self.floor.value]
        there = [v for v in there if math.isfinite(v)]
        if not self.published:
            there += [0.0, 1.0] if m.method in (WILSON, REPEATS) else [0.0]  # shares
        low, high = min(there), max(there)
        pad = 0.08 * (high - low) or 0.08 * abs(high) or 1.0
        return low - pad, high + pad


def strips(report: Report) -> list[Strip]:
    """One line a metric that has a value; its floor stands on it."""
    suite, rows = str(report.provenance.get("suite", "")), int(report.provenance.get("rows", 0))
    named: Mapping[str, Metric] = {m.name: m for m in report}
    found = []
    for metric in report:
        own = metric.name.removesuffix(FLOOR) in named and metric.name.endswith(FLOOR)
        if math.isfinite(metric.value) and not own:
            known = [b for b in baselines(suite, metric=metric.name)
                     if comparable(metric, rows, b)]
            floor = named.get(metric.name + FLOOR)
            found.append(Strip(metric, floor, nearby(metric.value, known)))
    return found


def nearby(value: float, known: Sequence[Baseline]) -> tuple[Baseline, ...]:
    """The training set's value, and the nearest models' below and above, in order."""
    train = [b for b in known if b.model.startswith("Train")]
    # one of equal values: a table that cites another one repeats it
    apart = {f"{b.value:.3g}": b for b in sorted(known, key=lambda b: (-len(b.model), b.model))}
    models = sorted((b for b in apart.values() if b not in train), key=lambda b: b.value)
    below = [b for b in models if b.value <= value][-BESIDE:]
    above = [b for b in models if b.value > value][:BESIDE]
    return tuple(sorted([*train, *below, *above], key=lambda b: b.value))


def intervals(report: Report) -> Picture:
    """Draw a report; each line has a scale of its own."""
    lines = strips(report)
    picture = Picture(figsize=(8.6, STRIP * max(len(lines), 2) + 0.4))
    picture.subplots_adjust(0.23, 0.3 / (STRIP * max(len(lines), 2) + 0.4), 0.77, 0.995, hspace=0)
    layout = picture.add_gridspec(max(len(lines), 1), 1)
    if not lines:
        axes = picture.add_subplot(layout[0, 0])
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no metric has a value", ha="center", va="center", color=FAINT)
    for i, strip in enumerate(lines):
        _draw(picture.add_subplot(layout[i, 0]), strip)
    legend = "dot and bar: value, 95 % interval    grey: published    diamond: training rows"
    picture.text(0.23, 0.05 / picture.get_figheight(), legend, fontsize=7.5, color=FAINT)
    return picture


def _draw(axes: Axes, strip: Strip) -> None:
    m, (low, high) = strip.metric, strip.ends
    axes.set(xlim=(low, high), ylim=(-1, 1), yticks=[], xticks=[])
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.axhline(0, color=LINE, linewidth=0.8, zorder=0)
    if math.isfinite(m.low) and math.isfinite(m.high):
        axes.plot([m.low, m.high], [0, 0], color=BLUE, linewidth=4, alpha=0.4,
                  solid_capstyle="butt")
    axes.plot(m.value, 0, marker="o", markersize=6, color=BLUE, markeredgecolor="white")
    if strip.floor is not None and math.isfinite(strip.floor.value):
        axes.plot(strip.floor.value, 0, marker="D", markersize=5, color=ORANGE,
                  markeredgecolor="white", zorder=1.5)
    _published(axes, strip.published, low, high)
    outside: dict[str, Any] = {"transform": axes.transAxes, "va": "center", "fontsize": 8.5}
    axes.text(-0.015, 0.5, shortened(m.name, 34), ha="right", color=INK, **outside)
    axes.text(1.015, 0.5, _told(m), ha="left", color=INK, **outside)


def _published(axes: Axes, values: Sequence[Baseline], low: float, high: float) -> None:
    """Ticks with names, by turns above and below, so that neighbours do not run into another."""
    for i, b in enumerate(values):
        up = 1 if i % 2 else -1
        axes.plot([b.value, b.value], [0, 0.42 * up], color=FAINT, linewidth=1)
        at = (b.value - low) / (high - low)
        axes.annotate(f"{shortened(b.model, 24)} {b.value:.3g}", (b.value, 0.45 * up),
                      fontsize=6.5, color=FAINT, va="bottom" if up > 0 else "top",
                      ha="left" if at < 0.2 else "right" if at > 0.8 else "center")


def _told(m: Metric) -> str:
    value = f"{m.value:.3g}"
    if not (math.isfinite(m.low) and math.isfinite(m.high)):
        return value
    return f"{value} [{m.low:.3g}, {m.high:.3g}]"
