"""Maps: objects as dots on a plane, near each other where they are alike."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from scidiff.core import ScidiffError
from scidiff.evaluation.drawing import LINE
from scidiff.evaluation.likeness import Matrix, features, principal_axes
from scidiff.evaluation.plots import BLUE, GREY, SCALE, Picture, bare_axes, say

METHODS = ("umap", "pca")
NEIGHBOURS = 15  # of UMAP, its own default


class UmapMissing(ScidiffError):
    """A map by UMAP was asked for and umap-learn is not installed."""


@dataclass(frozen=True)
class Placed:
    """Objects on a plane, and what its two axes are."""

    places: Matrix  # (B, 2)
    axes: tuple[str, str]


def space(
    objects: Sequence[Any], kind: str, colour: NDArray[np.float64] | None = None,
    label: str = "score", reference: Sequence[Any] = (), method: str | None = None,
) -> Picture:
    """Objects of one kind by `likeness.features`; axes are found on all, the reference lies behind
    in grey.

    `colour` (B,) is shown where it is finite. `method` is umap or pca; None takes UMAP where it is
    installed. Raises ValueError for another, UmapMissing where it is asked for and absent.
    """
    chosen = _method(method)
    picture = Picture(figsize=(4.6, 3.7), layout="constrained")
    axes = bare_axes(picture, picture.add_gridspec(1, 1)[0, 0], "")
    if len(objects) + len(reference) < 3:
        say(axes, "a map needs three objects")
        return picture
    found, name = features([*reference, *objects], kind)
    placed = place(found, chosen)
    behind, front = placed.places[:len(reference)], placed.places[len(reference):]
    if len(behind):
        axes.scatter(behind[:, 0], behind[:, 1], s=12, c=LINE, edgecolors=GREY, linewidths=0.3,
                     label="reference")
    _points(axes, front, colour, label)
    axes.set_xlabel(placed.axes[0])
    axes.set_ylabel(placed.axes[1])
    axes.set_title(name, fontsize=9, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    if len(behind):
        axes.legend(frameon=False, fontsize=8)
    return picture


def place(vectors: Matrix, method: str) -> Placed:
    """Put vectors (B, W) on a plane; fewer than UMAP has neighbours go by their main axes."""
    if method == "umap" and len(vectors) > NEIGHBOURS:
        return Placed(_umap(vectors), ("first axis of UMAP", "second axis"))
    places, shares = principal_axes(vectors)
    return Placed(places, (f"first axis ({100 * shares[0]:.0f} % of the variance)",
                           f"second axis ({100 * shares[1]:.0f} %)"))


def _umap(vectors: Matrix) -> Matrix:
    """UMAP (McInnes et al. 2018) of seed 0, started from the main axes so that it does not
    turn."""
    start, _ = principal_axes(vectors)
    start = (10 * start / max(float(np.abs(start).max()), 1e-12)).astype(np.float32)
    with warnings.catch_warnings():  # that TensorFlow is absent, and of scikit-learn's renamings
        warnings.simplefilter("ignore", ImportWarning)
        warnings.simplefilter("ignore", FutureWarning)
        import umap

        made = umap.UMAP(n_neighbors=NEIGHBOURS, init=start, random_state=0, n_jobs=1)
        return np.asarray(made.fit_transform(vectors.astype(np.float32)), np.float64)


def _method(wanted: str | None) -> str:
    # not by importing it, which takes seconds, nor by the module's name, which folders have too
    there = any(True for _ in distributions(name="umap-learn"))
    if wanted is None:
        return "umap" if there else "pca"
    if wanted not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {wanted!r}")
    if wanted == "umap" and not there:
        raise UmapMissing("a map by UMAP needs umap-learn: pip install 'scidiff[umap]', or take "
                          "method='pca'")
    return wanted


def _points(axes: Axes, places: Matrix, colour: NDArray[np.float64] | None, label: str) -> None:
    known = np.zeros(len(places), np.bool_) if colour is None else np.isfinite(colour)
    plain: dict[str, Any] = {"s": 26, "linewidths": 0.5, "edgecolors": "white"}
    if (~known).any():
        name = "this result" if colour is None else "unscored"
        axes.scatter(places[~known, 0], places[~known, 1], label=name,
                     c=BLUE if colour is None else GREY, **plain)
    if colour is not None and known.any():
        order = np.argsort(colour[known])  # the best on top
        dots = axes.scatter(places[known, 0][order], places[known, 1][order],
                            c=colour[known][order], cmap=SCALE, **plain)
        picture = axes.get_figure()
        if picture is not None:
            bar = picture.colorbar(dots, ax=axes, shrink=0.8, aspect=28, label=label)
            bar.outline.set_visible(False)  # type: ignore[operator]
