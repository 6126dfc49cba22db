"""Pictures of molecules and scores as matplotlib figures; no global state, safe colours."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from scidiff.evaluation.drawing import (
    CAPTION,
    FAINT,
    HEIGHT,
    INK,
    LINE,
    WIDTH,
    WRONG,
    WRONG_FILL,
    Card,
    folded,
    molecule_png,
)
from scidiff.evaluation.graph_drawing import on_axes

# Okabe and Ito 2008: told apart by every common colour vision, and by their grey on paper
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#8a94a0"
SCALE = "cividis"
TITLES = {"qed": "QED", "sa": "SA score (1 easy, 10 hard)", "logp": "logP",
          "mw": "molecular weight (g/mol)", "length": "length",
          "nodes": "nodes", "edges": "edges", "degree": "mean degree",
          "clustering": "mean clustering"}
_STYLE: Any = {"svg.hashsalt": "scidiff", "svg.fonttype": "none"}


class Picture(Figure):
    """A figure that notebooks show without pyplot, with equal bytes for equal content."""

    def png(self, dpi: int = 150) -> bytes:
        return self._written("png", dpi)

    def svg(self) -> str:
        """An <svg> element to put into a page."""
        text = self._written("svg", 72).decode()
        return text[text.index("<svg"):]

    def _repr_png_(self) -> bytes:
        return self.png(110)

    def _written(self, form: str, dpi: int) -> bytes:
        buffer = io.BytesIO()
        stamp = {"Date": None} if form == "svg" else {}
        with matplotlib.rc_context(_STYLE):
            self.savefig(buffer, format=form, dpi=dpi, metadata=stamp)
        return buffer.getvalue()


def properties(
    values: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]] | None = None,
    names: tuple[str, str] = ("this result", "reference"),
) -> Picture:
    """Histograms of every property, beside those of a reference where it has the property.

    Both are densities, so that sets of different size compare; medians are marked.
    """
    picture = Picture(figsize=(3.1 * max(len(values), 1), 2.7), layout="constrained")
    layout = picture.add_gridspec(1, max(len(values), 1))
    for i, (name, found) in enumerate(values.items()):
        axes = bare_axes(picture, layout[0, i], TITLES.get(name, name))
        other = None if reference is None else reference.get(name)
        _histogram(axes, np.asarray(found, np.float64), other, names)
        axes.set_yticks([])
        if i == 0:
            axes.set_ylabel("density")
    drawn = [a.get_legend_handles_labels() for a in picture.axes]
    handles, labels = max(drawn, key=lambda pair: len(pair[1]), default=([], []))
    if len(labels) > 1:
        picture.legend(handles, labels, loc="outside upper left", ncols=2, frameon=False,
                       fontsize=9)
    return picture


def _histogram(axes: Axes, found: NDArray[np.float64], other: NDArray[Any] | None,
               names: tuple[str, str]) -> None:
    both = found if other is None else np.concatenate([found, np.asarray(other, np.float64)])
    if not len(both):
        say(axes, "nothing to show")
        return
    low, high = np.percentile(both, [0.5, 99.5])
    pad = max((high - low) * 0.05, 1e-6, 0.005 * abs(high))
    count = int(np.clip(2.5 * len(found) ** (1 / 3), 8, 30))  # between Rice's rule and fine
    if (both == both.round()).all():
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    bins = np.linspace(low - pad, high + pad, count + 1)
    if len(found):
        axes.hist(np.clip(found, bins[0], bins[-1]), bins=bins.tolist(), density=True, color=BLUE,
                  alpha=0.75, label=names[0], linewidth=0)
        axes.axvline(float(np.median(found)), color=BLUE, linewidth=1.2)
    if other is not None and len(other):
        axes.hist(np.clip(other, bins[0], bins[-1]), bins=bins.tolist(), density=True,
                  histtype="step", color=INK, linewidth=1.4, label=names[1])
        axes.axvline(float(np.median(other)), color=INK, linewidth=1.2, linestyle=(0, (4, 2)))


def scores(values: NDArray[np.float64], terms: Mapping[str, NDArray[np.float64]]) -> Picture:
    """Scores of designs from the best down, and the spread of each term of the reward."""
    picture = Picture(figsize=(6.6, 3.5), layout="constrained")
    shown = {n: v[np.isfinite(v)] for n, v in {"score": values, **terms}.items()}
    shown = {n: v for n, v in shown.items() if len(v)}
    layout = picture.add_gridspec(max(len(shown), 1), 2)
    left = bare_axes(picture, layout[:, 0], "rank")
    left.set_ylabel("score")
    if "score" not in shown:
        say(left, "no row was scored")
        return picture
    found = np.sort(shown["score"])[::-1]
    left.plot(np.arange(1, len(found) + 1), found, color=BLUE, marker="o", linewidth=1,
              markersize=3.5 if len(found) < 200 else 0)
    left.axhline(float(found.mean()), color=INK, linewidth=1, linestyle=(0, (4, 2)))
    left.annotate(f"mean {found.mean():.3g}", (1, float(found.mean())), va="bottom", fontsize=8,
                  color=INK)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    for i, (name, values) in enumerate(shown.items()):
        _box(bare_axes(picture, layout[i, 1], ""), name, values, BLUE if i == 0 else ORANGE)
    return picture


def _box(axes: Axes, name: str, values: NDArray[np.float64], colour: str) -> None:
    """One term on its own scale: terms of a reward have different units."""
    box = axes.boxplot([values], orientation="horizontal", widths=0.5, patch_artist=True,
                       flierprops={"markersize": 3, "markeredgecolor": GREY},
                       whiskerprops={"color": GREY}, capprops={"color": GREY},
                       medianprops={"color": INK, "linewidth": 1.4})["boxes"][0]
    box.set(facecolor=colour, alpha=0.8, linewidth=0)
    axes.set_yticks([1], [shortened(name)])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def grid(cards: Sequence[Card], columns: int = 4) -> Picture:
    """Drawings row by row; invalid rows as boxes with their text and the reason."""
    columns = max(1, min(columns, len(cards)))
    rows = max(1, -(-len(cards) // columns))
    lines = max((len(c.caption) for c in cards), default=0)
    high = HEIGHT + CAPTION * lines
    picture = Picture(figsize=(columns * (WIDTH + 10) / 100, rows * (high + 10) / 100))
    picture.subplots_adjust(0.005, 0.005, 0.995, 0.995, wspace=0.04, hspace=0.05)
    for i, card in enumerate(cards):
        on_card(picture.add_subplot(rows, columns, i + 1), card, high)
    return picture


def on_card(axes: Axes, card: Card, high: float) -> None:
    """Draw one card on axes of the units of its pixels, `high` with its caption."""
    axes.set(xlim=(0, WIDTH), ylim=(high, 0), xticks=[], yticks=[])
    axes.set_facecolor(WRONG_FILL if card.reason else "white")
    for spine in axes.spines.values():
        spine.set(color="#e8bfae" if card.reason else LINE)
    _fill(axes, card)


def _fill(axes: Axes, card: Card) -> None:
    centred: dict[str, Any] = {"ha": "center", "va": "center", "parse_math": False}
    if card.mol is not None:
        pixels = matplotlib.image.imread(io.BytesIO(molecule_png(card.mol, 3 * WIDTH, 3 * HEIGHT)))
        axes.imshow(pixels, extent=(0, WIDTH, HEIGHT, 0), aspect="auto", interpolation="hanning")
        axes.set_ylim(HEIGHT + CAPTION * len(card.caption), 0)
    elif card.graph is not None:
        on_axes(axes, card.graph, WIDTH, HEIGHT)
    else:
        text, why = folded(card)
        coloured = [*((t, INK) for t in text), *((w, WRONG) for w in why)]
        for i, (line, colour) in enumerate(coloured):
            gap = 10 if i >= len(text) else 0
            axes.text(WIDTH / 2, 34 + 15 * i + gap, line, color=colour, fontsize=7.5, **centred,
                      family="monospace" if i < len(text) else "sans-serif")
    for i, line in enumerate(card.caption):
        axes.text(WIDTH / 2, HEIGHT + CAPTION * i + 9, line, color=FAINT if i else INK,
                  fontsize=7.5 if i else 8.5, **centred)


def bare_axes(picture: Picture, place: SubplotSpec, label: str) -> Axes:
    """Axes without a box around them."""
    axes = picture.add_subplot(place)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=8, color=GREY)
    axes.set_xlabel(label)
    return axes


def log_counts(axes: Axes, most: int) -> None:
    """A logarithmic x axis of numbers up to `most`, written out; of few decades 1, 2 and 5."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 300 else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def say(axes: Axes, words: str) -> None:
    """Words in place of what there is nothing of."""
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=FAINT)


def shortened(name: str, most: int = 22) -> str:
    """A name that fits beside an axis."""
    return name if len(name) <= most else name[:most - 1] + "…"


__all__ = ["Picture", "grid", "properties", "scores"]
