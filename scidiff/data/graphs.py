"""Graphs as dense arrays: the state of a batch, how many nodes a graph has, and how graphs become
arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from scidiff.core import Rng, Stacked, uniform

Parts = tuple[Tensor, ...]


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
    float32."""
    if not graphs:
        raise ValueError("encode needs at least one graph, got none")
    N = max(len(X) for X, _ in graphs) if max_nodes is None else max_nodes
    state = _blank(len(graphs), N, np.shape(graphs[0][0])[1])
    for i, (X, A) in enumerate(graphs):
        _check(i, X, A, state.X.shape)
        n = len(X)
        state.X[i, :n], state.A[i, :n, :n] = torch.as_tensor(X), torch.as_tensor(A)
        state.mask[i, :n] = True
    return state


def encode_networkx(
    graphs: Sequence[Any], num_features: int, max_nodes: int | None = None
) -> GraphState:
    """Encode networkx graphs: A is 0/1, X the one-hot degree (features of the generic graphs of Jo
    et al. 2022)."""
    import networkx as nx

    adjacencies = (nx.to_numpy_array(graph, weight=None) for graph in graphs)
    arrays = [_degree_arrays(i, A, num_features) for i, A in enumerate(adjacencies)]
    return encode(arrays, max_nodes)


def _blank(B: int, N: int, F: int) -> GraphState:
    return GraphState(
        torch.zeros(B, N, F), torch.zeros(B, N, N), torch.zeros(B, N, dtype=torch.bool)
    )


def _check(i: int, X: np.ndarray, A: np.ndarray, shape: Sequence[int]) -> None:
    n, (_, N, F) = len(X), shape
    if np.shape(X) != (n, F) or np.shape(A) != (n, n) or n > N:
        raise ValueError(
            f"graph {i} must have X (n, {F}) and A (n, n) with n <= {N}, "
            f"got {np.shape(X)} and {np.shape(A)}"
        )
    if not np.array_equal(A, np.transpose(A)) or np.any(np.diagonal(A)):
        raise ValueError(
            f"graph {i} must have a symmetric A with zero diagonal (undirected, no loops)"
        )


def _degree_arrays(i: int, A: np.ndarray, num_features: int) -> tuple[np.ndarray, np.ndarray]:
    degree = A.sum(1).astype(int)
    if degree.max(initial=0) >= num_features:
        raise ValueError(
            f"graph {i} has a node of degree {degree.max()}, but {num_features} features hold "
            f"degrees up to {num_features - 1}"
        )
    return np.eye(num_features)[degree], A
