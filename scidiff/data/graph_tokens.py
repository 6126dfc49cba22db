"""Graphs as token rows: the lower triangle of the typed adjacency matrix, row by row, each row
from its diagonal.

Node j stands at j (j + 1) / 2 and is followed by its pairs (0, j), .., (j - 1, j), so a graph of n
nodes is the first n (n + 1) / 2 positions of any larger one: rows are padded behind their end like
strings, and every process, order, canvas and batch for token rows works on graphs. As text it is
the symbols one after the other, atoms as in SMILES and a bond symbol for every pair, "." where
there is no bond: ethanol is "CC-O.-".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scidiff.data.graphs import GraphState
from scidiff.data.tokens import FIRST_SYMBOL, NOTATIONS, Vocabulary

EDGES = (".", "-", "=", "#", "$", ":", "/", "+", "*")
"""Edge symbols by their value: none, single, double, triple bond, and five more types for graphs
that are no molecules; 1 is the edge of an untyped graph."""

BONDS = EDGES[:4]
SPECIAL = ("?", "@", "&", ">")  # letters that a node cannot be: they mean something in other texts
_VALUE = {symbol: value for value, symbol in enumerate(EDGES)}
_cut = NOTATIONS["graph"]


def triangle(nodes: int) -> int:
    """Positions of a graph of `nodes` nodes."""
    return nodes * (nodes + 1) // 2


def node_count(length: int) -> int:
    """The most nodes whose triangle fits in `length` positions."""
    return (math.isqrt(8 * length + 1) - 1) // 2


@lru_cache(maxsize=64)
def places(nodes: int) -> Tensor:
    """The position of every node (diagonal) and pair: (N, N) int64, symmetric."""
    i = torch.arange(nodes)
    low, high = torch.minimum(i[:, None], i), torch.maximum(i[:, None], i)
    return torch.where(low == high, triangle_of(high), triangle_of(high) + 1 + low)


def triangle_of(node: Tensor) -> Tensor:
    """Where node `node` stands."""
    return node * (node + 1) // 2


@lru_cache(maxsize=64)
def entries(nodes: int) -> tuple[Tensor, Tensor]:
    """Row and column (i <= j) of every position: two (L,) int64, L = triangle(nodes)."""
    j = torch.arange(nodes).repeat_interleave(torch.arange(1, nodes + 1))
    offset = torch.arange(len(j)) - triangle_of(j)
    return torch.where(offset == 0, j, offset - 1), j


# ---------------------------------------------------------------- text


def write(nodes: Sequence[str], edges: NDArray[np.integer]) -> str:
    """Write node symbols (n,) and symmetric edge values (n, n), each an index of EDGES."""
    symbols = np.array(EDGES)[np.asarray(edges).astype(np.int64)]
    return "".join(node + "".join(symbols[j, :j]) for j, node in enumerate(nodes))


def read(text: str) -> tuple[list[str], NDArray[np.int64]]:
    """Read what `write` wrote: node symbols and symmetric edge values (n, n).

    Raises ValueError where the text is no triangle, or an atom and a bond stand at each other's
    place.
    """
    symbols = _cut(text)
    n = node_count(len(symbols))
    if triangle(n) != len(symbols):
        raise ValueError(
            f"a graph of n nodes has n (n + 1) / 2 symbols, got {len(symbols)}; the nearest are "
            f"{triangle(n)} and {triangle(n + 1)}"
        )
    i, j = (index.numpy() for index in entries(n))
    values = np.array([_VALUE.get(symbol, -1) for symbol in symbols], np.int64)
    wrong = np.flatnonzero((i == j) == (values >= 0))
    if len(wrong):
        kind = "a node" if i[wrong[0]] == j[wrong[0]] else f"one of {' '.join(EDGES)}"
        raise ValueError(f"symbol {wrong[0] + 1} must be {kind}, got {symbols[wrong[0]]!r}")
    edges = np.zeros((n, n), np.int64)
    edges[i, j] = edges[j, i] = np.where(i == j, 0, values)
    return [symbols[place] for place in np.flatnonzero(i == j)], edges


def node_symbol(name: str) -> str:
    """Name a node type as one symbol: a letter stands for itself, kinase is written [kinase].

    Raises ValueError for a name with brackets inside.
    """
    symbol = name if name.startswith("[") or len(name) == 1 else f"[{name}]"
    symbol = f"[{symbol}]" if symbol in (*EDGES, *SPECIAL) else symbol
    if _cut(symbol) != [symbol]:
        raise ValueError(f"a node type must be a name without brackets, got {name!r}")
    return symbol


# ---------------------------------------------------------------- token ids


def kinds(vocabulary: Vocabulary) -> list[int]:
    """What each id may stand for, (V,): 0 PAD and EOS, 1 a node, 2 a pair, 3 MASK."""
    found = [2 if symbol in EDGES else 1 for symbol in vocabulary.symbols]
    return [0, 0, *found, 3]


def bonded_ids(vocabulary: Vocabulary) -> tuple[int, ...]:
    """Ids of the edge symbols that join two nodes, weakest first."""
    joined = [s for s in EDGES[1:] if s in vocabulary.symbols]
    return tuple(vocabulary.symbols.index(s) + FIRST_SYMBOL for s in joined)


def node_symbols(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The node types of a vocabulary, in its order: the features of a GraphState."""
    return tuple(s for s in vocabulary.symbols if s not in EDGES)


def typed_matrix(ids: Tensor) -> Tensor:
    """Lay token rows (B, L) out as (B, N, N): node ids on the diagonal, pair ids beside it."""
    N = node_count(ids.shape[1])
    return ids[:, places(N).to(ids.device)]


def to_graphs(ids: Tensor, vocabulary: Vocabulary) -> GraphState:
    """Read finished or partly hidden rows as arrays: one-hot nodes (zero where hidden) and edge
    values (0 where hidden)."""
    matrix = typed_matrix(ids)
    nodes, N = matrix.diagonal(dim1=1, dim2=2), matrix.shape[-1]
    kind = torch.tensor(kinds(vocabulary), device=ids.device)
    mask = kind[nodes] % 2 == 1
    columns = [vocabulary.symbols.index(s) + FIRST_SYMBOL for s in node_symbols(vocabulary)]
    X = (nodes[..., None] == torch.tensor(columns, device=ids.device)).float()
    values = torch.zeros(len(vocabulary), device=ids.device)
    for value, symbol in enumerate(EDGES):
        if symbol in vocabulary.symbols:
            values[vocabulary.symbols.index(symbol) + FIRST_SYMBOL] = value
    off = ~torch.eye(N, dtype=torch.bool, device=ids.device)
    return GraphState(X, values[matrix] * off, mask)
