"""Graphs in files, one row of text a graph: adjacency matrices and edge arrays (npz), edge lists
(csv), GraphML. A row that is no graph says why.

npz files hold either `adjacency` (B, N, N) or (N, N), and `n_nodes` (B,) where it is padded; or
`n_nodes`, `edges` (M, 2) of all graphs, each edge once, and `edge_ptr` (B + 1,): the edges of
graph g are edges[edge_ptr[g]:edge_ptr[g + 1]]. Edge values 1 .. 8 are types, as are `edge_type`
(M,) and `node_type` (nodes of all graphs,).
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from scidiff.data.formats import Row, Rows, TableError, open_binary
from scidiff.data.graph_exchange import UNTYPED, Typed, edge_types, symbols
from scidiff.data.graph_text import compact
from scidiff.data.graph_tokens import EDGES, node_symbol
from scidiff.data.graphs import matrix_problem

COLUMN = "graph"


# ---------------------------------------------------------------- npz


def arrays(path: Path, packing: str) -> Rows:
    """Adjacency matrices, or the edges of all graphs after one another."""
    try:
        with open_binary(path, packing) as file, np.load(file, allow_pickle=False) as z:
            found = {name: z[name] for name in z.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise TableError(f"{path.name} cannot be read as npz: {error}") from None
    if "adjacency" in found:
        return [COLUMN], _rows(_matrices(path, found))
    if {"n_nodes", "edges", "edge_ptr"} <= set(found):
        return [COLUMN], _rows(_edge_arrays(path, found))
    raise TableError(f"{path.name} must hold adjacency, or n_nodes, edges and edge_ptr; "
                     f"got {', '.join(found) or 'nothing'}")


def pack(graphs: Sequence[Typed]) -> dict[str, NDArray[Any]]:
    """Write typed graphs as the arrays of an npz file: n_nodes, edge_ptr, edges, and types where
    there are several."""
    pairs = [np.argwhere(np.triu(edges, 1)) for _, edges in graphs]
    ends = np.cumsum([0, *(len(p) for p in pairs)])
    kinds = np.concatenate([e[tuple(p.T)] for (_, e), p in zip(graphs, pairs, strict=True)])
    names = [name for nodes, _ in graphs for name in nodes]
    packed: dict[str, NDArray[Any]] = {
        "n_nodes": np.array([len(nodes) for nodes, _ in graphs], np.int32),
        "edge_ptr": ends.astype(np.int64),
        "edges": np.concatenate(pairs).astype(np.int32),
    }
    if set(names) != {UNTYPED}:
        packed["node_type"] = np.array(names)
    if (kinds > 1).any():
        packed["edge_type"] = kinds.astype(np.uint8)
    return packed


Attempts = Iterable[Callable[[], Typed]]  # each reads one graph, or raises ValueError


def _rows(attempts: Attempts) -> Iterator[Row]:
    for number, attempt in enumerate(attempts, start=1):
        try:
            yield Row(number, (compact(*attempt()),))
        except ValueError as error:
            yield Row(number, (), str(error))


def _matrices(path: Path, found: Mapping[str, NDArray[Any]]) -> Attempts:
    A = found["adjacency"][None] if found["adjacency"].ndim == 2 else found["adjacency"]
    if A.ndim != 3 or A.shape[1] != A.shape[2] or A.dtype.kind not in "biuf":
        raise TableError(f"{path.name}: adjacency must be numbers (B, N, N), "
                         f"got {A.dtype} {A.shape}")
    counts = found.get("n_nodes", np.full(len(A), A.shape[1]))
    if counts.shape != (len(A),):
        raise TableError(f"{path.name}: n_nodes must be {(len(A),)}, got {counts.shape}")
    return (partial(_of_matrix, a, int(n)) for a, n in zip(A, counts, strict=True))


def _of_matrix(A: NDArray[Any], n: int) -> Typed:
    if not 0 < n <= len(A):
        raise ValueError(f"has {n} nodes in a matrix of {len(A)}")
    if problem := matrix_problem(A[:n, :n]):
        raise ValueError(problem)
    if A[n:].any() or A[:, n:].any():
        raise ValueError(f"has {n} nodes, but an edge at node {np.argwhere(A).max()}")
    return [UNTYPED] * n, np.array([_types(row) for row in A[:n, :n]])


def _types(values: NDArray[Any]) -> NDArray[np.int64]:
    wrong = values[(values != np.rint(values)) | (values < 0) | (values >= len(EDGES))]
    if len(wrong):
        raise ValueError(f"has edge value {wrong[0]:g}, expected 0, 1 or a type up to "
                         f"{len(EDGES) - 1}")
    return values.astype(np.int64)


def _edge_arrays(path: Path, found: Mapping[str, NDArray[Any]]) -> Attempts:
    counts, edges, ends = found["n_nodes"], found["edges"], found["edge_ptr"]
    nodes = np.concatenate([[0], np.cumsum(counts)])
    kinds = found.get("edge_type", np.ones(len(edges), np.int64))
    names = found.get("node_type", np.full(int(nodes[-1]), UNTYPED))
    wanted = {"edges": (len(edges), 2), "edge_ptr": (len(counts) + 1,),
              "edge_type": (len(edges),), "node_type": (int(nodes[-1]),)}
    for name, shape in wanted.items():
        if name in found and found[name].shape != shape:
            raise TableError(f"{path.name}: {name} must be {shape}, got {found[name].shape}")
    for g, (start, end) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
        own = names[nodes[g]:nodes[g + 1]].tolist()
        yield partial(_of_edges, own, edges[start:end], kinds[start:end])


def _of_edges(types: Sequence[Any], pairs: NDArray[Any], kinds: NDArray[Any]) -> Typed:
    names = [node_symbol(str(kind)) for kind in types]
    graph = nx.empty_graph(len(names))
    for (u, v), kind in zip(pairs.tolist(), _types(kinds).tolist(), strict=True):
        if not (0 <= u < len(names) and 0 <= v < len(names)):
            raise ValueError(f"has {len(names)} nodes, but an edge at {(u, v)}")
        if graph.has_edge(u, v):
            raise ValueError(f"is a multigraph: the edge {(u, v)} is repeated")
        graph.add_edge(u, v, type=kind)
    return names, symbols(graph, None)[1]


# ---------------------------------------------------------------- edge lists


def edge_list(names: Sequence[str], rows: Iterable[Row]) -> Rows:
    """Rows of a table with the columns graph, source, target and perhaps type, source_type,
    target_type; a row without target is a node that has no edge.

    An edge may also be given once in each direction. A row's number is the line that its graph
    starts on.
    """
    graphs: dict[str, _Lines] = {}
    for row in rows:
        cells = dict(zip(names, row.values, strict=False))
        name = cells.get("graph", "")
        graphs.setdefault(name, _Lines(row.number)).take(row, cells)
    kinds = edge_types(g.graph for g in graphs.values())
    return ["graph", "name"], (g.row(name, kinds) for name, g in graphs.items())


class _Lines:
    """One graph of an edge list, and the first problem with it."""

    def __init__(self, first: int) -> None:
        self.first, self.problem, self.graph = first, "", nx.Graph()
        self.given: set[tuple[str, str]] = set()

    def take(self, row: Row, cells: Mapping[str, Any]) -> None:
        problem = row.problem or self._add(cells)
        if problem and not self.problem:
            self.problem = f"line {row.number}: {problem}"

    def _add(self, cells: Mapping[str, Any]) -> str:
        u, v, kind = cells["source"], cells["target"], cells.get("type", "")
        if not u:
            return "no source"
        for node, column in ((u, "source_type"), (v, "target_type")):
            if node and (problem := self._node(node, cells.get(column, ""))):
                return problem
        if not v:
            return ""
        if u == v:
            return f"a self loop at node {u}"
        if (u, v) in self.given:
            return f"a multigraph: the edge {u} {v} is repeated"
        self.given.add((u, v))
        data = {"type": int(kind) if kind.isdecimal() else kind} if kind else {}
        if self.graph.has_edge(u, v) and self.graph.edges[u, v] != data:
            return f"the edge {u} {v} has another type than its way back"
        self.graph.add_edge(u, v, **data)
        return ""

    def _node(self, node: str, kind: str) -> str:
        self.graph.add_node(node)
        known = self.graph.nodes[node].setdefault("type", kind) if kind else kind
        return f"node {node} is {kind} here and {known} above" if known != kind else ""

    def row(self, name: str, kinds: Sequence[Any] | None) -> Row:
        if not self.problem:
            try:
                return Row(self.first, (compact(*symbols(self.graph, edge_types=kinds)), name))
            except ValueError as error:
                self.problem = str(error)
        return Row(self.first, (name,), f"graph {name!r}: {self.problem}")


# ---------------------------------------------------------------- GraphML


def graphml(path: Path, packing: str) -> Rows:
    """Graphs of a GraphML file; the attribute `type` of nodes and edges is their type."""
    from networkx.readwrite.graphml import GraphMLReader

    try:
        with open_binary(path, packing) as file:
            graphs = list(GraphMLReader(node_type=str)(path=file))
    except (nx.NetworkXError, ParseError, KeyError) as error:
        raise TableError(f"{path.name} cannot be read as GraphML: {error}") from None
    kinds = edge_types(graphs)
    return [COLUMN], _rows(partial(symbols, g, edge_types=kinds) for g in graphs)
