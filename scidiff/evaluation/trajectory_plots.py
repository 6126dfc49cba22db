"""Pictures of the steps of a trajectory: what is written stands out, what is hidden is faint."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import Mol, rdDepictor

from scidiff.evaluation.drawing import FAINT, INK, LINE
from scidiff.evaluation.graph_drawing import PALETTE, fitted, places_of
from scidiff.evaluation.likeness import alphabet_of
from scidiff.evaluation.logos import letter_colours
from scidiff.evaluation.plots import Picture, bare_axes
from scidiff.evaluation.trajectories import Frame, Trajectory
from scidiff.evaluation.views import COLOURS, EDGE, OTHERS, viewpoint

WIDTH, HEIGHT, TEXT = 200.0, 150.0, 34.0  # of a panel and the text below it, in pixels
HIDDEN = "·"
BLANK = "#e9edf1"  # of a letter that is hidden
GHOST = 0.13  # how strong what is not there yet is drawn
ELEMENTS = {"N": "#0072B2", "O": "#D55E00", "S": "#a06a00", "F": "#009E73", "Cl": "#009E73",
            "Br": "#009E73", "I": "#009E73", "P": "#CC79A7"}
LETTERED = 60  # letters that are written out in a picture of a sequence


@dataclass(frozen=True)
class Painter:
    """How the frames of a trajectory are drawn, and whether their text stands below."""

    paint: Callable[[Axes, Frame], None]
    told: bool = False

    @property
    def high(self) -> float:
        return HEIGHT + TEXT * self.told


def strip(trajectory: Trajectory, panels: int) -> Picture:
    """Panels in rows of four; a sequence as one picture of all its steps."""
    if trajectory.kind == "sequence" and trajectory.frames[0].edges is None:
        return raster(trajectory)
    frames, how = trajectory.some(max(panels, 1)), painter(trajectory)
    columns = min(4, len(frames))
    rows = -(-len(frames) // columns)
    picture = Picture(figsize=(2.1 * columns, 2.1 * rows * how.high / WIDTH))
    picture.subplots_adjust(0.005, 0.005, 0.995, 0.995, wspace=0.03, hspace=0.03)
    for i, frame in enumerate(frames):
        _panel(picture.add_subplot(rows, columns, i + 1), trajectory, frame, how)
    return picture


def stills(trajectory: Trajectory, most: int) -> list[bytes]:
    """Steps one by one as PNG, for an animation."""
    how, made = painter(trajectory), []
    for frame in trajectory.some(most):
        picture = Picture(figsize=(4.2, 4.2 * how.high / WIDTH))
        _panel(picture.add_axes((0.0, 0.0, 1.0, 1.0)), trajectory, frame, how, large=1.7)
        made.append(picture.png(100))
    return made


def _panel(axes: Axes, trajectory: Trajectory, frame: Frame, how: Painter,
           large: float = 1.0) -> None:
    axes.set(xlim=(0, WIDTH), ylim=(how.high, 0), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color(LINE)
    how.paint(axes, frame)
    axes.text(5, 11, f"step {frame.step} of {trajectory.steps}", fontsize=6.5 * large, color=FAINT)
    if how.told:
        said = "".join(s or HIDDEN for s in frame.symbols)
        lines = textwrap.wrap(said, 38, max_lines=2, placeholder="…", break_on_hyphens=False)
        for i, line in enumerate(lines):
            axes.text(WIDTH / 2, HEIGHT + 10 + 13 * i, line, fontsize=5.6 * large, color=INK,
                      ha="center", va="center", family="monospace", parse_math=False)


def painter(trajectory: Trajectory) -> Painter:
    """How the frames of a trajectory are drawn."""
    last, final = trajectory.frames[-1], trajectory.final
    if last.places is not None:
        return _in_space(last.places)
    if last.edges is not None:
        return _wired(last, final.obj if isinstance(final.obj, Mol) else None,
                      trajectory.kind == "molecule")
    if isinstance(final.obj, Mol) and trajectory.kind == "molecule":
        places = atom_tokens(last.symbols)
        if len(places) == final.obj.GetNumAtoms():
            return _emerging(final.obj, places, last.symbols)
    return _letters(last)


# ---------------------------------------------------------------- molecules in space


def _in_space(end: NDArray[np.float64]) -> Painter:
    """Atoms seen as in the last frame, far ones behind near ones, as large as they fit."""
    turn, reach = viewpoint(end), np.abs(end - end.mean(0)).max(initial=1.0)

    def paint(axes: Axes, frame: Frame) -> None:
        places = frame.places if frame.places is not None else end
        seen = (places - places.mean(0)) @ turn
        scale = 0.42 * min(WIDTH, HEIGHT) / max(float(np.abs(seen).max(initial=0.0)), reach)
        flat = np.array([WIDTH / 2, HEIGHT / 2]) + scale * seen[:, :2]
        if frame.edges is not None:
            _bonds(axes, flat, [(i, j, int(min(order, 3)), 1.0)
                                for i, j, order in _above(frame.edges) if order])
        for i in np.argsort(seen[:, 2]):
            number = Chem.Atom(frame.symbols[i].strip("[]+-0123456789")).GetAtomicNum()
            axes.plot(*flat[i], marker="o", color=COLOURS.get(number, OTHERS), zorder=2,
                      markersize=max(2.0, scale * (0.35 if number == 1 else 0.6)),
                      markeredgecolor=EDGE, markeredgewidth=0.5)

    return Painter(paint)


# ---------------------------------------------------------------- molecules out of strings


def atom_tokens(symbols: Sequence[str]) -> list[int]:
    """Places of the tokens of a SMILES that are atoms, in the order of RDKit's."""
    return [i for i, s in enumerate(symbols) if s[:1] == "[" or s[:1].isalpha()]


