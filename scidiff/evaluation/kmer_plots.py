"""How often every k-mer occurs in sequences, against how often in a reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from scidiff.data.alphabets import Alphabet
from scidiff.evaluation.drawing import FAINT, INK
from scidiff.evaluation.kmers import js_distance, pearson
from scidiff.evaluation.likeness import Matrix, word_frequencies
from scidiff.evaluation.plots import BLUE, ORANGE, Picture, bare_axes, say

MOST_WORDS = 20_000  # dots of a picture
NAMED = 6  # k-mers that are written beside their dots


def kmer(sequences: Sequence[str], reference: Sequence[str], k: int, alphabet: Alphabet,
         name: str = "reference") -> Picture:
    """A dot for each k-mer: its frequency in the reference and in the sequences, both logarithmic,
    with Pearson's r and the Jensen-Shannon distance; those that differ most are named.

    K-mers that one side lacks lie on its axis. Raises ValueError for a k that is below 1 or has
    more than 20,000 k-mers.
    """
    V = len(alphabet.letters)
    if k < 1 or V ** k > MOST_WORDS:
        raise ValueError(f"k must be between 1 and {int(math.log(MOST_WORDS, V))} for "
                         f"{alphabet.name}, got {k}")
    picture = Picture(figsize=(4.4, 4.0), layout="constrained")
    axes = bare_axes(picture, picture.add_gridspec(1, 1)[0, 0], f"frequency in the {name}")
    axes.set_ylabel("frequency in this result")
    mine = word_frequencies(sequences, k, alphabet)
    theirs = word_frequencies(reference, k, alphabet)
    if np.isnan(mine).any() or np.isnan(theirs).any():
        say(axes, f"no sequence has {k} letters")
        return picture
    both = np.stack([theirs, mine], 1)[(mine > 0) | (theirs > 0)]
    words = np.flatnonzero((mine > 0) | (theirs > 0))
    # what one side lacks lies at half of the smallest frequency there is
    floor = float(both[both > 0].min()) / (1 if both.all() else 2)
    x, y = np.maximum(both, floor).T
    axes.plot([floor, 1], [floor, 1], color=FAINT, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    axes.scatter(x, y, s=26 if len(x) < 400 else 8, color=BLUE, alpha=0.75, linewidths=0)
    for i in _odd(x, y):
        right = y[i] < x[i]
        axes.annotate(word(int(words[i]), k, alphabet), (x[i], y[i]), fontsize=7.5, color=INK,
                      xytext=(5 if right else -5, 0), textcoords="offset points", va="center",
                      ha="left" if right else "right", family="monospace")
        axes.plot(x[i], y[i], marker="o", color=ORANGE, markersize=5, markeredgewidth=0)
    low, high = floor * 0.8, float(both.max()) * 1.5
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))
        axis.set_minor_formatter(NullFormatter())
    told = (f"{k}-mers: Pearson r {pearson(mine, theirs):.3f}, JS distance "
            f"{float(js_distance(mine, theirs)):.3f}")
    axes.set_title(told, fontsize=9, loc="left")
    return picture


def _odd(x: Matrix, y: Matrix) -> list[int]:
    """The dots that are named: farthest from the diagonal where they are frequent, none so near
    another one that their names would run into each other."""
    far = np.abs(np.log(y / x)) * np.sqrt(x * y)
    apart = 0.04 * np.log(max(x.max(), y.max()) / min(x.min(), y.min()))
    chosen: list[int] = []
    for i in np.argsort(-far, kind="stable")[:10 * NAMED].tolist():
        near = np.abs(np.log(y[chosen] / y[i])) < apart
        if len(chosen) < NAMED and far[i] > 0 and not near.any():
            chosen.append(i)
    return chosen


def word(code: int, k: int, alphabet: Alphabet) -> str:
    """The k-mer of a code of `data.letters.kmer_codes`."""
    V = len(alphabet.letters)
    return "".join(alphabet.letters[code // V ** (k - 1 - j) % V] for j in range(k))
