"""How many rows are valid, distinct and new: the shares that every suite and every result states.

Invalid rows stay in the denominator of `valid`, and only there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from scidiff.evaluation.intervals import REPEATS, WILSON, repeats_interval, wilson
from scidiff.evaluation.metric import Metric
from scidiff.evaluation.novelty import Known


def share(part: float, whole: int) -> float:
    """part / whole, NaN of nothing."""
    return part / whole if whole else math.nan


def validity(valid: int, n: int) -> Metric:
    """Share of all rows that are valid."""
    return proportion("valid", valid, n, "valid rows / all rows")


def proportion(name: str, part: float, n: int, definition: str, note: str = "") -> Metric:
    """A share of n rows with its Wilson interval."""
    low, high = wilson(min(round(part), n), n)
    return Metric(name, share(part, n), low, high, n, definition, note, WILSON if n else "")


def uniqueness(keys: Sequence[str], k: int | None = None) -> Metric:
    """Distinct keys among the first k valid rows over k, or among all of them for None.

    NaN where there are fewer than k.
    """
    name = "unique" if k is None else f"unique@{k}"
    rows = "valid rows" if k is None else f"the first {k:,} valid rows"
    what, n = f"distinct canonical forms / {rows}", len(keys) if k is None else k
    if len(keys) < n or n == 0:
        return Metric(name, math.nan, math.nan, math.nan, len(keys), what,
                      f"needs {n or 1:,} valid rows")
    times = Counter(keys[:n]).values()
    low, high = repeats_interval(list(times))
    return Metric(name, len(times) / n, low, high, n, what, method=REPEATS)


def novelty(keys: Sequence[str], known: Known, name: str = "novelty") -> Metric:
    """Distinct valid objects outside the training set, over distinct valid objects.

    A filter takes a share f of new objects for known ones, so its count is divided by 1 - f.
    """
    what = "distinct valid rows not in the training set / distinct valid rows"
    distinct = sorted(set(keys))
    rate = float(getattr(known, "false_positive_rate", 0.0))
    new = int((~np.asarray(known.contains(distinct), np.bool_)).sum()) if distinct else 0
    return proportion(name, min(new / (1 - rate), len(distinct)), len(distinct), what,
                      against(known))


def against(known: Known) -> str:
    """Which training set: its name, its size, and what was corrected."""
    name = getattr(known, "name", "") or "an unnamed training set"
    size, rate = getattr(known, "size", None), getattr(known, "false_positive_rate", 0.0)
    parts = [f"against {name}", *([f"{size:,} objects"] if size else []),
             *([f"{rate:.2%} false positives corrected"] if rate else [])]
    return ", ".join(parts)
