"""A part of a graph that is given: token rows that hold it and hide everything around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.data.graph_tokens import (
    EDGES,
    entries,
    node_count,
    read,
    to_graphs,
    triangle,
    typed_matrix,
)
from scidiff.data.tokens import EOS, PAD, Vocabulary

OPEN_END, _STAND_IN = "[*]", "U"  # * is an edge type, so an element nobody designs stands in


@dataclass(frozen=True)
class Scaffold:
    """Given nodes and the edges between them, and which nodes new ones may be joined to."""

    nodes: tuple[str, ...]
    edges: NDArray[np.int64]  # (n, n) symmetric, an index of EDGES
    open: NDArray[np.bool_]  # (n,)

    @classmethod
    def of(cls, pattern: str, spell: Callable[[str], str]) -> Scaffold:
        """Read a pattern as users write it, `spell` being the domain's. The nodes beside a [*] are
        open, and the [*] itself is not kept; where there is none, every node is open."""
        nodes, edges = read(spell(pattern.replace(OPEN_END, f"[{_STAND_IN}]")))
        ends = np.array([node == _STAND_IN for node in nodes], bool)
        kept = ~ends
        if not kept.any():
            raise ValueError(f"a scaffold keeps at least one node, got {pattern!r}")
        beside = edges[ends].any(0) if ends.any() else np.ones(len(nodes), bool)
        names = tuple(node for node in nodes if node != _STAND_IN)
        return cls(names, edges[np.ix_(kept, kept)], beside[kept])

    def __len__(self) -> int:
        return len(self.nodes)

    def row(self, nodes: int, vocabulary: Vocabulary) -> list[int]:
        """Token ids of a graph of `nodes` nodes, the given ones first: MASK where anything may be
        written, "no edge" between new nodes and those that are not open."""
        n, hidden = len(self), vocabulary.mask_id
        ids = []
        for i, j in zip(*(index.tolist() for index in entries(nodes)), strict=True):
            if j >= n and (i >= n or self.open[i]):
                ids.append(hidden)
            else:  # beyond the given nodes this is a pair that must stay apart
                edge = EDGES[int(self.edges[i, j])] if j < n else EDGES[0]
                ids += vocabulary.encode(self.nodes[i] if i == j else edge)
        return ids

    def arrays(
        self, nodes: int, vocabulary: Vocabulary
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Clean (X, A) and what of them is known, (1, N, F) and (1, N, N), N = nodes: `row` as
        arrays."""
        ids = torch.tensor([self.row(nodes, vocabulary)])
        graph, given = to_graphs(ids, vocabulary), typed_matrix(ids) != vocabulary.mask_id
        atoms = given.diagonal(dim1=1, dim2=2)[..., None].expand(graph.X.shape)
        return (graph.X, graph.A), (atoms, given)


class RowLaw:
    """Draw one of the given rows ids (R, L), row r with probability weights[r] / sum(weights); no
    two of them are of equal length."""

    def __init__(self, ids: Tensor, weights: Sequence[float], mask_id: int) -> None:
        law = torch.tensor(weights, dtype=torch.float64)
        if len(law) != len(ids) or not float(law.sum()) > 0 or bool((law < 0).any()):
            raise ValueError(
                f"weights must be {len(ids)} numbers, 0 or more, not all 0, got {law.tolist()}"
            )
        self.ids, self.hidden = ids, ids == mask_id
        self.length, self.max_masked = ids.shape[1], int(self.hidden.sum(1).max())
        self._law, self._ends = law.cumsum(0), _ends(ids)

    def __call__(self, n: int, rng: Rng) -> Tensor:
        """Draw ids (n, L)."""
        law = self._law.to(rng.device)
        drawn = torch.searchsorted(law, uniform((n,), rng).double() * law[-1], right=True)
        return self.ids.to(rng.device)[drawn]

    def free(self, clean: Tensor) -> Tensor:
        """Which positions of finished rows (B, L) were hidden: those of the row of their
        length."""
        which = (_ends(clean)[:, None] == self._ends.to(clean.device)).int().argmax(1)
        return self.hidden.to(clean.device)[which]


def _ends(ids: Tensor) -> Tensor:
    """Where the EOS of every row stands, (B,)."""
    return (ids == EOS).int().argmax(1)


def names_of(kind: str) -> tuple[str, str]:
    """What messages call objects of a domain's kind, and what these are made of."""
    return ("molecules", "atoms") if kind == "molecule" else ("graphs", "nodes")


def too_large(kind: str, most: int, got: int) -> ValueError:
    """The error of a size that a model does not take."""
    whole, part = names_of(kind)
    return ValueError(f"the model takes {whole} of at most {most} {part}, got {got}")


def scaffold_rows(
    scaffold: Scaffold, sizes: Sequence[int], vocabulary: Vocabulary, length: int,
    kind: str = "molecule",
) -> Tensor:
    """One row (R, length) for each number of nodes in `sizes`; `kind` is the domain's."""
    if max(sizes) > len(scaffold) and not scaffold.open.any():
        part = names_of(kind)[1].removesuffix("s")
        raise ValueError(f"no {part} of the scaffold is open: nothing can be joined to it")
    rows = [[*scaffold.row(n, vocabulary), EOS] for n in sizes]
    longest = max(len(row) for row in rows)
    if longest > length:
        raise too_large(kind, node_count(length - 1), max(sizes))
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])


def node_weights(length_counts: Sequence[float]) -> list[float]:
    """How often a graph has n nodes, n = 0, 1, ...: counts of symbols are counts of triangles."""
    out: list[float] = []
    while triangle(len(out)) < len(length_counts):
        out.append(length_counts[triangle(len(out))])
    return out


def node_law(
    weights: Sequence[float], nodes: int | None, kind: str = "molecule"
) -> list[float]:
    """The law of the number of nodes (N + 1,): the training set's, or `nodes` alone; `kind` is
    the domain's."""
    most = len(weights) - 1
    if nodes is None:
        return list(weights)
    if nodes > most:
        raise too_large(kind, most, nodes)
    return [float(n == nodes) for n in range(nodes + 1)]


def around(law: Sequence[float], given: int, kind: str = "molecule") -> list[float]:
    """The law of graphs that have more nodes than are given; `kind` is the domain's."""
    rest = [weight if n > given else 0.0 for n, weight in enumerate(law)]
    if not any(rest):
        whole, part = names_of(kind)
        raise ValueError(
            f"the scaffold has {given} {part} and {whole} of at most {len(law) - 1} are drawn: "
            "nothing is left to write"
        )
    return rest
