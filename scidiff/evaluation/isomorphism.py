"""Which graphs are the same graph: Weisfeiler-Leman keys first, an exact test where they agree."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from scidiff.evaluation.adjacency import Adjacency, to_networkx

ROUNDS = 4


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter 64-bit words: the finaliser of splitmix64 (Steele et al. 2014), a bijection."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def wl_key(A: Adjacency) -> int:
    """Equal for isomorphic graphs, rarely for others (Weisfeiler and Leman 1968).

    A colour becomes mix(mix(colour) + sum over neighbours of colours), ROUNDS times; sums of
    scattered words stand for multisets.
    """
    a = A.astype(np.uint64)
    colour = mix(a.sum(1))
    for _ in range(ROUNDS):
        colour = mix(mix(colour) + a @ colour)
    return int(mix(colour).sum())


class GraphSet:
    """Isomorphism classes seen so far."""

    def __init__(self, graphs: Sequence[Adjacency] = ()) -> None:
        self._buckets: dict[tuple[int, int], list[nx.Graph]] = {}
        for A in graphs:
            self.add(A)

    def add(self, A: Adjacency) -> bool:
        """Take a graph in; False where an isomorphic one is there already."""
        bucket = self._buckets.setdefault(_key(A), [])
        graph = to_networkx(A)
        if _among(graph, bucket):
            return False
        bucket.append(graph)
        return True

    def __contains__(self, A: Adjacency) -> bool:
        return _among(to_networkx(A), self._buckets.get(_key(A), []))


def first_of_its_kind(graphs: Sequence[Adjacency]) -> NDArray[np.bool_]:
    """Say of each graph whether no earlier one is isomorphic to it, (B,)."""
    seen = GraphSet()
    return np.array([seen.add(A) for A in graphs], np.bool_)


def _key(A: Adjacency) -> tuple[int, int]:
    return len(A), wl_key(A)


def _among(graph: nx.Graph, others: Sequence[nx.Graph]) -> bool:
    return any(nx.vf2pp_is_isomorphic(graph, other) for other in others)
