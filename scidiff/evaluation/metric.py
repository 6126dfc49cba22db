"""A number with what it means: its definition, how many rows stand behind it, and its interval."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import scidiff
from scidiff.rewards.registry import nearest

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Metric:
    """One metric of a sample. The name is the definition: the split and k are part of it."""

    name: str  # "unique@1000", "fcd_moses_test"
    value: float  # NaN where there are fewer rows than the definition asks for
    low: float  # 95 % interval, NaN where it has none
    high: float
    n: int  # rows the value was computed from
    definition: str
    note: str = ""  # what to hold beside it: a bias floor, a correction
    method: str = ""  # how the interval was found, "" where there is none

    def __str__(self) -> str:
        return f"{_number(self.value)} [{_number(self.low)}, {_number(self.high)}]"


def absent(name: str, n: int, definition: str, note: str) -> Metric:
    """A metric that could not be computed, and why."""
    return Metric(name, math.nan, math.nan, math.nan, n, definition, note)


def versions() -> dict[str, str]:
    """Versions of the libraries that numbers depend on; fcd_torch where it is installed."""
    found = {"scidiff": scidiff.__version__}
    for name in ("rdkit", "numpy", "scipy", "torch", "fcd_torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Report:
    """The metrics of one sample, and what they were measured against."""

    metrics: tuple[Metric, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # lines below: invalid rows, published values beside these

    def __iter__(self) -> Iterator[Metric]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def __getitem__(self, name: str) -> Metric:
        for metric in self.metrics:
            if metric.name == name:
                return metric
        names = [m.name for m in self.metrics]
        raise KeyError(f"no metric {name!r}{nearest(name, names)}; known: {', '.join(names)}")

    def to_frame(self) -> pd.DataFrame:
        """One row a metric: name, value, low, high, n, definition, note, method."""
        import pandas as pd

        return pd.DataFrame([asdict(m) for m in self.metrics])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        rows = [{k: _finite(v) for k, v in asdict(m).items()} for m in self.metrics]
        return {"metrics": rows, "provenance": dict(self.provenance), "notes": list(self.notes)}

    def __str__(self) -> str:
        wide = max((len(m.name) for m in self.metrics), default=0)
        lines = [f"{m.name:<{wide}}  {_number(m.value):>9}  [{_number(m.low):>7}, "
                 f"{_number(m.high):>7}]  n={m.n:<7} {m.note}".rstrip() for m in self.metrics]
        methods = [m.method for m in self.metrics if m.method]
        used = [f"{method} ({', '.join(m.name for m in self.metrics if m.method == method)})"
                for method in dict.fromkeys(methods)]
        said = [f"95 % intervals: {'; '.join(used)}"] if used else []
        return "\n".join([*lines, *said, *self.notes])

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:left;padding:2px 10px'>{h}</th>"
                       for h in ("metric", "value", "95 % interval", "n", "definition"))
        below = "".join(f"<div style='font:13px sans-serif'>{html.escape(line)}</div>"
                        for line in self.notes)
        return (f"<table style='border-collapse:collapse;font:13px sans-serif'><tr>{head}</tr>"
                + "".join(_row(m) for m in self.metrics) + f"</table>{below}")


def _row(m: Metric) -> str:
    what = m.definition + (f" ({m.note})" if m.note else "")
    bounds = f"{_number(m.low)} &ndash; {_number(m.high)}"
    cells = (html.escape(m.name), _number(m.value),
             f"<span title='{html.escape(m.method)}'>{bounds}</span>", str(m.n))
    return ("<tr>" + "".join(f"<td style='padding:2px 10px'>{c}</td>" for c in cells)
            + f"<td style='padding:2px 10px;color:#555'>{html.escape(what)}</td></tr>")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
