"""Sequence logos (Schneider and Stephens 1990): how much each position says, and with what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from scidiff.data.alphabets import Alphabet
from scidiff.data.letters import BEHIND, letter_ids
from scidiff.evaluation.likeness import alphabet_of as alphabet_of
from scidiff.evaluation.plots import GREY, Picture

# Okabe and Ito 2008; bases as usual, residues by what they are: told apart without red and green
_BASES = {"A": "#009E73", "C": "#0072B2", "G": "#E69F00", "T": "#D55E00", "U": "#D55E00"}
_CLASSES = {"KRH": "#0072B2", "DE": "#D55E00", "STNQ": "#009E73", "GPC": "#CC79A7",
            "AVLIMFWY": "#3b3b3b"}
_RESIDUES = {residue: colour for group, colour in _CLASSES.items() for residue in group}


def information(sequences: Sequence[str], alphabet: Alphabet) -> NDArray[np.float64]:
    """Heights (L, V) in bits: frequency of each letter times the information of its position.

    R = log2 V - (H + e), with the small-sample correction e = (V - 1) / (2 ln 2 n) of Schneider et
    al. 1986, n the rows that reach the position; where R is below 0, as of a single row, nothing
    is drawn.
    """
    V = len(alphabet.letters)
    ids = letter_ids(sequences, alphabet.letters)
    counts = np.stack([(ids == v).sum(0) for v in range(V)], 1).astype(np.float64)
    n = (ids != BEHIND).sum(0)
    p = counts / np.maximum(n, 1)[:, None]
    entropy = -(p * np.log2(p, where=p > 0, out=np.zeros_like(p))).sum(1)
    correction = (V - 1) / (2 * np.log(2) * np.maximum(n, 1))
    bits = np.maximum(np.log2(V) - entropy - correction, 0.0)
    return p * bits[:, None]


def letter_colours(alphabet: Alphabet) -> dict[str, str]:
    """The colour of every letter: bases as usual, residues by what they are."""
    known = _BASES if len(alphabet.letters) == 4 else _RESIDUES
    return {letter: known[letter] for letter in alphabet.letters}


def logo(groups: Mapping[str, Sequence[str]], alphabet: Alphabet, *,
         positions: tuple[int, int] | None = None) -> Picture:
    """A logo of each group of sequences, one panel below the other on one scale.

    Position 1 is the start; `positions` (first, last) shows a part. Raises ValueError for no
    sequences, or positions outside them.
    """
    if not groups or not all(len(rows) for rows in groups.values()):
        raise ValueError("a logo needs at least one sequence in every group, got none")
    heights = {name: information(rows, alphabet) for name, rows in groups.items()}
    longest = max(len(h) for h in heights.values())
    first, last = positions or (1, longest)
    if not 1 <= first <= last <= longest:
        raise ValueError(f"positions must be within 1 and {longest}, got {first} to {last}")
    shown = {name: h[first - 1:last] for name, h in heights.items()}
    top = max(float(h.sum(1).max(initial=0)) for h in shown.values()) or 1e-3
    width = min(max(0.16 * (last - first + 1), 3.2), 13)
    picture = Picture(figsize=(width, 1.45 * len(shown) + 0.4), layout="constrained")
    layout = picture.add_gridspec(len(shown), 1)
    for i, (name, h) in enumerate(shown.items()):
        axes = picture.add_subplot(layout[i, 0])
        _draw(axes, h, alphabet, first)
        axes.set(xlim=(first - 0.5, last + 0.5), ylim=(0, 1.05 * top))
        axes.set_title(f"{name}  (n = {len(groups[name]):,})", fontsize=8.5, loc="left")
    picture.axes[-1].set_xlabel("position", fontsize=8.5)
    return picture


def _draw(axes: Axes, heights: NDArray[np.float64], alphabet: Alphabet, first: int) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=8, color=GREY)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.set_ylabel("bits", fontsize=8.5)
    colours, letters = letter_colours(alphabet), alphabet.letters
    for place, column in enumerate(heights, first):
        base = 0.0
        for v in np.argsort(column, kind="stable"):  # the most frequent on top
            if column[v] > 0:
                _letter(axes, letters[v], colours[letters[v]], place, base, float(column[v]))
                base += float(column[v])


def _letter(axes: Axes, letter: str, colour: str, place: int, base: float, height: float) -> None:
    path = _outline(letter)
    box = path.get_extents()
    fit = (Affine2D().translate(-box.x0, -box.y0).scale(0.92 / box.width, height / box.height)
           .translate(place - 0.46, base))
    axes.add_patch(PathPatch(path.transformed(fit), color=colour, linewidth=0))


@lru_cache(maxsize=32)
def _outline(letter: str) -> TextPath:
    return TextPath((0, 0), letter, size=1, prop=FontProperties(family="monospace", weight="bold"))

