"""The synthetic graph sets that papers train on, drawn from their definitions: communities, grids,
planar graphs, block models, trees and lobsters.

Every draw comes from `rng`. The published files are other draws: community_small of Jo et al.
2022 holds only two different communities a size, because its seeds are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import networkx as nx
import numpy as np

from scidiff.core import Rng, uniform

Graphs = list[nx.Graph]


def communities(count: int, rng: Rng, nodes: tuple[int, int] = (12, 20)) -> Graphs:
    """Two halves with edge probability .7 inside and .05 between, at least one edge between
    (community_small of You et al. 2018)."""
    found = []
    for _ in range(count):
        n = _between(*nodes, rng)
        side = np.arange(n) < n // 2
        A = _edges(np.where(side[:, None] == side, 0.7, 0.05), rng)
        if not A[:n // 2, n // 2:].any():
            A[0, n // 2] = True
        found.append(_graph(A))
    return found


def grids(count: int, rng: Rng, sides: tuple[int, int] = (10, 19)) -> Graphs:
    """Rectangles of a square lattice, both sides drawn evenly (You et al. 2018)."""
    shapes = [(_between(*sides, rng), _between(*sides, rng)) for _ in range(count)]
    return [nx.convert_node_labels_to_integers(nx.grid_2d_graph(*shape)) for shape in shapes]


def planar(count: int, rng: Rng, nodes: int = 64) -> Graphs:
    """Delaunay triangulations of uniform points in a square (Martinkus et al. 2022)."""
    points = uniform((count, nodes, 2), rng).double().cpu().numpy()
    return [_graph(delaunay(p)) for p in points]


def block_models(count: int, rng: Rng, blocks: tuple[int, int] = (2, 5),
                 sizes: tuple[int, int] = (20, 40)) -> Graphs:
    """Connected stochastic block models, edge probability .3 inside a block and .005 between
    (Martinkus et al. 2022)."""
    def draw() -> nx.Graph:
        each = [_between(*sizes, rng) for _ in range(_between(*blocks, rng))]
        block = np.repeat(np.arange(len(each)), each)
        return _graph(_edges(np.where(block[:, None] == block, 0.3, 0.005), rng))

    return _first(count, draw, nx.is_connected)


def trees(count: int, rng: Rng, nodes: int = 64) -> Graphs:
    """Uniform labelled trees, by Pruefer's bijection (Bergmeister et al. 2024)."""
    if nodes < 2:
        raise ValueError(f"nodes must be at least 2, got {nodes}")
    codes = (uniform((count, nodes - 2), rng) * nodes).long().tolist()
    return [nx.from_prufer_sequence(code) for code in codes]


def lobsters(count: int, rng: Rng, nodes: tuple[int, int] = (10, 100),
             backbone: int = 80, again: float = 0.7) -> Graphs:
    """Paths of up to 2 `backbone` nodes; each node gets leaves while a coin of probability
    `again` shows heads, and so does each leaf; sizes outside `nodes` are refused (Liao et al.
    2019)."""
    def draw() -> nx.Graph:
        spine = int(2 * backbone * _one(rng) + 0.5)
        leaves = _heads(spine, again, rng)
        twigs = _heads(int(leaves.sum()), again, rng)
        parents = np.repeat(np.arange(spine + len(twigs)), np.concatenate([leaves, twigs]))
        graph = nx.path_graph(spine)
        graph.add_edges_from(zip(parents.tolist(), range(spine, spine + len(parents)),
                                 strict=True))
        return graph

    return _first(count, draw, lambda graph: nodes[0] <= len(graph) <= nodes[1])


def delaunay(points: np.ndarray) -> np.ndarray:
    """Edges (n, n), above the diagonal, of the Delaunay triangulation of points (n, 2).

    i and j are joined where some circle through both is empty (Delaunay 1934). With its centre at
    m + s u, m their middle and u the normal of p_j - p_i, point k is outside where
    |p_k - m|^2 - |p_j - p_i|^2 / 4 > 2 s u.(p_k - m): a bound on s from one side or the other.
    """
    n = len(points)
    A, k = np.zeros((n, n), np.bool_), np.arange(n)
    for i in range(n - 1):
        later = points[i + 1 :]
        along = later - points[i]
        away = points - (later + points[i])[:, None] / 2  # (j, k, 2)
        across = 2 * (away * np.stack([-along[:, 1], along[:, 0]], 1)[:, None]).sum(-1)
        across[(k == i) | (k == k[i + 1 :, None])] = math.nan  # the ends bound nothing
        bound = ((away**2).sum(-1) - (along**2).sum(-1, keepdims=True) / 4) / across
        below = np.where(across < 0, bound, -math.inf).max(1)
        A[i, i + 1 :] = below < np.where(across > 0, bound, math.inf).min(1)
    return A


def _heads(count: int, again: float, rng: Rng) -> np.ndarray:
    """How often a coin shows heads before its first tails, P(at least k) = again^k, (count,)."""
    u = uniform((count,), rng).double().cpu().numpy()
    return np.floor(np.log1p(-u) / math.log(again)).astype(np.int64)


def _first(count: int, draw: Callable[[], nx.Graph], keep: Callable[[nx.Graph], bool]) -> Graphs:
    found: Graphs = []
    while len(found) < count:
        if keep(graph := draw()):
            found.append(graph)
    return found


def _edges(p: np.ndarray, rng: Rng) -> np.ndarray:
    """Independent edges of probability p (n, n), above the diagonal."""
    return np.triu(uniform(p.shape, rng).cpu().numpy() < p, 1)


def _graph(A: np.ndarray) -> nx.Graph:
    graph = nx.empty_graph(len(A))
    graph.add_edges_from(np.argwhere(A).tolist())
    return graph


def _between(low: int, high: int, rng: Rng) -> int:
    return low + int(_one(rng) * (high - low + 1))


def _one(rng: Rng) -> float:
    return float(uniform((1,), rng))
