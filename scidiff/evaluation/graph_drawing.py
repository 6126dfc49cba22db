"""Graphs as static pictures: places of nodes and lines between them, the same in SVG and on
axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

# Okabe and Ito 2008, dark enough on white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1f2933")
LINE = "#8a94a0"
EXACT_LAYOUT = 60  # nodes up to which all distances are kept in mind
PAD = 14.0


@dataclass(frozen=True)
class Drawn:
    """A graph in a box: where nodes and edges are, in pixels, and their colours and widths."""

    places: NDArray[np.float64]  # (n, 2)
    colours: Sequence[str]  # (n,)
    lines: NDArray[np.int64]  # (m, 2) nodes of every edge
    widths: Sequence[float]  # (m,)
    radius: float


def draw(graph: nx.Graph, width: float, height: float) -> Drawn:
    """Place a graph in a box by its distances (Kamada and Kawai 1989), a large one by springs;
    colours are node types in sorted order, wider lines higher edge types."""
    index = {node: i for i, node in enumerate(graph)}
    edges = [(index[u], index[v]) for u, v in graph.edges]
    types = sorted({str(d.get("type", "")) for _, d in graph.nodes(data=True)})
    colours = [
        PALETTE[types.index(str(d.get("type", ""))) % len(PALETTE)]
        for _, d in graph.nodes(data=True)
    ]
    kinds = [d.get("type", 1) for _, _, d in graph.edges(data=True)]
    widths = [0.6 + 0.7 * kind if isinstance(kind, int | float) else 1.3 for kind in kinds]
    places = fitted(places_of(len(graph), tuple(edges)), width, height)
    radius = float(np.clip(16 / max(len(graph), 1) ** 0.5, 1.5, 5.0))
    return Drawn(places, colours, np.array(edges, np.int64).reshape(-1, 2), widths, radius)


@lru_cache(maxsize=512)
def places_of(nodes: int, edges: tuple[tuple[int, int], ...]) -> NDArray[np.float64]:
    """Places (n, 2) of nodes by the distances of the graph, a large one's by springs."""
    graph = nx.empty_graph(nodes)
    graph.add_edges_from(edges)
    if nodes <= EXACT_LAYOUT:
        found: Mapping[int, Any] = nx.kamada_kawai_layout(graph)
    else:
        found = nx.spring_layout(graph, seed=0, iterations=60)
    return np.array([found[node] for node in range(nodes)], np.float64).reshape(-1, 2)


def fitted(places: NDArray[np.float64], width: float, height: float) -> NDArray[np.float64]:
    """Scale to the box, both axes alike, and centre."""
    if not len(places):
        return places
    low, high = places.min(0), places.max(0)
    room = np.array([width, height]) - 2 * PAD
    scale = float((room / np.maximum(high - low, 1e-9)).min()) if len(places) > 1 else 0.0
    return (places - (low + high) / 2) * scale + np.array([width, height]) / 2


def graph_svg(graph: nx.Graph, width: int, height: int) -> str:
    """Draw a graph as an <svg> element without header, classes or background."""
    d = draw(graph, width, height)
    ends = d.places[d.lines]
    lines = "".join(
        f"<line x1='{a[0]:.1f}' y1='{a[1]:.1f}' x2='{b[0]:.1f}' y2='{b[1]:.1f}' "
        f"stroke-width='{w:.2g}'/>"
        for (a, b), w in zip(ends, d.widths, strict=True)
    )
    dots = "".join(
        f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{d.radius:.2g}' fill='{colour}'/>"
        for (x, y), colour in zip(d.places, d.colours, strict=True)
    )
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
        f"viewBox='0 0 {width} {height}'><g stroke='{LINE}'>{lines}</g>{dots}</svg>"
    )


def on_axes(axes: Axes, graph: nx.Graph, width: int, height: int) -> None:
    """Draw a graph on axes whose units are the pixels of the box."""
    d = draw(graph, width, height)
    for (a, b), wide in zip(d.places[d.lines], d.widths, strict=True):
        axes.plot([a[0], b[0]], [a[1], b[1]], color=LINE, linewidth=0.75 * wide, zorder=1)
    x, y = d.places.T
    axes.scatter(x, y, s=(1.5 * d.radius) ** 2, c=d.colours, linewidths=0, zorder=2)