def _emerging(mol: Mol, tokens: Sequence[int], final: Sequence[str]) -> Painter:
    """The finished molecule, of which only what is already written as it will stay stands out."""
    flat, bonds = _flat(mol)
    names = [_label(a) for a in flat.GetAtoms()]
    places = fitted(_coordinates(flat), WIDTH, HEIGHT)

    def paint(axes: Axes, frame: Frame) -> None:
        there = np.array([t < len(frame.symbols) and frame.symbols[t] == final[t]
                          for t in tokens])
        strength = np.where(there, 1.0, GHOST)
        _bonds(axes, places, [(i, j, order, float(min(strength[i], strength[j])))
                              for i, j, order in bonds])
        _atoms(axes, places, names, strength, {i for i, j, _ in bonds} | {j for _, j, _ in bonds})

    return Painter(paint, told=True)


def _label(atom: Chem.Atom) -> str:
    """The element, of others than carbon with hydrogens and charge."""
    if atom.GetSymbol() == "C" and not atom.GetFormalCharge():
        return "C"
    hydrogens, charge = atom.GetTotalNumHs(), atom.GetFormalCharge()
    said = "" if not hydrogens else "H" if hydrogens == 1 else f"H{hydrogens}"
    return f"{atom.GetSymbol()}{said}{'+' * charge}{'–' * -charge}"


def _flat(mol: Mol) -> tuple[Mol, list[tuple[int, int, int]]]:
    """A copy with its bonds as single, double and triple ones."""
    flat = Chem.Mol(mol)
    Chem.Kekulize(flat, clearAromaticFlags=True)
    found = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx(), round(b.GetBondTypeAsDouble()))
             for b in flat.GetBonds()]
    return flat, found


def _coordinates(mol: Mol) -> NDArray[np.float64]:
    copy = Chem.Mol(mol)
    rdDepictor.Compute2DCoords(copy)
    return np.asarray(copy.GetConformer().GetPositions()[:, :2], np.float64)


# ---------------------------------------------------------------- graphs


def _wired(last: Frame, mol: Mol | None, molecular: bool) -> Painter:
    """Nodes at the places they have in the finished graph; pairs that are hidden are hairlines."""
    n = len(last.symbols)
    if mol is not None and mol.GetNumAtoms() == n:
        where = _coordinates(mol)
    else:
        where = places_of(n, tuple((i, j) for i, j, v in _above(last.edges) if v >= 0.5))
    places = fitted(where, WIDTH, HEIGHT)
    types = sorted({s for s in last.symbols if s})

    def paint(axes: Axes, frame: Frame) -> None:
        some = len(frame.symbols)
        edges = np.zeros((some, some)) if frame.edges is None else frame.edges
        lines = [(i, j, max(1, round(v)), float(np.clip(v / max(1, round(v)), 0, 1)))
                 for i, j, v in _above(edges) if v > 0.15]
        for i, j in np.argwhere(np.triu(np.isnan(edges), 1)):
            axes.plot(*places[[i, j]].T, color=LINE, linewidth=0.35, zorder=0)
        _bonds(axes, places, lines)
        strength = np.array([1.0 if s else GHOST for s in frame.symbols])
        if molecular:
            _atoms(axes, places, frame.symbols, strength, set(range(some)))
        else:
            colours = [PALETTE[types.index(s) % len(PALETTE)] if s in types else FAINT
                       for s in frame.symbols]
            axes.scatter(places[:some, 0], places[:some, 1], s=22, c=colours, linewidths=0,
                         alpha=strength.tolist(), zorder=3)

    return Painter(paint)


