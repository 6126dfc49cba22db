"""Distances between the letters, k-mers and lengths of two sets of sequences.

The Jensen-Shannon distance is the square root of the divergence in nats, as in SciPy and in
d3-dna's tables (in [0, .8326]; divide by sqrt(ln 2) for the one in bits).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr
from scipy.stats import ks_2samp

from scidiff.data.letters import BEHIND, Ids

Counts = NDArray[np.floating] | NDArray[np.integer]
LEAST_SHARE = 0.5  # of the rows that reach a position which is compared


def js_distance(p: Counts, q: Counts) -> NDArray[np.float64]:
    """sqrt(KL(p || m) / 2 + KL(q || m) / 2), m = (p + q) / 2, in nats, of counts (..., W): (...).

    NaN where a side counted nothing.
    """
    with np.errstate(invalid="ignore"):
        p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    m = (p + q) / 2
    divergence = (rel_entr(p, m) + rel_entr(q, m)).sum(-1) / 2
    return np.sqrt(np.maximum(divergence, 0.0))  # rounding alone can make it negative


def code_counts(codes: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """How often each of `width` codes occurs, -1 left out."""
    return np.bincount(codes[codes != BEHIND].ravel(), minlength=width)


def kmer_distance(codes: NDArray[np.int64], other: NDArray[np.int64], width: int) -> float:
    """Jensen-Shannon distance of two sets of k-mer codes (B, W)."""
    return float(js_distance(code_counts(codes, width), code_counts(other, width)))


def kmer_pearson(codes: NDArray[np.int64], other: NDArray[np.int64], width: int) -> float:
    """Pearson correlation of the frequencies of all k-mers."""
    return pearson(code_counts(codes, width), code_counts(other, width))


def position_distance(ids: Ids, other: Ids, letters: int) -> float:
    """Mean over positions of the Jensen-Shannon distance of the letters there.

    Positions count from the start; those that fewer than half of the rows of a side reach are
    left out. NaN where there is none.
    """
    tables = [_positions(rows, letters) for rows in (ids, other)]
    width = min(len(t) for t in tables)
    return float(js_distance(tables[0][:width], tables[1][:width]).mean()) if width else math.nan


def _positions(ids: Ids, letters: int) -> NDArray[np.int64]:
    """Counts (L, V) of the positions that enough rows reach."""
    reached = (ids != BEHIND).mean(0) >= LEAST_SHARE if len(ids) else np.zeros(ids.shape[1], bool)
    return np.stack([(ids[:, reached] == v).sum(0) for v in range(letters)], 1)


def ks_distance(values: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Largest gap between the two distribution functions (Kolmogorov and Smirnov)."""
    if not len(values) or not len(other):
        return math.nan
    return float(ks_2samp(values, other, method="asymp").statistic)


def pearson(x: Counts, y: Counts) -> float:
    """Pearson correlation; NaN where a side does not vary."""
    a, b = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else math.nan
