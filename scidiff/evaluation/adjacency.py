"""Plain graphs of any origin as adjacency matrices: what every graph metric starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from scidiff.data.graph_text import parse
from scidiff.data.graphs import EDGE, GraphState, matrix_problem
from scidiff.data.records import Record

Adjacency = NDArray[np.bool_]  # (n, n) symmetric, False on the diagonal


def adjacencies(graphs: GraphState | Sequence[Any], name: str = "graph") -> list[Adjacency]:
    """Take a batch, or a list of what `adjacency` takes; an error says `name` and the row, from 0.
    """
    if isinstance(graphs, GraphState):
        pairs = zip(graphs.A.cpu().numpy(), graphs.mask.cpu().numpy(), strict=True)
        return [adjacency(a[np.ix_(m, m)], f"{name} {i}") for i, (a, m) in enumerate(pairs)]
    return [adjacency(graph, f"{name} {i}") for i, graph in enumerate(graphs)]


def adjacency(graph: Any, name: str = "the graph") -> Adjacency:
    """Take a networkx graph, an array or tensor (n, n) of edge values, text (graph6, sparse6 or
    the triangle of a typed graph), or a record of one.

    Values from EDGE on are edges, weights of networkx are not looked at, self loops are dropped.
    Raises ValueError for what is no undirected graph.
    """
    graph = graph.obj if isinstance(graph, Record) else graph
    try:
        A = _array(graph)
    except ValueError as error:
        shown = f" {graph!r}" if isinstance(graph, str) else ""
        raise ValueError(f"{name}{shown}: {error}") from None
    if not isinstance(A, np.ndarray) or A.dtype.kind not in "biuf" or A.ndim != 2:
        shape = f" of shape {A.shape}" if getattr(A, "shape", ()) else ""
        raise ValueError(f"{name}: expected a networkx graph or an (n, n) array, "
                         f"got {type(graph).__name__}{shape}")
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"{name}: expected an (n, n) array, got {A.shape}")
    values = np.where(np.eye(len(A), dtype=np.bool_) & np.isfinite(A), 0, A)
    if problem := matrix_problem(values):
        raise ValueError(f"{name} {problem}")
    return values >= EDGE


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
    if isinstance(graph, str):
        return parse(graph)[1]
    if isinstance(graph, nx.Graph):
        return nx.to_numpy_array(graph, weight=None)
    return graph.detach().cpu().numpy() if hasattr(graph, "detach") else np.asarray(graph)