def _above(edges: Any) -> list[tuple[int, int, float]]:
    """Pairs i < j that are written, with their values."""
    rows, columns = np.triu_indices(len(edges), 1)
    values = edges[rows, columns]
    known = ~np.isnan(values)
    return list(zip(rows[known].tolist(), columns[known].tolist(), values[known].tolist(),
                    strict=True))


def _bonds(axes: Axes, places: NDArray[np.float64],
           lines: Sequence[tuple[int, int, int, float]]) -> None:
    """Lines (i, j, order, strength): one, two or three beside each other."""
    for i, j, order, strength in lines:
        a, b = places[i], places[j]
        across = np.array([a[1] - b[1], b[0] - a[0]])
        across = 1.6 * across / max(float(np.linalg.norm(across)), 1e-9)
        for k in range(order):
            shift = across * (2 * k - order + 1)
            axes.plot(*np.stack([a + shift, b + shift]).T, color=INK, alpha=strength,
                      linewidth=1.1, solid_capstyle="round", zorder=1)


def _atoms(axes: Axes, places: NDArray[np.float64], names: Sequence[str],
           strength: NDArray[np.float64], bonded: set[int]) -> None:
    """Letters of all but carbon atoms that are bonded, on white."""
    for i, name in enumerate(names):
        shown = name.strip("[]")
        if not shown:
            axes.plot(*places[i], marker="o", markersize=4, color=FAINT, alpha=0.35, zorder=2,
                      markeredgewidth=0)
        elif shown != "C" or i not in bonded:
            axes.text(places[i, 0], places[i, 1], shown, color=_colour(shown), alpha=strength[i],
                      ha="center", va="center", fontsize=8, zorder=3,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})


def _colour(label: str) -> str:
    element = max((e for e in ELEMENTS if label.startswith(e)), key=len, default="")
    return ELEMENTS.get(element, INK)


# ---------------------------------------------------------------- letters


def _letters(last: Frame) -> Painter:
    """The row as lines of letters."""
    wide = max(12, int(np.ceil(np.sqrt(2.2 * max(len(last.symbols), 1)))))
    colours = _colours(last.symbols)

    def paint(axes: Axes, frame: Frame) -> None:
        shown = frame.symbols[: max(len(last.symbols), 1)]
        high = min(HEIGHT / (len(last.symbols) / wide + 2), 1.6 * WIDTH / wide)
        for i, symbol in enumerate(shown):
            x, y = (i % wide + 0.5) * WIDTH / wide, 22 + (i // wide + 0.5) * high
            axes.text(x, y, symbol or HIDDEN, ha="center", va="center", family="monospace",
                      fontsize=min(0.42 * high, 7.5), parse_math=False,
                      color=colours.get(symbol, INK) if symbol else FAINT)

    return Painter(paint)


def _colours(symbols: Sequence[str]) -> dict[str, str]:
    plain = {s for s in symbols if s}
    if not plain or any(len(s) != 1 or not s.isupper() for s in plain):
        return {}
    return letter_colours(alphabet_of(["".join(sorted(plain))]))


def raster(trajectory: Trajectory) -> Picture:
    """Every position from left to right, every step from top to bottom; hidden ones are pale."""
    frames, length = trajectory.frames, len(trajectory.frames[-1].symbols)
    colours = _colours(trajectory.frames[-1].symbols)
    shade = {symbol: to_rgb(colour) for symbol, colour in colours.items()}
    pixels = np.array([[shade.get(s, to_rgb(BLANK)) for s in (*f.symbols[:length],
                                                              *[""] * (length - len(f.symbols)))]
                       for f in frames])
    picture = Picture(figsize=(float(np.clip(0.11 * length, 4.5, 10)), 3.6), layout="constrained")
    axes = bare_axes(picture, picture.add_gridspec(1, 1)[0, 0], "position")
    axes.imshow(pixels, aspect="auto", interpolation="nearest",
                extent=(0.5, length + 0.5, len(frames) - 0.5, -0.5))
    axes.set_ylabel("step")
    shown = np.unique(np.linspace(0, len(frames) - 1, 6).round().astype(int))
    axes.set_yticks(shown.tolist(), [str(frames[i].step) for i in shown])
    if length <= LETTERED:
        for i, symbol in enumerate(frames[-1].symbols, 1):
            axes.annotate(symbol, (i, 1.0), xycoords=("data", "axes fraction"), fontsize=7,
                          ha="center", va="bottom", color=colours.get(symbol, INK),
                          family="monospace", weight="bold")
    else:
        for colour in dict.fromkeys(colours.values()):  # residues of one class share one
            same = "".join(sorted(letter for letter, c in colours.items() if c == colour))
            axes.plot([], [], marker="s", linestyle="", color=colour, label=same)
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1),
                    handletextpad=0.1)
    return picture


__all__ = ["atom_tokens", "painter", "raster", "stills", "strip"]
