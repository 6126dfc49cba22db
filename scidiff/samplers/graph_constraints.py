"""Constraints on graphs written as token rows (`data.graph_tokens`): node types, degrees,
valences, edge budgets, connectedness.

Each asks whether the nodes and pairs that are still hidden can be filled in well. Node types,
capacities and budgets are answered exactly, one by one. Connected is answered by conditions that
every completion must meet; they are not always sufficient together with capacities, so a rare row
can get stuck. Several constraints are asked one by one, which is necessary and not sufficient for
all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from scidiff.data.graph_tokens import (
    BONDS,
    EDGES,
    bonded_ids,
    kinds,
    node_symbols,
    typed_matrix,
)
from scidiff.data.tokens import EOS, FIRST_SYMBOL, Vocabulary
from scidiff.messages import nearest
from scidiff.processes.discrete_flow import graph_kinds
from scidiff.samplers.constraints import Count

NODE, PAIR, HIDDEN = 1, 2, 3  # see `data.graph_tokens.kinds`
MOST_NODES = 62  # whose neighbours fit the bits of an int64


class Alphabet:
    """Node types at nodes, edge types at pairs, and the end where it was given: for networks that
    do not know it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.kinds = torch.tensor(kinds(vocabulary))

    def __call__(self, ids: Tensor) -> Tensor:
        matrix = typed_matrix(ids)
        kind, ended = self.kinds.to(ids.device)[matrix], matrix <= EOS
        diagonal = torch.eye(matrix.shape[-1], dtype=torch.bool, device=ids.device)
        stands = ended | (kind == torch.where(diagonal, NODE, PAIR)) | (kind == HIDDEN)
        last = ended.diagonal(dim1=1, dim2=2)  # nodes behind the end
        agrees = ended == (last[:, None] | last[..., None])
        return (stands & agrees).flatten(1).all(1) & ~last[:, 0]


def edge_budget(
    vocabulary: Vocabulary, length: int, *, least: int = 0, most: int | None = None
) -> Count:
    """Between `least` and `most` pairs that are joined."""
    pairs, joined = graph_kinds(length) == 1, list(bonded_ids(vocabulary))
    return Count(joined, len(vocabulary), least=least, most=most, at=pairs)


