"""Molecules in space as pictures: a py3Dmol view in notebooks that have it (extra `notebook`), a
static figure everywhere, and the frames of a trajectory as either.

A molecule is one of RDKit's with a structure, or points; bonds of points are those that distances
say by EDM's rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import GetPeriodicTable, Mol

from scidiff.chem.bond_lengths import bonded_orders
from scidiff.chem.geometry import readable, structure_of
from scidiff.data.points import Points
from scidiff.data.xyz import write_xyz

WIDTH, HEIGHT = 400, 320  # pixels of a view
EDGE, BOND = "#333333", "#8a8f98"
OTHERS = "#d05ce3"
COLOURS = {  # light enough for the dark edge, apart in grey as well
    1: "#ffffff", 6: "#5b6470", 7: "#4c78d0", 8: "#e4572e", 9: "#7bc86c", 15: "#f58518",
    16: "#f2cf3b", 17: "#2f9e5b", 35: "#a0522d", 53: "#7b4fa3",
}
GAP = 0.12  # angstrom between the lines of a multiple bond
Placed = Mol | Points


def atoms_of(molecule: Placed) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Numbers (n,), places (n, 3) and bond orders (n, n); no bonds where points are no molecule.

    Raises ValueError for a molecule without a structure in space.
    """
    if isinstance(molecule, Mol):
        numbers, places, _, orders = structure_of(molecule)
        return numbers, places, orders
    numbers, places = molecule.numbers, molecule.positions
    if molecule.bonds is not None:
        return numbers, places, molecule.bonds
    sound = readable(molecule) is None
    empty = np.zeros((len(numbers),) * 2, np.int64)
    return numbers, places, bonded_orders(numbers, places) if sound else empty


# ---------------------------------------------------------------- static


def draw_structure(molecule: Placed, ax: Any = None, frame: Any = None) -> Any:
    """Draw atoms and bonds seen along the direction in which the molecule is thinnest, near atoms
    over far ones; returns the matplotlib axes.

    `frame` (3, 3) is another way to look (`viewpoint`), so that several pictures share one.
    """
    from matplotlib.figure import Figure

    numbers, places, orders = atoms_of(molecule)
    if ax is None:
        ax = Figure(figsize=(3.2, 3.2), layout="constrained").subplots()
    seen = (places - places.mean(0)) @ (viewpoint(places) if frame is None else frame)
    radius = 0.45 * np.array([GetPeriodicTable().GetRcovalent(int(n)) for n in numbers]) + 0.08
    depth = (seen[:, 2] - seen[:, 2].min()) / (np.ptp(seen[:, 2]) + 1e-9)
    _draw_bonds(ax, seen, orders, depth)
    for i in np.argsort(seen[:, 2]):
        ax.add_patch(_circle(seen[i], radius[i], COLOURS.get(int(numbers[i]), OTHERS), depth[i]))
    half = 0.6 + float(np.abs(seen[:, :2]).max(initial=0.5))
    ax.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
    ax.axis("off")
    return ax


def viewpoint(places: NDArray[Any]) -> NDArray[np.float64]:
    """A rotation (3, 3) after which places are widest along x and thinnest along z."""
    centred = places - places.mean(0)
    axes = np.linalg.svd(centred.T @ centred)[0]
    return axes * np.sign(np.linalg.det(axes))


def _circle(at: NDArray[Any], radius: float, colour: str, depth: float) -> Any:
    from matplotlib.patches import Circle

    return Circle((at[0], at[1]), radius, facecolor=colour, edgecolor=EDGE, linewidth=0.8,
                  zorder=2 + depth)


def _draw_bonds(ax: Any, seen: NDArray[Any], orders: NDArray[Any], depth: NDArray[Any]) -> None:
    for i, j in np.argwhere(np.triu(orders, 1)).tolist():
        along = seen[j, :2] - seen[i, :2]
        aside = np.array([-along[1], along[0]]) / (math.hypot(*along) + 1e-9) * GAP
        for k in range(int(orders[i, j])):
            shift = aside * (k - (orders[i, j] - 1) / 2)
            ends = np.stack([seen[i, :2], seen[j, :2]]) + shift
            ax.plot(*ends.T, color=BOND, linewidth=2.2, solid_capstyle="round",
                    zorder=1.9 + (depth[i] + depth[j]) / 2)


def frames_figure(frames: Sequence[Placed], labels: Sequence[str] = (), columns: int = 6) -> Any:
    """The frames of a trajectory side by side, seen as the last one is; a matplotlib Figure.

    Raises ValueError where there is none.
    """
    from matplotlib.figure import Figure

    if not frames:
        raise ValueError("a trajectory needs at least one frame, got 0")
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    figure = Figure(figsize=(2.1 * columns, 2.3 * rows), layout="constrained")
    look = viewpoint(atoms_of(frames[-1])[1])
    for i, ax in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        ax.axis("off")
        if i < len(frames):
            draw_structure(frames[i], ax, look)
            ax.set_title(labels[i] if i < len(labels) else "", fontsize=9)
    return figure


# ---------------------------------------------------------------- in a notebook


def view(molecule: Placed | Sequence[Placed], width: int = WIDTH, height: int = HEIGHT) -> Any:
    """Show a molecule, or the frames of a trajectory, to be turned with the mouse: a py3Dmol view
    where that is installed (pip install "scidiff[notebook]"), else a static matplotlib figure."""
    frames = [molecule] if isinstance(molecule, Mol | Points) else list(molecule)
    if not frames:
        raise ValueError("there is nothing to show: 0 frames")
    try:
        import py3Dmol
    except ImportError:
        return draw_structure(frames[0]).figure if len(frames) == 1 else frames_figure(frames)
    shown = py3Dmol.view(width=width, height=height)
    if len(frames) == 1:
        shown.addModel(*_model(frames[0]))
    else:
        shown.addModelsAsFrames("".join(_xyz(f) for f in frames), "xyz")
        shown.animate({"loop": "forward", "interval": 150})
    shown.setStyle({"stick": {"radius": 0.13}, "sphere": {"scale": 0.25}})
    shown.zoomTo()
    return shown


def _model(molecule: Placed) -> tuple[str, str]:
    """Text and format for py3Dmol; a molecule keeps its own bonds."""
    if isinstance(molecule, Mol):
        from rdkit.Chem import MolToMolBlock

        return MolToMolBlock(molecule), "sdf"
    return _xyz(molecule), "xyz"


def _xyz(molecule: Placed) -> str:
    numbers, places, _ = atoms_of(molecule)
    return write_xyz(Points.of(numbers, places))
