"""Pictures of a campaign: how far it came by what it spent, and what its objectives trade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scidiff.evaluation.plots import BLUE, GREY, ORANGE, SCALE, Picture, bare_axes, say, shortened

AXES = {"asked": "distinct objects asked", "network_rows": "network rows", "seconds": "seconds"}


def curves(histories: Mapping[str, Mapping[str, Sequence[float]]], by: str = "asked") -> Picture:
    """Best score and mean of the ten best after every round, by what was spent.

    `histories` are columns (best, mean_10, asked, network_rows, seconds) by the name of a run;
    `by` is the axis. Raises ValueError for another axis.
    """
    if by not in AXES:
        raise ValueError(f"by must be one of {', '.join(AXES)}, got {by!r}")
    picture = Picture(figsize=(4.6, 3.2), layout="constrained")
    axes = bare_axes(picture, picture.add_gridspec(1, 1)[0, 0], AXES[by])
    axes.set_ylabel("score")
    drawn = {name: h for name, h in histories.items() if len(h.get("best", ()))}
    if not drawn:
        say(axes, "no round was finished")
        return picture
    for (name, told), colour in zip(drawn.items(), _colours(len(drawn)), strict=True):
        spent = np.asarray(told[by], np.float64)
        lead = f"{shortened(name)}: " if len(drawn) > 1 else ""
        for what, style in (("best", "-"), ("mean_10", (0, (4, 2)))):
            axes.plot(spent, np.asarray(told[what], np.float64), color=colour, linestyle=style,
                      linewidth=1.6, marker="." if len(spent) < 12 else None,
                      label=lead + ("best" if what == "best" else "mean of the ten best"))
    axes.set_xlim(left=0)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return picture


def _colours(n: int) -> list[Any]:
    import matplotlib

    few = [BLUE, ORANGE, "#009E73", "#CC79A7"]
    return few[:n] if n <= len(few) else list(matplotlib.colormaps[SCALE](np.linspace(0, 0.9, n)))


def pareto(values: NDArray[np.float64], best: NDArray[np.bool_], names: tuple[str, str]
           ) -> Picture:
    """Objects by two objectives (B, 2), larger is better; those that no other one beats, `best`
    (B,) bool, are joined."""
    picture = Picture(figsize=(4.2, 3.4), layout="constrained")
    axes = bare_axes(picture, picture.add_gridspec(1, 1)[0, 0], shortened(names[0], 40))
    axes.set_ylabel(shortened(names[1], 40))
    known = np.isfinite(values).all(1)
    if not known.any():
        say(axes, "no object has both objectives")
        return picture
    rest, front = values[known & ~best], values[known & best]
    axes.scatter(rest[:, 0], rest[:, 1], s=9, color=GREY, alpha=0.5, linewidths=0, label="asked")
    front = front[np.argsort(front[:, 0], kind="stable")]
    axes.plot(front[:, 0], front[:, 1], color=BLUE, linewidth=1.2, marker="o", markersize=4,
              label="not dominated")
    axes.legend(frameon=False, fontsize=8)
    return picture


__all__ = ["curves", "pareto"]
