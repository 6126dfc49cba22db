"""Graphs of networkx and torch-geometric as typed nodes and pairs, and back.

A typed graph is what `graph_tokens.write` takes: node symbols (n,) and symmetric edge values
(n, n), 0 none and 1 .. 8 the types of edges. Attributes that are categories become types; numbers
that are measured belong in the features of a GraphState (`graphs.encode_networkx`, `encode_pyg`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import networkx as nx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scidiff.data.graph_tokens import EDGES, node_symbol
from scidiff.data.graphs import GraphState, encode, graph_problem

UNTYPED = "o"
"""The symbol of a node that has no type."""

Typed = tuple[list[str], NDArray[np.int64]]
ATTRIBUTE = "type"


# ---------------------------------------------------------------- networkx


def symbols(
    graph: nx.Graph,
    node: str | None = ATTRIBUTE,
    edge: str | None = ATTRIBUTE,
    edge_types: Sequence[Any] | None = None,
) -> Typed:
    """Read a networkx graph, nodes in its own order.

    `node` and `edge` name the attributes that hold types; where no node (edge) has it, there is
    one type. Edge types are 1 .. 8, or what `edge_types` lists in this order. Raises ValueError
    for what is no undirected simple graph, a type that is missing or not a category, or an edge
    type that is not listed.
    """
    problem = graph_problem(graph)
    if problem:
        raise ValueError(problem)
    kinds = _attribute(graph.nodes(data=True), node, "node")
    names = [UNTYPED] * len(graph) if kinds is None else [node_symbol(str(k)) for k in kinds]
    place = {v: i for i, v in enumerate(graph)}
    types = _attribute([((u, v), d) for u, v, d in graph.edges(data=True)], edge, "edge")
    values = [1] * graph.number_of_edges() if types is None else _values(types, edge_types)
    edges = np.zeros((len(graph), len(graph)), np.int64)
    for (u, v), value in zip(graph.edges, values, strict=True):
        edges[place[u], place[v]] = edges[place[v], place[u]] = value
    return names, edges


def edge_types(graphs: Iterable[nx.Graph], edge: str = ATTRIBUTE) -> list[Any] | None:
    """The edge types of a set of graphs in sorted order, for `symbols`; None where they are
    numbers 1 .. 8 already, or there are none."""
    found = {data[edge] for g in graphs for _, _, data in g.edges(data=True) if edge in data}
    if not found or found <= set(range(1, len(EDGES))):
        return None
    return sorted(found, key=str)


def to_networkx(names: Sequence[str], edges: NDArray[np.integer]) -> nx.Graph:
    """Write a typed graph as networkx: nodes 0 .. n - 1 with their `type` where there is more
    than the untyped one, edges with theirs where one is above 1."""
    graph = nx.empty_graph(len(names))
    if set(names) - {UNTYPED}:
        plain = {i: name.strip("[]") for i, name in enumerate(names)}
        nx.set_node_attributes(graph, plain, ATTRIBUTE)
    graph.add_edges_from(np.argwhere(np.triu(edges, 1)).tolist())
    if np.any(np.asarray(edges) > 1):
        types = {(i, j): int(edges[i, j]) for i, j in graph.edges}
        nx.set_edge_attributes(graph, types, ATTRIBUTE)
    return graph


def _attribute(items: Iterable[tuple[Any, dict[str, Any]]], name: str | None,
               what: str) -> list[Any] | None:
    pairs = [(where, data.get(name)) for where, data in items] if name else []
    if all(value is None for _, value in pairs):
        return None
    for where, value in pairs:
        if value is None:
            raise ValueError(f"has no {name!r} at {what} {where}, other {what}s have one")
        if isinstance(value, float) and not value.is_integer() or np.ndim(value):
            raise ValueError(
                f"has {value!r} as {name!r} of {what} {where}, expected a category; measured "
                "numbers go to the features of a GraphState"
            )
    return [int(v) if isinstance(v, float) else v for _, v in pairs]


def _values(types: Sequence[Any], known: Sequence[Any] | None) -> list[int]:
    order = list(range(1, len(EDGES)) if known is None else known)
    if len(order) >= len(EDGES):
        raise ValueError(f"has {len(order)} edge types, at most {len(EDGES) - 1} can be written")
    wrong = next((t for t in types if t not in order), None)
    if wrong is not None:
        raise ValueError(f"has edge type {wrong!r}, expected one of {', '.join(map(str, order))}")
    return [order.index(t) + 1 for t in types]


# ---------------------------------------------------------------- torch-geometric


def from_pyg(data: Any) -> nx.Graph:
    """Read a torch-geometric Data as networkx: integer or one-hot `x` and `edge_attr` become the
    `type` of nodes (0, 1, ..) and edges (1, 2, ..).

    Raises ValueError where edge_index lacks the way back of an edge, repeats one, or has a loop.
    """
    graph = _undirected(data)
    if data.x is not None:
        nx.set_node_attributes(graph, dict(enumerate(_categories(data.x, "x"))), ATTRIBUTE)
    if data.edge_attr is not None:
        kinds = _categories(data.edge_attr, "edge_attr")
        one_hot = data.edge_attr.ndim == 2 and data.edge_attr.shape[1] > 1
        pairs = zip(data.edge_index.T.tolist(), kinds, strict=True)
        types = {(u, v): kind + one_hot for (u, v), kind in pairs}
        odd = next((e for e, t in types.items() if types[e[::-1]] != t), None)
        if odd is not None:
            raise ValueError(f"has another edge_attr at {odd} than on the way back")
        nx.set_edge_attributes(graph, types, ATTRIBUTE)
    return graph


def encode_pyg(graphs: Sequence[Any], max_nodes: int | None = None) -> GraphState:
    """Encode torch-geometric Data as dense arrays: X is its `x`, A its one-column `edge_attr`, or
    1."""
    arrays = []
    for i, data in enumerate(graphs):
        if data.x is None or data.x.ndim != 2:
            raise ValueError(f"graph {i} must have x (n, F), got {data.x}")
        try:
            _undirected(data)
        except ValueError as error:
            raise ValueError(f"graph {i} {error}") from None
        A = np.zeros((len(data.x), len(data.x)))
        u, v = data.edge_index.numpy()
        A[u, v] = 1 if data.edge_attr is None else data.edge_attr.numpy().reshape(len(u))
        arrays.append((data.x.numpy(), A))
    return encode(arrays, max_nodes)


def decode_pyg(state: GraphState) -> list[Any]:
    """Write every row as torch-geometric Data: x (n, F), edge_index both ways, edge_attr the edge
    values (E, 1), for A of .5 and more."""
    from torch_geometric.data import Data

    found = []
    for X, A, mask in zip(state.X, state.A, state.mask, strict=True):
        values = A[mask][:, mask]
        index = (values.fill_diagonal_(0) >= 0.5).nonzero().T.contiguous()
        attr = values[index[0], index[1]][:, None]
        found.append(Data(x=X[mask], edge_index=index, edge_attr=attr))
    return found


def _undirected(data: Any) -> nx.Graph:
    """The graph of edge_index, which must hold each edge both ways and once."""
    pairs = [(int(u), int(v)) for u, v in data.edge_index.T.tolist()]
    once = set(pairs)
    if len(once) < len(pairs):
        raise ValueError("is a multigraph: edge_index repeats an edge")
    if odd := next((p for p in pairs if p[::-1] not in once), None):
        raise ValueError(f"is directed: edge_index has {odd} but not {odd[::-1]}")
    n = int(data.num_nodes)
    if far := next((p for p in pairs if max(p) >= n), None):
        raise ValueError(f"has {n} nodes, but edge_index has {far}")
    graph = nx.empty_graph(n)
    graph.add_edges_from(pairs)
    problem = graph_problem(graph)
    if problem:
        raise ValueError(problem)
    return graph


def _categories(values: Tensor, name: str) -> list[int]:
    values = values.reshape(len(values), -1)
    if values.shape[1] > 1:
        if not bool(((values == 0) | (values == 1)).all() & (values.sum(1) == 1).all()):
            raise ValueError(f"must have categories in {name}: integers or one-hot rows; measured "
                             "numbers go to the features of a GraphState (encode_pyg)")
        return values.argmax(1).tolist()
    if not torch.equal(values, values.round()):
        raise ValueError(f"must have categories in {name}: integers or one-hot rows; measured "
                         "numbers go to the features of a GraphState (encode_pyg)")
    return values[:, 0].long().tolist()
