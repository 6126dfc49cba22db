"""A number with what it means: its definition, how many rows stand behind it, and its interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import scidiff
from scidiff.messages import nearest

if TYPE_CHECKING:
    import pandas as pd

    from scidiff.evaluation.plots import Picture

# what people read for the names of metrics and columns that are not words
LABELS = {"qed": "QED", "logp": "logP", "internal_diversity": "internal diversity",
          "sa": "SA score", "mw": "weight, g/mol"}


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
        return f"{short(self.value)} [{short(self.low)}, {short(self.high)}]"


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
        lines = [f"{m.name:<{wide}}  {short(m.value):>9}  [{short(m.low):>7}, "
                 f"{short(m.high):>7}]  n={m.n:<7} {m.note}".rstrip() for m in self.metrics]
        methods = [m.method for m in self.metrics if m.method]
        used = [f"{method} ({', '.join(m.name for m in self.metrics if m.method == method)})"
                for method in dict.fromkeys(methods)]
        said = [f"95 % intervals: {'; '.join(used)}"] if used else []
        return "\n".join([*lines, *said, *self.notes])

    def plot(self) -> Picture:
        """Every metric as a dot with its interval, beside published values of its convention and
        its floor."""
        from scidiff.evaluation.report_plots import intervals

        return intervals(self)

    def _repr_html_(self) -> str:
        """A table with a picture of every interval: static, no script, no style sheet."""
        from scidiff.evaluation.report_table import report_html

        return report_html(self)


def short(value: float) -> str:
    """A number in a table, "-" for one that is not there."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
