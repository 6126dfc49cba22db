"""How different the objects of a set are from each other, and from others: pictures and the
numbers in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from scidiff.evaluation.description import every
from scidiff.evaluation.drawing import INK
from scidiff.evaluation.likeness import EDIT, Matrix, measure_of, similarities
from scidiff.evaluation.plots import BLUE, ORANGE, Picture, bare_axes, log_counts, say

THRESHOLDS = np.linspace(0.0, 1.0, 41)
PAIR_ROWS = (2_000, 150)  # pairs grow with the square, and edit distances are dear
USUAL = 0.75  # distance of #circles in the tables of Xie et al. 2023


def diversity_by_size(similar: Matrix, sizes: Sequence[int]) -> Matrix:
    """Internal diversity 1 - mean_ij S_ij of the first n rows, i = j included as in
    `neighbours.internal_diversity`, for every n of `sizes`."""
    below = np.tril(similar, -1).sum(1).cumsum()  # pairs j < i among the first rows
    own = np.diag(similar).cumsum()
    n = np.asarray(sizes)
    return 1 - (2 * below[n - 1] + own[n - 1]) / n**2


def circles(similar: Matrix, threshold: float) -> int:
    """#Circles of Xie et al. 2023 (arXiv 2112.12542): how many rows can be chosen that are more
    than a distance `threshold` (1 - S) apart, taken greedily in their order, a lower bound."""
    left, count = np.ones(len(similar), np.bool_), 0
    while left.any():
        first = int(left.argmax())
        left &= similar[first] < 1 - threshold
        left[first] = False  # also where threshold is 1
        count += 1
    return count


def diversity(objects: Sequence[Any], kind: str, reference: Sequence[Any] = ()) -> Picture:
    """Internal diversity by the number of rows, #circles by distance, and, where there is a
    reference, the similarity of every row to the nearest of it, as a distribution function.

    At most PAIR_ROWS of each, evenly spaced, are looked at.
    """
    measure = measure_of([*objects, *reference], kind)
    objects, reference = (every(rows, PAIR_ROWS[measure == EDIT]) for rows in (objects, reference))
    picture = Picture(figsize=(9.3 if len(reference) else 6.4, 2.9), layout="constrained")
    layout = picture.add_gridspec(1, 3 if len(reference) else 2)
    panels = [bare_axes(picture, layout[0, i], "") for i in range(3 if len(reference) else 2)]
    similar = similarities(objects, objects, kind)
    if len(objects) < 2:
        for axes in panels:
            say(axes, "needs two valid rows")
        return picture
    _by_size(panels[0], similar)
    _by_threshold(panels[1], similar)
    if len(reference):
        _nearest(panels[2], similarities(objects, reference, kind).max(1), similar)
    picture.suptitle(f"{len(objects):,} rows, {measure}", fontsize=9, x=0.01,
                     ha="left")
    return picture


def _by_size(axes: Axes, similar: Matrix) -> None:
    sizes = np.unique(np.geomspace(2, len(similar), 40).round().astype(int)).tolist()
    values = diversity_by_size(similar, sizes)
    axes.plot(sizes, values, color=BLUE, linewidth=1.6, marker="." if len(sizes) < 12 else None)
    axes.annotate(f"{values[-1]:.3f}", (sizes[-1], values[-1]), ha="right", va="bottom",
                  fontsize=8, color=INK, xytext=(0, 3), textcoords="offset points")
    axes.set(xlabel="first n rows", ylabel="internal diversity", ylim=(0, 1.05))
    if len(similar) > 50:
        log_counts(axes, len(similar))


def _by_threshold(axes: Axes, similar: Matrix) -> None:
    counts = [circles(similar, t) for t in THRESHOLDS]
    axes.step(THRESHOLDS, counts, where="post", color=BLUE, linewidth=1.6)
    usual = circles(similar, USUAL)
    axes.plot([USUAL], [usual], marker="o", color=ORANGE, markersize=5, markeredgecolor="white")
    axes.annotate(f"{usual} at {USUAL:g}", (USUAL, usual), ha="left", va="bottom", fontsize=8,
                  color=INK, xytext=(4, 2), textcoords="offset points")
    axes.set(xlabel="distance", ylabel="#circles", xlim=(0, 1), ylim=(0, None))


def _nearest(axes: Axes, outside: NDArray[np.float64], similar: Matrix) -> None:
    within = (similar - 2 * np.eye(len(similar))).max(1)
    lines = (("reference", outside, BLUE, "-"), ("this result", within, INK, (0, (4, 2))))
    for name, values, colour, style in lines:
        share = np.arange(1, len(values) + 1) / len(values)
        axes.step(np.sort(values), share, where="post", color=colour, linestyle=style,
                  linewidth=1.6, label=f"{name} {np.median(values):.2f}")
    axes.set(xlabel="similarity to the nearest of", ylabel="share of rows", xlim=(0, 1.02),
             ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=8, loc="lower right", title="median", title_fontsize=8,
                handlelength=1.3)
