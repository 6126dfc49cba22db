"""Plain and attributed graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from scidiff.data.graph_exchange import UNTYPED, symbols, to_networkx
from scidiff.data.graph_text import canonical, key, parse
from scidiff.data.graph_tokens import EDGES, node_symbols, read, to_graphs, write
from scidiff.data.graphs import EDGE, GraphState
from scidiff.data.records import Record
from scidiff.data.tokens import TokenState, UnknownToken, Vocabulary, encode_rows

RULES: dict[str, Callable[[nx.Graph], bool]] = {
    "connected": nx.is_connected,
    "planar": nx.is_planar,
    "tree": nx.is_tree,
}


@dataclass(frozen=True)
class GraphDomain:
    """Token rows (`data.graph_tokens`) or dense arrays over the node and edge types of
    `vocabulary`; nothing is corrected.

    Objects are written as graph6 or sparse6, or as triangles where they have types; the text of a
    record is canonical. Rewards see networkx graphs, nodes 0 .. n - 1 in the order of the row,
    with the attribute `type` where there are types.
    rules: what a valid graph obeys beside having nodes, of connected, planar, tree.
    """

    vocabulary: Vocabulary
    rules: tuple[str, ...] = ()
    name: str = "graph"
    kind: str = "graph"
    notation: ClassVar[str] = "graph"

    def __post_init__(self) -> None:
        unknown = [rule for rule in self.rules if rule not in RULES]
        if unknown:
            raise ValueError(f"rules must be among {', '.join(RULES)}, got {', '.join(unknown)}")

    @classmethod
    def of(cls, nodes: Sequence[str] = (UNTYPED,), edges: int = 1,
           rules: tuple[str, ...] = ()) -> Self:
        """A domain of the given node symbols and number of edge types."""
        return cls(Vocabulary((*nodes, *EDGES[: edges + 1]), "graph"), rules)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Node symbols, in the order of a GraphState's features."""
        return node_symbols(self.vocabulary)

    # ---- objects to states

    @staticmethod
    def spell(text: str) -> str:
        """Write graph6, sparse6 or a triangle as a triangle. Raises ValueError where it cannot
        be."""
        return write(*parse(text))

    def encode(self, objects: Sequence[str | nx.Graph],
               max_nodes: int | None = None) -> TokenState:
        """Write texts or networkx graphs as token rows; an error names the first that cannot be
        written."""
        texts = []
        for number, graph in enumerate(objects, start=1):
            try:
                names, edges = parse(graph) if isinstance(graph, str) else symbols(graph)
                texts.append(write(names, edges))
                self._check(names, edges, max_nodes)
            except ValueError as error:
                raise type(error)(f"row {number}: {error}") from None
        return TokenState(encode_rows(self.vocabulary, texts))

    def encode_graphs(self, objects: Sequence[str | nx.Graph]) -> GraphState:
        """Write texts or networkx graphs as dense arrays."""
        return to_graphs(self.encode(objects).ids, self.vocabulary)

    def _check(self, names: Sequence[str], edges: NDArray[np.int64],
               max_nodes: int | None) -> None:
        if max_nodes is not None and len(names) > max_nodes:
            raise ValueError(f"has {len(names)} nodes, the model takes at most {max_nodes}")
        if foreign := sorted(set(names) - set(self.nodes)):
            raise UnknownToken(
                f"has node type {foreign[0]}, the model knows {' '.join(self.nodes)}")
        known = [s for s in EDGES if s in self.vocabulary.symbols]
        wrong = sorted({EDGES[v] for v in np.unique(edges)} - set(known)) if len(names) > 1 else []
        if wrong:
            raise UnknownToken(f"has edge type {wrong[0]}, the model knows {' '.join(known)}")

    # ---- states to objects

    def decode(self, state: TokenState | GraphState) -> list[Record]:
        """Read every row and check its rules; edge values count from .5 on, 1.5 is the next
        type.

        A domain of one node type takes any features: they are no types.
        """
        if isinstance(state, TokenState):
            return [self._read(row) for row in state.ids.tolist()]
        one = len(self.nodes) == 1
        if not one and state.X.shape[2] != len(self.nodes):
            raise ValueError(f"expected {len(self.nodes)} features, got {state.X.shape[2]}")
        arrays = (v.cpu().numpy() for v in (state.X, state.A, state.mask))
        return [self._round(x[m], a[np.ix_(m, m)]) for x, a, m in zip(*arrays, strict=True)]

    def key(self, record: Record) -> str:
        """The same text for isomorphic graphs, types included: canonical graph6, sparse6 or
        triangle.

        A graph too symmetric for that (`data.canonical_graphs`) is named by a hash, "wl:..".
        """
        return key(*parse(record.text)) if record.valid else record.text

    def keys(self, objects: Sequence[str]) -> list[str]:
        """Keys of graphs given as text."""
        return [key(*parse(text)) for text in objects]

    def _read(self, row: Sequence[int]) -> Record:
        text = self.vocabulary.decode(row)
        if self.vocabulary.mask_id in row:
            return Record(text, None, False, "unfinished: some nodes or pairs are hidden")
        return self._record(*read(text))

    def _round(self, X: NDArray[np.floating], A: NDArray[np.floating]) -> Record:
        types = max((EDGES.index(s) for s in self.vocabulary.symbols if s in EDGES), default=0)
        edges = np.digitize(A, EDGE + np.arange(types))
        np.fill_diagonal(edges, 0)
        chosen = X.argmax(1) if len(self.nodes) > 1 else np.zeros(len(X), np.int64)
        return self._record([self.nodes[c] for c in chosen], edges)

    def _record(self, names: Sequence[str], edges: NDArray[np.int64]) -> Record:
        if not names:
            return Record("", None, False, "nodes: there are none")
        graph: Any = to_networkx(names, edges)
        broken = next((rule for rule in self.rules if not RULES[rule](graph)), None)
        text = canonical(names, edges)
        if broken:
            return Record(text, None, False, f"{broken}: the graph is not")
        return Record(text, graph, True)


DOMAIN = GraphDomain
