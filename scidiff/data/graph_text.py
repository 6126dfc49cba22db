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
        return symbols(_decoded(text, "sparse6"), None, None)
    alone = text[0] == "[" or len(text) == 1 and text not in SPECIAL
    if alone or any(c in EDGES for c in text):
        return read(text)
    return symbols(_decoded(text, "graph6"), None, None)


def compact(names: Sequence[str], edges: NDArray[np.integer]) -> str:
    """Write an untyped graph as graph6 or sparse6, whichever is shorter, any other as a
    triangle."""
    if set(names) != {UNTYPED} or np.any(np.asarray(edges) > 1):
        return write(names, edges)
    graph = to_networkx(names, edges)
    dense = nx.to_graph6_bytes(graph, header=False).decode().strip()
    sparse = nx.to_sparse6_bytes(graph, header=False).decode().strip()
    return min(dense, sparse, key=len)


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


def _decoded(text: str, form: str) -> nx.Graph:
    parse = nx.from_sparse6_bytes if form == "sparse6" else nx.from_graph6_bytes
    try:
        return parse(text.encode("ascii"))
    except (nx.NetworkXError, ValueError, IndexError, StopIteration) as error:
        raise ValueError(f"cannot be read as {form}: {str(error) or 'it ends too soon'}") from None
