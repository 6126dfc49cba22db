"""95 % intervals of metrics. Each function has a name, which a `Metric` carries as its method."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm, t

LEVEL = 0.95
SUBSETS = 5
WILSON, STUDENT = "Wilson", "Student t"
SPREAD = f"spread of {SUBSETS} disjoint subsets"
RATIO = "Student t of a ratio of means"
REPEATS = "Poisson score of repeats"
_SMOOTHING = 20  # trials of the binomial weights below


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


def ratio_interval(
    top: NDArray[Any], below: NDArray[Any], level: float = LEVEL
) -> tuple[float, float, float]:
    """sum top / sum below and its interval: to first order the mean of the residuals
    top - ratio below, over the mean of below; NaN where the ratio is not finite."""
    n, value = len(top), float(top.sum() / below.sum())
    if not math.isfinite(value):
        return value, math.nan, math.nan
    error = float(np.std(top - value * below, ddof=1)) / math.sqrt(n) / float(below.mean())
    half = float(t.ppf(0.5 + level / 2, n - 1)) * error
    return value, value - half, value + half


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
    return spread_of(value, [statistic(rows[i::subsets]) for i in range(subsets)], level)


def repeats_interval(times: Sequence[int] | NDArray[np.integer], level: float = LEVEL
                     ) -> tuple[float, float]:
    """Interval of the share of distinct objects among n draws, each drawn so many `times`.

    With D distinct objects, f_k of them drawn k times, and R = n - D repeats,

        Var R = Var D = sum_k (-1)^(k+1) w_k f_k - f_1^2 / n,

    which is E D(2n) - E D(n) of Poisson sampling (Good and Toulmin 1956) less what fixing n takes
    away; w_k = P(Binomial(20, 1/2) >= k) damps the alternating tail (Efron and Thisted 1976). The
    interval is the score interval of a count with Var R = phi E R. Neither a bootstrap (which
    repeats objects itself) nor the spread over subsets can do this: where repeats are rare their
    number grows with n^2, and subsets of n / 5 see a twenty-fifth of them.
    """
    found = np.asarray(times, np.int64)
    n = int(found.sum())
    if n == 0:
        return math.nan, math.nan
    drawn = np.bincount(found)[1:]  # f_1, f_2, ...
    k = np.arange(1, len(drawn) + 1)
    weight = binom.sf(k - 1, _SMOOTHING, 0.5) * np.where(k % 2, 1, -1)
    variance = max(float(weight @ drawn) - float(drawn[0]) ** 2 / n, 0.0)
    repeats = n - len(found)
    phi, z = variance / repeats if repeats else 1.0, float(norm.ppf(0.5 + level / 2))
    centre = repeats + z * z * phi / 2
    half = z * math.sqrt(phi * repeats + (z * phi / 2) ** 2)
    return max(1 - (centre + half) / n, 0.0), min(1 - (centre - half) / n, 1.0)


def spread_of(value: float, parts: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """The interval of `spread` from the statistic of each subset; NaN where one is NaN."""
    low, high = mean_interval(parts, level)
    return value - (high - low) / 2, value + (high - low) / 2
