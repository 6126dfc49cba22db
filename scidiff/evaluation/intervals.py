"""95 % intervals of metrics: Wilson for proportions, spread over disjoint subsets for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import norm, t

LEVEL = 0.95
SUBSETS = 5


def wilson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927); NaN where n = 0.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in [0, {n}], got {successes}")
    if n == 0:
        return math.nan, math.nan
    z, p = float(norm.ppf(0.5 + level / 2)), successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # rounding must not push an interval past the proportion it is for
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return min(max(low, 0.0), p), max(min(high, 1.0), p)


def mean_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Student interval of a mean; NaN for fewer than two values."""
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    half = float(t.ppf(0.5 + level / 2, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    centre = float(np.mean(values))
    return centre - half, centre + half


def spread(
    value: float, statistic: Callable[[Any], float], rows: Any, subsets: int = SUBSETS,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Interval of a statistic of all rows from its values on disjoint subsets (every m-th row).

    value +- t_{m-1} sd / sqrt(m): the statistic is an average to first order, so its standard
    error on all rows is that of the subsets over sqrt(m); its bias cancels. NaN below two rows a
    subset.
    """
    if len(rows) < 2 * subsets:
        return math.nan, math.nan
    low, high = mean_interval([statistic(rows[i::subsets]) for i in range(subsets)], level)
    return value - (high - low) / 2, value + (high - low) / 2
