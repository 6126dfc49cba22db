"""Canonical labelling of small typed graphs: isomorphic graphs get one order of their nodes.

Colours are refined until equitable (Weisfeiler and Leman 1968), a node of the first cell that is
left is told apart from the others, and so on; of all orders found in this way the one with the
smallest matrix is taken (McKay 1981), and automorphisms met on the way prune the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Order = NDArray[np.int64]  # (n,) which node stands at each place
Leaf = tuple[bytes, Order]  # what is compared, and the order that gave it
BUDGET = 3_000  # refinements
STEP = np.uint64(0x9E3779B97F4A7C15)


class OverBudget(Exception):
    """The graph is too symmetric for this search."""


def mix(x: Words) -> Words:
    """Scatter 64-bit words: the finaliser of splitmix64 (Steele et al. 2014), a bijection."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def canonical_order(types: Sequence[int], edges: NDArray[np.integer]) -> Order | None:
    """The canonical order of nodes with types (n,) and symmetric edge values (n, n).

    None where BUDGET refinements do not settle it, as in large strongly regular graphs.
    """
    search = _Search(np.asarray(edges, np.int64))
    try:
        return search.best(search.refine(mix(np.asarray(types, np.uint64))), ())[1]
    except OverBudget:
        return None


def weisfeiler_leman(types: Sequence[int], edges: NDArray[np.integer | np.bool_]) -> int:
    """A 64-bit word that is equal for isomorphic graphs and rarely for others."""
    search = _Search(np.asarray(edges, np.int64))
    return int(mix(search.refine(mix(np.asarray(types, np.uint64)))).sum())


class _Search:
    """The search tree over one graph."""

    def __init__(self, edges: NDArray[np.int64]) -> None:
        self.edges = edges
        self.source, self.target = np.nonzero(edges)
        self.kind = mix(edges[self.source, self.target].astype(np.uint64) + np.uint64(1))
        self.automorphisms: list[Order] = []
        self.left = BUDGET

    def refine(self, colour: Words) -> Words:
        """Split colours by the colours around them until no cell splits."""
        self.left -= 1
        if self.left < 0:
            raise OverBudget
        cells = 0
        while len(np.unique(colour)) > cells:
            cells = len(np.unique(colour))
            around = np.zeros(len(colour), np.uint64)
            np.add.at(around, self.source, mix(colour[self.target] ^ self.kind))
            colour = mix(mix(colour) + around)
        return colour

    def best(self, colour: Words, fixed: tuple[int, ...]) -> Leaf:
        """The smallest leaf below a refined colouring in which the nodes `fixed` are told
        apart."""
        colour, cell = self._open(colour)
        if len(cell) == 0:
            return self._leaf(colour)
        found = first = None
        tried: list[int] = []
        for node in cell.tolist():
            if self._alike(node, tried, fixed):
                continue
            child = self._apart(colour, np.array([node]))
            path = self._descend(child)
            if first is not None and path[0] == first[0]:
                self._keep(first[1], path[1])
                continue
            tried.append(node)
            first = first or path
            leaf = self.best(child, (*fixed, node))
            if found is not None and leaf[0] == found[0]:
                self._keep(found[1], leaf[1])
            found = leaf if found is None else min(found, leaf, key=itemgetter(0))
        assert found is not None
        return found

    def _open(self, colour: Words) -> tuple[Words, Order]:
        """The smallest cell of several nodes that are not all twins, the first by colour among
        equals; twins are told apart at once, since any order of them gives the same matrix."""
        while True:
            colours, sizes = np.unique(colour, return_counts=True)
            several = np.flatnonzero(sizes > 1)
            if len(several) == 0:
                return colour, several
            chosen = several[np.argmin(sizes[several])]
            cell = np.flatnonzero(colour == colours[chosen])
            if not self._twins(cell):
                return colour, cell
            colour = self._apart(colour, cell)

    def _twins(self, cell: Order) -> bool:
        rows = self.edges[cell].copy()
        inside = rows[:, cell][~np.eye(len(cell), dtype=bool)]
        rows[:, cell] = 0
        return bool((inside == inside[0]).all() and (rows == rows[0]).all())

    def _apart(self, colour: Words, nodes: Order) -> Words:
        colour = colour.copy()
        colour[nodes] = mix(colour[nodes] ^ (np.arange(1, len(nodes) + 1, dtype=np.uint64) * STEP))
        return self.refine(colour)

    def _descend(self, colour: Words) -> Leaf:
        """The leaf reached by taking the first node of every cell."""
        colour, cell = self._open(colour)
        while len(cell):
            colour, cell = self._open(self._apart(colour, cell[:1]))
        return self._leaf(colour)

    def _leaf(self, colour: Words) -> Leaf:
        order = np.argsort(colour, kind="stable")
        # colours settle which node types stand where, so the edges decide between two leaves
        return np.sort(colour).tobytes() + self.edges[np.ix_(order, order)].tobytes(), order

    def _keep(self, one: Order, other: Order) -> None:
        moved = np.empty_like(one)
        moved[one] = other
        self.automorphisms.append(moved)

    def _alike(self, node: int, tried: Sequence[int], fixed: tuple[int, ...]) -> bool:
        """Whether known automorphisms that leave `fixed` in place take a tried node here."""
        known = [g for g in self.automorphisms if all(g[f] == f for f in fixed)]
        reached, front = set(tried), list(tried)
        while front:
            v = front.pop()
            new = {int(g[v]) for g in known} - reached
            reached |= new
            front += new
        return node in reached
