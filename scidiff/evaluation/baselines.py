"""Published values beside a result, where both follow one convention, and a refusal where not.

The convention is the metric's name (its split and k are part of it), the suite, and for metrics
that depend on the sample size the number of rows.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from scidiff.evaluation.metric import Metric

_FILE = Path(__file__).parent / "_data" / "baselines.csv"
TAGS = {"read": "", "run": "", "second-hand": "?"}  # what stands behind a printed value
SIZED = ("fcd", "frag_cos", "scaf_cos", "kl_score", "logp_w1", "sa_w1", "qed_w1", "mw_w1")
TOLERANCE = 1.25  # sample sizes apart by no more than this factor count as one


@dataclass(frozen=True)
class Baseline:
    """One published value."""

    suite: str
    data: str  # the data set or task, within the suite
    model: str
    metric: str  # the name is the definition, as everywhere
    value: float
    sd: float  # over the authors' runs, NaN where not given
    n: int  # rows it was measured on, 0 where not stated
    tag: str  # "read" in the source, "run" by us, or "second-hand": not checked, printed with a ?
    source: str

    def __str__(self) -> str:
        return f"{self.model} {self.value:.4g}{TAGS[self.tag]}"


@lru_cache(maxsize=1)
def published() -> tuple[Baseline, ...]:
    """Every value that ships."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Baseline(r["suite"], r["data"], r["model"], r["metric"], float(r["value"]),
                     float(r["sd"] or math.nan), int(r["n"] or 0), r["tag"], r["source"])
            for r in csv.DictReader(file))


def baselines(suite: str, data: str | None = None, metric: str | None = None) -> list[Baseline]:
    """Published values of a suite, of one data set or task and of one metric where named."""
    return [b for b in published() if b.suite == suite and data in (None, b.data)
            and metric in (None, b.metric)]


def comparable(metric: Metric, rows: int, baseline: Baseline) -> bool:
    """Whether two values follow one convention: the same definition and, where it matters, n."""
    if metric.name != baseline.metric:
        return False
    if not baseline.n or not metric.name.startswith(SIZED):
        return True
    return max(rows, baseline.n) <= TOLERANCE * min(rows, baseline.n)


def beside(metrics: Sequence[Metric], rows: int, suite: str, data: str | None = None) -> list[str]:
    """Lines: for each metric the published values next to it, or why none can stand there."""
    lines, refused = [], []
    for metric in metrics:
        known = baselines(suite, data, metric.name)
        if not known or math.isnan(metric.value):
            continue
        found = [b for b in known if comparable(metric, rows, b)]
        if found:
            lines.append(f"  {metric.name}: {_between(metric.value, found)}")
        else:
            refused.append((metric.name, sorted({b.n for b in known})))
    sizes = sorted({n for _, ns in refused for n in ns})
    if refused:
        lines.append(
            f"  not compared: {', '.join(name for name, _ in refused)} depend on the number of "
            f"rows, published are {' and '.join(f'{n:,}' for n in sizes)}, here {rows:,}")
    if any("?" in line for line in lines):
        lines.append("  ? second-hand, not checked against the paper")
    return ["published values beside yours:", *lines] if lines else []


def _between(value: float, found: Sequence[Baseline]) -> str:
    """`nearest below < value < nearest above`, the training set first where it was measured."""
    train = [b for b in found if b.model.startswith("Train")]
    models = sorted((b for b in found if b not in train), key=lambda b: b.value)
    below = [str(b) for b in models if b.value <= value][-1:]
    above = [str(b) for b in models if b.value > value][:1]
    ends = f" ({', '.join(map(str, train))})" if train else ""
    return " < ".join([*below, f"yours {value:.4g}", *above]) + ends