class NodeTypes:
    """How many nodes of each type: {"O": 2} is exact, {"N": (0, 3)} a range, None for no bound.

    Types that are not named are free, or absent with `others` False. With a `capacity` a hidden
    node counts only for types that can hold what is bonded to it already.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        counts: Mapping[str, int | tuple[int, int | None]],
        *,
        others: bool = True,
        capacity: Capacity | None = None,
    ) -> None:
        names = node_symbols(vocabulary)
        _check_names(counts, names)
        ranges = [_range(counts.get(name, (0, None if others else 0))) for name in names]
        self.least = torch.tensor([float(least) for least, _ in ranges])
        self.most = torch.tensor([math.inf if m is None else float(m) for _, m in ranges])
        ids = [FIRST_SYMBOL + vocabulary.symbols.index(name) for name in names]
        self.ids, self.mask_id = torch.tensor(ids), vocabulary.mask_id
        self.capacity = capacity
        limits = torch.zeros(1) if capacity is None else capacity.limit[self.ids].unique()
        self.limits = [float(limit) for limit in limits]

    def __call__(self, ids: Tensor) -> Tensor:
        matrix = typed_matrix(ids)
        nodes = matrix.diagonal(dim1=1, dim2=2)
        least, most, types = (part.to(ids.device) for part in (self.least, self.most, self.ids))
        has, hidden = (nodes[..., None] == types).sum(1), nodes == self.mask_id
        used, limit = torch.zeros_like(nodes), torch.zeros_like(types)
        if self.capacity is not None:
            used = self.capacity.used(matrix).long()
            limit = self.capacity.limit.to(ids.device)[types].long()
        wanted, left, fine = (least - has).clamp(min=0), most - has, (has <= most).all(1)
        for below, bound in pairwise([-1.0, *self.limits]):  # Hall: who can hold what is nested
            light, heavy = hidden & (used <= bound), hidden & (used > below)
            fine = fine & ((wanted * (limit <= bound)).sum(1) <= light.sum(1))
            fine = fine & (torch.where(limit >= bound, left, 0.0).sum(1) >= heavy.sum(1))
        return fine


class Capacity:
    """What each node can hold: the sum over its pairs stays within the limit of its type.

    A node that is still hidden may become the type with the largest limit. See `valence` and
    `max_degree`.
    """

    def __init__(
        self, vocabulary: Vocabulary, cost: Mapping[str, int], limit: Mapping[str, int]
    ) -> None:
        names = node_symbols(vocabulary)
        _check_names(limit, names)
        missing = [name for name in names if name not in limit]
        if missing:
            raise ValueError(f"limits must name every node type, missing {', '.join(missing)}")
        V = len(vocabulary)
        self.cost, self.limit = torch.zeros(V), torch.zeros(V)
        for i, symbol in enumerate(vocabulary.symbols, start=FIRST_SYMBOL):
            self.cost[i], self.limit[i] = cost.get(symbol, 0), limit.get(symbol, 0)
        self.limit[vocabulary.mask_id] = self.limit.max()

    def free(self, matrix: Tensor) -> Tensor:
        """What each node of rows laid out as (B, N, N) can still hold, (B, N); 0 where there is
        none."""
        nodes = matrix.diagonal(dim1=1, dim2=2)
        return self.limit.to(matrix.device)[nodes] - self.used(matrix)

    def used(self, matrix: Tensor) -> Tensor:
        """What the pairs that are written take of each node (B, N); the diagonal costs nothing."""
        return self.cost.to(matrix.device)[matrix].sum(-1)

    def __call__(self, ids: Tensor) -> Tensor:
        return (self.free(typed_matrix(ids)) >= 0).all(1)


def valence(vocabulary: Vocabulary, limit: Mapping[str, int]) -> Capacity:
    """Bond orders at a node sum to at most `limit` of its type: {"C": 4, "[N+]": 4, ..}; bonds
    that are no part of a Kekule structure have no order."""
    for symbol in set(vocabulary.symbols) & set(EDGES) - set(BONDS):
        raise ValueError(f"valences need edge types among {' '.join(BONDS)}, got {symbol!r}")
    return Capacity(vocabulary, {symbol: order for order, symbol in enumerate(BONDS)}, limit)


def max_degree(vocabulary: Vocabulary, limit: int | Mapping[str, int]) -> Capacity:
    """A node joins at most `limit` others, one number or one for each type."""
    if isinstance(limit, int):
        limit = {name: limit for name in node_symbols(vocabulary)}
    return Capacity(vocabulary, {symbol: 1 for symbol in EDGES[1:]}, limit)


class Connected:
    """The graph is one piece, as far as what is written, and what can still be joined, tells.

    A hidden pair can be joined where both nodes have room left in every one of `capacities`. A row
    is possible only if written and joinable pairs connect all nodes, if the c written pieces can
    offer the 2 (c - 1) ends of the edges that must join them, if every node has room for an edge
    to each part that only it holds (and none for others where that takes it all), and if at most
    `most_edges` edges suffice. To know exactly is to find a spanning tree with bounded degrees,
    which is NP-hard: without capacities the answer is exact, with them a row may get stuck.
    """

    def __init__(
        self, vocabulary: Vocabulary, *capacities: Capacity, most_edges: int | None = None
    ) -> None:
        self.capacities, self.most_edges, self.rounds = capacities, most_edges, 2
        self.joins = torch.zeros(len(vocabulary), dtype=torch.bool)
        self.joins[list(bonded_ids(vocabulary))] = True
        self.mask_id = vocabulary.mask_id

    def __call__(self, ids: Tensor) -> Tensor:
        matrix = typed_matrix(ids)
        N = matrix.shape[-1]
        if self.capacities and N > MOST_NODES:
            raise ValueError(
                f"Connected with capacities takes at most {MOST_NODES} nodes, got {N}; leave the "
                "capacities out and see which rows get stuck"
            )
        off = ~torch.eye(N, dtype=torch.bool, device=ids.device)
        present = matrix.diagonal(dim1=1, dim2=2) > EOS
        bonds, hidden = self.joins.to(ids.device)[matrix], (matrix == self.mask_id) & off
        room, pieces = self.room(matrix), closure(bonds)
        joinable = hidden & (room > 0)[:, None] & (room > 0)[..., None] & ~pieces
        missing = _count(pieces, present) - 1
        fine = torch.ones_like(present[:, 0])
        for _ in range(self.rounds):  # a round may forbid pairs, and so let the next one see more
            joinable = joinable & ~_dead_ends(pieces, joinable, room, missing)
            whole = closure(pieces | joinable) | ~present[:, None] | ~present[..., None]
            ends = torch.minimum(joinable.sum(-1), room).sum(1)
            fine = fine & whole.all((1, 2)) & (ends >= 2 * missing)
            if not self.capacities:
                break
            parts, held = hanging(bonds, bonds | joinable, present)
            fine = fine & (parts <= room).all(1)
            taken = (parts == room)[..., None] & ~held  # all its room is for parts only it holds
            joinable = joinable & ~taken & ~taken.mT
        if self.most_edges is None:
            return fine
        return fine & (bonds.flatten(1).sum(1) // 2 + missing <= self.most_edges)

    def room(self, matrix: Tensor) -> Tensor:
        """How many more edges each node can hold, (B, N); N where nothing bounds it."""
        room = matrix.new_full(matrix.shape[:2], matrix.shape[-1])
        for capacity in self.capacities:
            room = torch.minimum(room, capacity.free(matrix).long())
        return room


def closure(adjacency: Tensor) -> Tensor:
    """Which nodes reach which (B, N, N) bool, by repeated squaring; every node reaches itself."""
    N = adjacency.shape[-1]
    reach = adjacency | torch.eye(N, dtype=torch.bool, device=adjacency.device)
    for _ in range(max(N - 1, 1).bit_length()):
        step = reach.float()
        reach = (step @ step) > 0
    return reach


def hanging(bonds: Tensor, possible: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """How many parts of a graph would fall off without node v and are not bonded to it yet: v must
    join each by an edge of its own, (B, N); and which nodes j are in one, (B, v, j).

    Reachability of every graph without its v at once: rows of up to 62 nodes are bits of an
    integer, and Warshall's algorithm takes N passes over (B, v, N) of them.
    """
    N = bonds.shape[-1]
    index = torch.arange(N, device=bonds.device)
    bit = 1 << index
    row = ((possible | (index == index[:, None])) * bit).sum(-1)  # (B, N)
    reach = torch.where(index != index[:, None], row[:, None] & ~bit[:, None], 0)  # (B, v, N)
    for k in range(N):
        reach = reach | torch.where(reach & bit[k] > 0, reach[..., k, None], 0)
    bonded = (reach & (bonds * bit).sum(-1)[..., None]) > 0
    held = (reach > 0) & ~bonded & present[:, None] & present[..., None]
    first = (reach & -reach) == bit  # the lowest bit that a row reaches is its own
    return (held & first).sum(-1), held


def _count(pieces: Tensor, present: Tensor) -> Tensor:
    """How many pieces (B,): a piece is counted at its first node."""
    first = pieces.int().argmax(-1) == torch.arange(pieces.shape[-1], device=pieces.device)
    return (first & present).sum(1)


def _dead_ends(pieces: Tensor, joinable: Tensor, room: Tensor, missing: Tensor) -> Tensor:
    """Pairs (B, N, N) of pieces with one end each: joined to each other they are all there is."""
    ends = torch.minimum(joinable.sum(-1), room)
    single = (pieces * ends[:, None]).sum(-1) == 1
    return single[:, None] & single[..., None] & (missing > 1)[:, None, None]


def _range(count: int | tuple[int, int | None]) -> tuple[int, int | None]:
    least, most = (count, count) if isinstance(count, int) else count
    if least < 0 or (most is not None and most < least):
        raise ValueError(f"counts must be 0 <= least <= most, got {count}")
    return least, most


def _check_names(given: Mapping[str, object], names: tuple[str, ...]) -> None:
    for name in given:
        if name not in names:
            raise ValueError(
                f"node types must be among {' '.join(names)}, got {name!r}{nearest(name, names)}"
            )
