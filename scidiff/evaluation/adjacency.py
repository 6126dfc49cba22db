"""Plain graphs of any origin as adjacency matrices: what every graph metric starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from scidiff.data.graphs import GraphState
from scidiff.data.records import Record

Adjacency = NDArray[np.bool_]  # (n, n) symmetric, False on the diagonal
EDGE = 0.5  # values of an edge channel from here on are an edge (Jo et al. 2022)


def adjacencies(graphs: GraphState | Sequence[Any]) -> list[Adjacency]:
    """Take a batch or a list of networkx graphs, arrays, tensors (n, n) or records of these.

    Edge values count from EDGE on; self loops are dropped. Raises ValueError, naming the row, for
    what is no undirected graph.
    """
    if isinstance(graphs, GraphState):
        A, mask = graphs.A.cpu().numpy(), graphs.mask.cpu().numpy()
        return [_checked(i, a[np.ix_(m, m)]) for i, (a, m) in enumerate(zip(A, mask, strict=True))]
    return [_checked(i, _array(graph)) for i, graph in enumerate(graphs)]


def without_isolated(A: Adjacency) -> Adjacency:
    """Drop nodes without an edge; a graph that has no edge becomes one node (Jo et al. 2022)."""
    kept = A.any(1)
    return A[np.ix_(kept, kept)] if kept.any() else np.zeros((1, 1), np.bool_)


def to_networkx(A: Adjacency) -> nx.Graph:
    """Write an adjacency matrix as a networkx graph with nodes 0 .. n - 1."""
    graph = nx.empty_graph(len(A))
    graph.add_edges_from(np.argwhere(np.triu(A)).tolist())
    return graph


def _array(graph: Any) -> Any:
    if isinstance(graph, Record):
        graph = graph.obj
    if isinstance(graph, nx.Graph):
        return nx.to_numpy_array(graph.to_undirected(as_view=True), weight=None)
    return graph.detach().cpu().numpy() if hasattr(graph, "detach") else np.asarray(graph)


def _checked(row: int, A: Any) -> Adjacency:
    if not isinstance(A, np.ndarray) or A.dtype.kind not in "biuf" or A.ndim != 2:
        raise ValueError(f"graph {row}: expected a networkx graph or an (n, n) array, "
                         f"got {type(A).__name__} {getattr(A, 'shape', '')}".rstrip())
    if A.shape[0] != A.shape[1] or not np.array_equal(A, A.T):  # NaN is not equal to itself
        raise ValueError(f"graph {row}: expected a symmetric matrix without NaN, got {A.shape}")
    edges = A >= EDGE
    np.fill_diagonal(edges, False)
    return edges
