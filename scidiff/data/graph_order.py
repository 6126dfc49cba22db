"""The order in which a graph is written block by block: a partial order of its nodes that knows
nothing of how they are numbered (Pard, Zhao et al. 2024, arXiv 2402.03687).

Of the nodes that are left those of the smallest weighted degree are taken away together, again and
again; what was taken last is written first. Nodes that are alike up to `hops` steps around them
are one block, so no order is invented where the graph has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from scidiff.core import Stacked
from scidiff.data.graph_tokens import entries, node_count, triangle, typed_matrix
from scidiff.data.tokens import EOS

EXACT = 2**53  # whole numbers below are exact in float64


@dataclass(frozen=True)
class Blocks(Stacked):
    """Which block every node is in, 0 the one that is written first."""

    block: Tensor  # (B, N) int64, -1 where there is no node
    degree: Tensor  # (B, N) int64: edges to the own and to earlier blocks; 0 where hops is 0

    def __post_init__(self) -> None:
        if self.block.ndim != 2 or self.degree.shape != self.block.shape:
            raise ValueError(
                f"block and degree must be (B, N) both, got {tuple(self.block.shape)} and "
                f"{tuple(self.degree.shape)}"
            )

    @property
    def count(self) -> Tensor:
        """How many blocks each row has (B,)."""
        return self.block.amax(1) + 1

    @property
    def size(self) -> Tensor:
        """How many nodes are in the block of each node (B, N); 0 where there is none."""
        same = self.block[:, :, None] == self.block[:, None]
        return same.sum(-1) * (self.block >= 0)

    @property
    def order(self) -> Tensor:
        """Nodes by block (B, N): which one stands at each place, absent ones last."""
        behind = torch.where(self.block < 0, self.block.shape[1], self.block)
        return behind.argsort(dim=1, stable=True)

    def taken(self, order: Tensor) -> Blocks:
        """The same of nodes in another order (B, N)."""
        return Blocks(self.block.gather(1, order), self.degree.gather(1, order))

    def by_block(self, value: Tensor, blocks: int) -> Tensor:
        """A value (B, N) that is one in a block, block by block: (B, blocks), 0 behind."""
        member = F.one_hot(self.block + 1, blocks + 1)[..., 1:]
        return (member * value[..., None]).amax(1)


def partial_order(joined: Tensor, mask: Tensor, hops: int) -> Blocks:
    """Blocks of graphs with symmetric joined (B, N, N) bool and nodes mask (B, N) bool.

    Each round takes away the nodes for which (d_1, .., d_hops) is smallest, the first entry first,
    where d_1 is the degree among the nodes that are left and d_k+1 the sum of d_k over the
    neighbours. hops = 0 is one block. (One weight sum d_k n^(hops - k), as published, orders alike
    while d_k < n; of large graphs it overflows, and nodes of other degrees may share a block.)

    Raises ValueError where hops is negative, or so large that d_hops might not be exact.
    """
    N = mask.shape[1]
    if hops < 0 or N > 2 and (N - 1) ** hops >= EXACT:
        raise ValueError(
            f"hops must be 0 or more, and (nodes - 1)^hops below 2^53, got {hops} hops and "
            f"{N} nodes"
        )
    present = mask[:, :, None] & mask[:, None] & ~torch.eye(N, dtype=torch.bool).to(mask.device)
    edges, left = (joined & present).double(), mask
    taken, degree = torch.full_like(mask, -1, dtype=torch.int64), torch.zeros_like(mask).long()
    rounds = 0
    while bool(left.any()):
        lowest, degrees = _lowest(edges, left, hops)
        taken, degree = (
            torch.where(lowest, rounds, taken), torch.where(lowest, degrees.long(), degree)
        )  # fmt: skip
        left, rounds = left & ~lowest, rounds + 1
    return Blocks(torch.where(mask, taken.amax(1, keepdim=True) - taken, -1), degree)


def _lowest(edges: Tensor, left: Tensor, hops: int) -> tuple[Tensor, Tensor]:
    """Which of the nodes `left` (B, N) go next, and the degrees (B, N) among them."""
    around, lowest, degree = left.double(), left, torch.zeros_like(left).double()
    for hop in range(hops):
        around = (edges @ around[..., None])[..., 0] * left
        degree = around if hop == 0 else degree
        value = torch.where(lowest, around, torch.inf)
        lowest = lowest & (value == value.amin(1, keepdim=True))
    return lowest, degree


def blocks_of(ids: Tensor, bonded: Sequence[int], hops: int) -> Blocks:
    """Blocks of finished token rows (B, L), `bonded` being the ids of pairs that are joined."""
    matrix = typed_matrix(ids)
    joined = torch.isin(matrix, torch.tensor(bonded, device=ids.device))
    return partial_order(joined, present(ids), hops)


def present(ids: Tensor) -> Tensor:
    """Which nodes rows (B, L) have, (B, N) bool."""
    return typed_matrix(ids).diagonal(dim1=1, dim2=2) > EOS


def reordered(ids: Tensor, order: Tensor) -> Tensor:
    """Rows (B, L) with their nodes in another order (B, N), as of `Blocks.order`: the node that
    stands at each place. What is behind the graph stays."""
    N = node_count(ids.shape[1])
    rows = typed_matrix(ids).gather(1, order[:, :, None].expand(-1, -1, N))
    matrix = rows.gather(2, order[:, None].expand(-1, N, -1))
    i, j = (index.to(ids.device) for index in entries(N))
    return torch.cat([matrix[:, i, j], ids[:, triangle(N) :]], 1)


def in_block_order(ids: Tensor, bonded: Sequence[int], hops: int) -> tuple[Tensor, Blocks]:
    """Finished rows (B, L) with their nodes block by block, and the blocks. Nodes of one block
    keep the order they had."""
    found = blocks_of(ids, bonded, hops)
    return reordered(ids, found.order), found.taken(found.order)


def block_laws(
    rows: NDArray[np.integer], bonded: Sequence[int], hops: int, at_once: int = 4096
) -> dict[str, list[int]]:
    """How many rows (M, L) have a first block of n nodes, and how many n blocks, n = 0, 1, .."""
    first, count = [], []
    for i in range(0, len(rows), at_once):
        ids = torch.from_numpy(rows[i : i + at_once].astype(np.int64))
        blocks = blocks_of(ids, bonded, hops)
        first.append((blocks.block == 0).sum(1))
        count.append(blocks.count)
    named = {"first_sizes": first, "block_counts": count}
    return {name: torch.cat(found).bincount().tolist() for name, found in named.items()}


def certain(ids: Tensor, vocab_size: int) -> Tensor:
    """Log-probabilities (B, L, V) of rows (B, L) that are known: 0 for what stands there."""
    nothing = torch.full((*ids.shape, vocab_size), -torch.inf, device=ids.device)
    return nothing.scatter_(-1, ids[..., None], 0.0)


def at_positions(nodes: Tensor, length: int, behind: int = -1) -> Tensor:
    """Spread a value of nodes (B, N) that stand in block order to the positions of rows (B,
    length): each is written with the later of its two nodes; `behind` the graph."""
    _, j = entries(nodes.shape[1])
    return F.pad(nodes[:, j.to(nodes.device)], (0, length - len(j)), value=behind)
