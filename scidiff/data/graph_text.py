"""A graph as one line of text: graph6 or sparse6 (McKay), or the triangle of a typed graph.

The three cannot be confused: sparse6 starts with ":", every triangle of two or more nodes holds an
edge symbol, which graph6 never does, and one node is one letter or stands in brackets.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from scidiff.data.canonical_graphs import canonical_order, weisfeiler_leman
from scidiff.data.graph_exchange import UNTYPED, Typed, symbols, to_networkx
from scidiff.data.graph_tokens import EDGES, SPECIAL, read, write

HEADERS = (">>graph6<<", ">>sparse6<<")


def parse(text: str) -> Typed:
    """Read a graph given in any of the three; raises ValueError for what is no simple graph."""
    for header in HEADERS:
        text = text.removeprefix(header)
    if not text:
        raise ValueError("expected a graph as graph6, sparse6 or a triangle, got nothing")
    if text[0] == "&":
        raise ValueError("is directed (digraph6), expected an undirected graph")
    if text[0] == ":":
        return symbols(_sparse6(text), None, None)
    alone = text[0] == "[" or len(text) == 1 and text not in SPECIAL
    if alone or any(c in EDGES for c in text):
        return read(text)
    edges = _from_graph6(text)
    return [UNTYPED] * len(edges), edges


def compact(names: Sequence[str], edges: NDArray[np.integer]) -> str:
    """Write an untyped graph as graph6 or sparse6, whichever is shorter, any other as a
    triangle."""
    if set(names) != {UNTYPED} or np.any(np.asarray(edges) > 1):
        return write(names, edges)
    dense = _graph6(edges)
    least = np.count_nonzero(edges) // 2 * (1 + (len(edges) - 1).bit_length()) / 6
    if least >= len(dense):
        return dense
    graph = to_networkx(names, edges)
    return min(dense, nx.to_sparse6_bytes(graph, header=False).decode().strip(), key=len)


def canonical(names: Sequence[str], edges: NDArray[np.integer]) -> str:
    """Write a graph so that isomorphic ones, and only they, are written alike.

    Graphs too symmetric for `canonical_order` are written as they stand; see `key`.
    """
    order = _order(names, edges)
    if order is None:
        return compact(names, edges)
    return compact([names[i] for i in order], edges[np.ix_(order, order)])


def key(names: Sequence[str], edges: NDArray[np.integer]) -> str:
    """The canonical text, or where there is none "wl:" and a hash that isomorphic graphs share
    (and, rarely, others)."""
    order = _order(names, edges)
    if order is not None:
        return compact([names[i] for i in order], edges[np.ix_(order, order)])
    return f"wl:{len(names)}:{weisfeiler_leman(*_numbered(names, edges)):016x}"


def _order(names: Sequence[str], edges: NDArray[np.integer]) -> NDArray[np.int64] | None:
    return canonical_order(*_numbered(names, edges))


def _numbered(names: Sequence[str],
              edges: NDArray[np.integer]) -> tuple[list[int], NDArray[np.integer]]:
    """Node types as numbers that depend on their names only, not on what else is there."""
    words = {name: blake2b(name.encode(), digest_size=8).digest() for name in set(names)}
    return [int.from_bytes(words[name], "big") for name in names], edges


def _sparse6(text: str) -> nx.Graph:
    try:
        return nx.from_sparse6_bytes(text.encode("ascii"))
    except (nx.NetworkXError, ValueError, IndexError, StopIteration) as error:
        raise ValueError(
            f"cannot be read as sparse6: {str(error) or 'it ends too soon'}") from None


def _graph6(edges: NDArray[np.integer]) -> str:
    """The upper triangle column by column, the order of a triangle's pairs, six bits a letter."""
    n = len(edges)
    bits = np.asarray(edges)[_pairs(n)] > 0
    sixes = np.pad(bits, (0, -len(bits) % 6)).reshape(-1, 6) @ (1 << np.arange(6)[::-1])
    head = [n] if n <= 62 else [63, *((n >> shift & 63) for shift in (12, 6, 0))]
    return bytes([value + 63 for value in (*head, *sixes.tolist())]).decode()


def _from_graph6(text: str) -> NDArray[np.int64]:
    values = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64) - 63
    if (values < 0).any() or (values > 63).any():
        raise ValueError("cannot be read as graph6: its letters are ? to ~")
    long = len(values) > 3 and values[0] == 63
    n = int(values[1:4] @ [4096, 64, 1]) if long else int(values[0])
    body = values[4:] if long else values[1:]
    if n == 0:
        raise ValueError("has no nodes")
    if len(body) != -(-n * (n - 1) // 12):
        raise ValueError(f"cannot be read as graph6: {n} nodes take {-(-n * (n - 1) // 12)} "
                         f"letters more, got {len(body)}")
    bits = (body[:, None] >> np.arange(6)[::-1] & 1).ravel()[: n * (n - 1) // 2]
    edges = np.zeros((n, n), np.int64)
    edges[_pairs(n)] = bits
    return edges + edges.T


def _pairs(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of every pair i < j, column by column."""
    j, i = np.tril_indices(n, -1)
    return i, j
