"""Which graphs are the same graph: Weisfeiler-Leman keys first, an exact test where they agree."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from scidiff.data.canonical_graphs import weisfeiler_leman
from scidiff.evaluation.adjacency import Adjacency, to_networkx


def wl_key(A: Adjacency) -> int:
    """Equal for isomorphic graphs, rarely for others."""
    return weisfeiler_leman([0] * len(A), A)


class GraphSet:
    """Isomorphism classes, numbered as they were first seen."""

    def __init__(self, graphs: Sequence[Adjacency] = ()) -> None:
        self._buckets: dict[tuple[int, int], list[tuple[int, nx.Graph]]] = {}
        self._size = 0
        for A in graphs:
            self.add(A)

    def __len__(self) -> int:
        return self._size

    def __contains__(self, A: Adjacency) -> bool:
        return self._find(to_networkx(A), self._buckets.get(_key(A), ())) is not None

    def add(self, A: Adjacency) -> int:
        """Take a graph in and number its class."""
        bucket, graph = self._buckets.setdefault(_key(A), []), to_networkx(A)
        known = self._find(graph, bucket)
        if known is not None:
            return known
        bucket.append((self._size, graph))
        self._size += 1
        return self._size - 1

    @staticmethod
    def _find(graph: nx.Graph, bucket: Sequence[tuple[int, nx.Graph]]) -> int | None:
        return next((i for i, other in bucket if nx.vf2pp_is_isomorphic(graph, other)), None)


def isomorphism_classes(graphs: Sequence[Adjacency]) -> NDArray[np.int64]:
    """Number the class of every graph, in the order of first appearance, (B,)."""
    seen = GraphSet()
    return np.array([seen.add(A) for A in graphs], np.int64)


def _key(A: Adjacency) -> tuple[int, int]:
    return len(A), wl_key(A)
