"""Graphs as dense arrays: the state of a batch, how many nodes a graph has, how graphs become
arrays and come back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from scidiff.core import Rng, Stacked, uniform

Parts = tuple[Tensor, ...]
EDGE = 0.5  # values from here on are an edge (Jo et al. 2022)


@dataclass(frozen=True)
class GraphState(Stacked):
    """A batch of dense graphs and what the network said there. Absent nodes are zero rows, False
    in `mask`."""

    X: Tensor  # (B, N, F) node features
    A: Tensor  # (B, N, N) edge values, symmetric, zero diagonal
    mask: Tensor  # (B, N) bool
    guesses: tuple[Parts, ...] = ()  # clean (X, A): guessed here, at the place before, ..

    def __post_init__(self) -> None:
        if self.X.ndim != 3:
            raise ValueError(f"X must be (B, N, F), got {tuple(self.X.shape)}")
        B, N, _ = self.X.shape
        if self.A.shape != (B, N, N):
            raise ValueError(
                f"A must be {(B, N, N)} to match X {tuple(self.X.shape)}, "
                f"got {tuple(self.A.shape)}"
            )
        if self.mask.shape != (B, N) or self.mask.dtype != torch.bool:
            raise ValueError(
                f"mask must be {(B, N)} bool to match X {tuple(self.X.shape)}, "
                f"got {tuple(self.mask.shape)} {self.mask.dtype}"
            )

    def widened(self, nodes: int) -> GraphState:
        """The same graphs with room for `nodes`, the places behind theirs absent; ValueError where
        they have more."""
        more = nodes - self.mask.shape[1]
        if more < 0:
            raise ValueError(f"graphs of {self.mask.shape[1]} nodes do not fit {nodes}")
        X, A = pad(self.X, (0, 0, 0, more)), pad(self.A, (0, more, 0, more))
        return GraphState(X, A, pad(self.mask, (0, more)))

    @property
    def parts(self) -> Parts:
        return self.X, self.A

    def moved(self, parts: Parts, guesses: tuple[Parts, ...] = ()) -> Self:
        """Copy the batch to other (X, A); masks stay with their rows."""
        return replace(self, X=parts[0], A=parts[1], guesses=guesses)


# ---------------------------------------------------------------- how many nodes


@dataclass(frozen=True)
class NodeCounts:
    """The law of the number of nodes: entry n of `weights` (N + 1,) is proportional to the
    probability of n nodes."""

    weights: Tensor

    def __post_init__(self) -> None:
        w = self.weights
        if w.ndim != 1 or len(w) < 2 or bool((w < 0).any()) or not float(w.sum()) > 0:
            raise ValueError(
                f"weights must be (N + 1,), nonnegative and not all zero, got {w.tolist()}"
            )

    @classmethod
    def of(cls, counts: Iterable[int]) -> NodeCounts:
        """Count the node counts of a data set."""
        return cls(torch.bincount(torch.tensor(list(counts))).double())

    @classmethod
    def fixed(cls, n: int) -> NodeCounts:
        """Every graph has n nodes."""
        return cls(torch.nn.functional.one_hot(torch.tensor(n), n + 1).double())

    @property
    def max_nodes(self) -> int:
        return len(self.weights) - 1

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Draw n node counts (n,) int64 by inverting the cumulative law, on the generator's
        device."""
        law = self.weights.to(rng.device, torch.float64).cumsum(0)
        return torch.searchsorted(law, uniform((n,), rng).double() * law[-1], right=True)


@dataclass(frozen=True)
class GraphCanvas:
    """Empty graphs with a drawn number of nodes: what a sampler fills."""

    node_counts: NodeCounts
    num_features: int
    dtype: torch.dtype = torch.float32

    def __call__(self, n: int, rng: Rng) -> GraphState:
        """Draw n blank graphs (n, N, F), (n, N, N) on the generator's device; only their masks
        differ."""
        N = self.node_counts.max_nodes
        count = self.node_counts.draw(n, rng)
        mask = torch.arange(N, device=count.device) < count[:, None]
        X = torch.zeros(n, N, self.num_features, dtype=self.dtype, device=count.device)
        return GraphState(X, X.new_zeros(n, N, N), mask)


# ---------------------------------------------------------------- graphs to arrays


def encode(
    graphs: Sequence[tuple[np.ndarray, np.ndarray]], max_nodes: int | None = None
) -> GraphState:
    """Pad pairs of arrays, features (n, F) and symmetric edge values (n, n), to one batch of
    float32.

    Raises ValueError, naming the graph, for one that is empty, too large, has other features,
    NaN, a self loop, or a matrix that is not symmetric.
    """
    if not graphs:
        raise ValueError("encode needs at least one graph, got none")
    arrays = [(np.asarray(X), np.asarray(A)) for X, A in graphs]
    F = arrays[0][0].shape[-1] if arrays[0][0].ndim == 2 else 0
    for i, (X, A) in enumerate(arrays):
        problem = array_problem(X, A, F, max_nodes)
        if problem:
            raise ValueError(f"graph {i} {problem}")
    N = max(len(X) for X, _ in arrays) if max_nodes is None else max_nodes
    state = _blank(len(arrays), N, F)
    for i, (X, A) in enumerate(arrays):
        n = len(X)
        state.X[i, :n], state.A[i, :n, :n] = torch.as_tensor(X), torch.as_tensor(A)
        state.mask[i, :n] = True
    return state


