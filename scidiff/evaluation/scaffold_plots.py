"""Which scaffolds molecules share, and how evenly they are spread over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from rdkit.Chem import Mol

from scidiff.chem.molecules import parse, scaffold
from scidiff.evaluation.drawing import CAPTION, FAINT, HEIGHT, INK, Card
from scidiff.evaluation.plots import BLUE, Picture, bare_axes, log_counts, on_card, say

COLUMNS, ROWS = 4, 2  # of drawings


def scaffold_counts(mols: Sequence[Mol]) -> Counter[str]:
    """Bemis-Murcko scaffolds and how many molecules have them; "" of those without a ring."""
    return Counter(s for s in map(scaffold, mols) if s is not None)


def scaffolds(mols: Sequence[Mol], reference: Sequence[Mol] = ()) -> Picture:
    """The most frequent scaffolds drawn with their counts, and the share of molecules with rings
    that the most frequent k scaffolds hold together."""
    counts, others = scaffold_counts(mols), scaffold_counts(reference)
    bare = counts.pop("", 0)
    others.pop("", 0)
    picture = Picture(figsize=(10.4, 3.6), layout="constrained")
    layout = picture.add_gridspec(ROWS, COLUMNS + 2)
    axes = bare_axes(picture, layout[:, :2], "scaffolds, most frequent first")
    if not counts:
        say(axes, "no molecule has a ring")
        return picture
    _curve(axes, counts, others)
    without = f", {bare:,} without a ring" if bare else ""
    axes.set_title(f"{len(counts):,} scaffolds of {counts.total():,} molecules{without}",
                   fontsize=9, loc="left")
    # equal counts in the order of their names, so that a picture does not depend on the rows'
    for i, (name, n) in enumerate(sorted(counts.items(), key=lambda c: (-c[1], c[0]))[:8]):
        share = f"{n:,} × ({100 * n / counts.total():.2g} %)"
        place = picture.add_subplot(layout[i // COLUMNS, 2 + i % COLUMNS])
        on_card(place, Card(name, parse(name), caption=(share,)), HEIGHT + CAPTION)
        place.set_aspect("equal")
    return picture


def _curve(axes: Axes, counts: Counter[str], others: Counter[str]) -> None:
    style = {"color": BLUE, "label": "this result", "linewidth": 1.8}
    for found, how in ((others, {"color": INK, "label": "reference", "linewidth": 1.2,
                                 "linestyle": (0, (4, 2))}), (counts, style)):
        if found:
            held = np.sort(list(found.values()))[::-1].cumsum() / found.total()
            axes.plot(np.arange(1, len(held) + 1), held, **how)  # type: ignore[arg-type]
    rank = np.arange(1, len(counts) + 1)
    axes.plot(rank, rank / len(counts), color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)),
              label="all equally often")
    axes.set(ylabel="share of the molecules with rings", ylim=(0, 1.02))
    log_counts(axes, len(counts))
    axes.legend(frameon=False, fontsize=8, loc="upper left")


