"""What a masked graph network is shown: a graph whose nodes see no later blocks than their own.

Three views of one graph: all of it as one block, its blocks up to one that is being written, and
all blocks at once, each beside its clean predecessors, on a graph of twice as many nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scidiff.core import Stacked
from scidiff.data.graph_order import Blocks, present
from scidiff.data.graph_tokens import entries, typed_matrix


@dataclass(frozen=True)
class View(Stacked):
    """A graph as the network reads it. A pair belongs to the later of its nodes: it is read where
    one of them sees the other, and holds nothing of interest elsewhere."""

    matrix: Tensor  # (B, N, N) ids: nodes on the diagonal, pairs beside it, symmetric
    sees: Tensor  # (B, N, N) bool: whether node i may know of node j; every node of itself
    block: Tensor  # (B, N) int64 number of its block, -1 where there is no node
    size: Tensor  # (B, N) int64 nodes in its block
    degree: Tensor  # (B, N) int64 degree of its block
    noisy: Tensor  # (B, N) bool: whether it is being written
    t: Tensor  # (B,) noise of what is

    def cut(self, nodes: int) -> View:
        """The first `nodes` nodes, laid out as a view of that size is: compiled layers are made
        for one layout."""
        block, size, degree, noisy = (
            part[:, :nodes] for part in (self.block, self.size, self.degree, self.noisy)
        )
        matrix, sees = (part[:, :nodes, :nodes].contiguous() for part in (self.matrix, self.sees))
        return View(matrix, sees, block, size, degree, noisy, self.t)

    @property
    def written(self) -> Tensor:
        """Whether a pair belongs to what is being written (B, N, N)."""
        return self.noisy[:, :, None] | self.noisy[:, None]


def one_block(ids: Tensor, t: Tensor) -> View:
    """The whole of noisy rows (B, L) at times t (B,) as one block."""
    block = present(ids).long() - 1
    return last_block(ids, Blocks(block, torch.zeros_like(block)), block == 0, t, False)


def last_block(
    ids: Tensor, blocks: Blocks, noisy: Tensor, t: Tensor, causal: bool
) -> View:
    """Rows (B, L) whose nodes stand in block order, of which `noisy` (B, N) are being written: no
    later ones are there.

    causal: a clean node sees the blocks up to its own, as beside the other blocks (`two_copies`);
    else it sees every clean one.
    """
    level = blocks.block if causal else torch.where(blocks.block < 0, -1, noisy.long())
    return View(
        typed_matrix(ids), _up_to(level), blocks.block, blocks.size, blocks.degree, noisy, t
    )


def two_copies(clean: Tensor, noisy: Tensor, blocks: Blocks, t: Tensor) -> View:
    """All blocks at once: N clean nodes and N noisy ones of rows (B, L) in block order.

    A clean node sees the clean ones of blocks up to its own; a noisy one the noisy ones of its
    block and the clean ones of earlier blocks (Pard, Zhao et al. 2024, section 3.4).
    """
    real, virtual = typed_matrix(clean), typed_matrix(noisy)
    matrix = torch.cat(
        [torch.cat([real, virtual], 2), torch.cat([virtual, virtual], 2)], 1
    )
    up_to = _up_to(blocks.block)
    same = up_to & up_to.mT
    none = torch.zeros_like(up_to)
    sees = torch.cat(
        [torch.cat([up_to, none], 2), torch.cat([up_to & ~same, same], 2)], 1
    )
    noisy_nodes = blocks.block >= 0
    flag = torch.cat([torch.zeros_like(noisy_nodes), noisy_nodes], 1)
    block, size, degree = (
        torch.cat([v, v], 1) for v in (blocks.block, blocks.size, blocks.degree)
    )
    return View(matrix, sees, block, size, degree, flag, t)


def _up_to(level: Tensor) -> Tensor:
    """Who sees whom when a node sees the levels (B, N) up to its own; an absent node (-1) only
    itself."""
    here = level >= 0
    seen = (level[:, :, None] >= level[:, None]) & here[:, None] & here[:, :, None]
    return seen | torch.eye(level.shape[1], dtype=torch.bool, device=level.device)


def by_position(x: Tensor, e: Tensor) -> Tensor:
    """Outputs of nodes (B, N, V) and pairs (B, N, N, V) in the order of positions, (B, M, V)."""
    i, j = (index.to(x.device) for index in entries(x.shape[1]))
    return torch.where((i == j)[:, None], x[:, i], e[:, i, j])


def noisy_copies(x: Tensor, e: Tensor, block: Tensor) -> Tensor:
    """What is said of the noisy copies of `two_copies`, by position (B, M, V): of a pair with an
    earlier block where the noisy node meets the clean one."""
    N = block.shape[1]
    i, j = (index.to(x.device) for index in entries(N))
    rows = torch.arange(len(x), device=x.device)[:, None]
    earlier = block[:, i] != block[:, j]  # i <= j, so it is i's block that is earlier
    pairs = e[rows, N + j, torch.where(earlier, i, N + i)]
    return torch.where((i == j)[:, None], x[:, N + j], pairs)