def array_problem(X: np.ndarray, A: np.ndarray, features: int, max_nodes: int | None) -> str:
    """Say in one line why features X and edge values A are no graph; "" if they are one."""
    n = len(X) if X.ndim else 0
    if X.shape != (n, features) or A.shape != (n, n):
        return f"must have X (n, {features}) and A (n, n), got {X.shape} and {A.shape}"
    if n == 0:
        return "has no nodes"
    if max_nodes is not None and n > max_nodes:
        return f"has {n} nodes, the model takes at most {max_nodes}"
    return _row_problem("X", X) or matrix_problem(A)


def matrix_problem(A: np.ndarray) -> str:
    """Say in one line why a square matrix is no undirected graph without self loops; "" if it
    is."""
    loops, odd = np.flatnonzero(np.diagonal(A)), np.argwhere(A != A.T)
    if problem := _row_problem("A", A):
        return problem
    if len(loops):
        return f"has a self loop at node {loops[0]}"
    if len(odd):
        i, j = odd[0].tolist()
        return f"must have a symmetric A (undirected), got {A[i, j]} and {A[j, i]} at {(i, j)}"
    return ""


def _row_problem(name: str, values: np.ndarray) -> str:
    if values.dtype.kind not in "biuf":
        return f"must have numbers in {name}, got {values.dtype}"
    wrong = np.argwhere(~np.isfinite(values))
    return f"has {values[tuple(wrong[0])]} in {name}, row {wrong[0][0]}" if len(wrong) else ""


def encode_networkx(
    graphs: Sequence[Any],
    num_features: int,
    max_nodes: int | None = None,
    *,
    features: Sequence[str] = (),
    weight: str | None = None,
) -> GraphState:
    """Encode networkx graphs: A is 0/1, X the one-hot degree (features of the generic graphs of Jo
    et al. 2022).

    `features` are names of numeric node attributes, further columns of X; `weight` names a
    numeric edge attribute that A holds instead of 1. Attributes that are categories belong in
    token rows: `graph_exchange.symbols`.
    """
    import networkx as nx

    arrays = []
    for i, graph in enumerate(graphs):
        problem = graph_problem(graph)
        if problem:
            raise ValueError(f"graph {i} {problem}")
        degrees = _degrees(i, nx.to_numpy_array(graph, weight=None), num_features)
        columns = [_column(i, graph, name) for name in features]
        arrays.append((np.column_stack([degrees, *columns]), _weights(i, graph, weight)))
    return encode(arrays, max_nodes)


def graph_problem(graph: Any) -> str:
    """Say in one line why a networkx graph is no undirected simple graph; "" if it is."""
    import networkx as nx

    if not isinstance(graph, nx.Graph):
        return f"must be a networkx graph, got {type(graph).__name__}"
    if graph.is_directed():
        return "is directed, expected an undirected graph"
    if graph.is_multigraph():
        return "is a multigraph, expected one edge a pair"
    loop = next(iter(nx.selfloop_edges(graph)), None)
    if loop is not None:
        return f"has a self loop at node {loop[0]}"
    return "" if len(graph) else "has no nodes"


def decode_networkx(state: GraphState) -> list[Any]:
    """Read every row as a networkx graph: an edge where A is .5 or more, its value as `weight`;
    X as the node attribute `x`."""
    import networkx as nx

    found = []
    for X, A, mask in zip(*(v.cpu().numpy() for v in (state.X, state.A, state.mask)), strict=True):
        graph = nx.empty_graph(int(mask.sum()))
        values = A[np.ix_(mask, mask)]
        nx.set_node_attributes(graph, dict(enumerate(X[mask])), "x")
        places = np.argwhere(np.triu(values, 1) >= EDGE).tolist()
        graph.add_weighted_edges_from((i, j, float(values[i, j])) for i, j in places)
        found.append(graph)
    return found


def _blank(B: int, N: int, F: int) -> GraphState:
    return GraphState(
        torch.zeros(B, N, F), torch.zeros(B, N, N), torch.zeros(B, N, dtype=torch.bool)
    )


def _degrees(i: int, A: np.ndarray, num_features: int) -> np.ndarray:
    degree = A.sum(1).astype(int)
    if degree.max(initial=0) >= num_features:
        raise ValueError(
            f"graph {i} has a node of degree {degree.max()}, but {num_features} features hold "
            f"degrees up to {num_features - 1}"
        )
    return np.eye(num_features)[degree]


def _column(i: int, graph: Any, name: str) -> np.ndarray:
    cells = [data.get(name) for _, data in graph.nodes(data=True)]
    wrong = next((c for c in cells if isinstance(c, bool) or not isinstance(c, int | float)), 0)
    if wrong != 0:
        raise ValueError(f"graph {i}: node attribute {name!r} must be a number, got {wrong!r}")
    return np.array(cells, np.float64)


def _weights(i: int, graph: Any, weight: str | None) -> np.ndarray:
    import networkx as nx

    for u, v, value in graph.edges(data=weight) if weight else ():
        if not isinstance(value, int | float) or value <= 0:
            raise ValueError(
                f"graph {i}: edge attribute {weight!r} must be a positive number, got {value!r} "
                f"at {(u, v)}"
            )
    return nx.to_numpy_array(graph, weight=weight)
