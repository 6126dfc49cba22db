"""What a row of a graph that is written block by block remembers beside its tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scidiff.core import Shared
from scidiff.data.graph_order import Blocks
from scidiff.data.graph_tokens import triangle_of
from scidiff.data.tokens import EOS, PAD, TokenState


@dataclass(frozen=True)
class WrittenGraphs:
    """What a row of this sampler remembers beside its tokens: nodes stand in block order."""

    blocks: Blocks
    live: Tensor  # (B,) bool: whether the last block is being written; else the row has ended

    @classmethod
    def of(cls, x: TokenState) -> WrittenGraphs:
        """Read it from a state. Raises ValueError where it has none."""
        if x.memory is None or len(x.memory) != 3:
            raise ValueError(
                "the state does not say what its blocks are; make it with init or renoise of this "
                "sampler"
            )
        block, degree, live = (m.dense() if isinstance(m, Shared) else m for m in x.memory)
        return cls(Blocks(block, degree), live)

    @property
    def memory(self) -> tuple[Tensor, ...]:
        return self.blocks.block, self.blocks.degree, self.live

    @property
    def last(self) -> Tensor:
        """Which nodes are in the last block (B, N)."""
        block = self.blocks.block
        return (block == block.amax(1, keepdim=True)) & (block >= 0)

    @property
    def written(self) -> Tensor:
        """Which nodes are being written (B, N)."""
        return self.last & self.live[:, None]


def holding(x: TokenState, ids: Tensor, written: WrittenGraphs) -> TokenState:
    """A state of these tokens and blocks, without a prediction."""
    return replace(x, ids=ids, memory=written.memory, trunk=None)


def cut_behind(ids: Tensor, nodes: Tensor) -> Tensor:
    """Rows (B, L) that end behind their first `nodes` (B,) nodes."""
    position = torch.arange(ids.shape[1], device=ids.device)
    end = triangle_of(nodes)[:, None]
    return torch.where(position < end, ids, torch.where(position == end, EOS, PAD))


def appended(blocks: Blocks, size: Tensor, degree: Tensor) -> Blocks:
    """Blocks with one more of `size` (B,) nodes and that degree; none where the size is 0."""
    place = torch.arange(blocks.block.shape[1], device=size.device)
    count = (blocks.block >= 0).sum(1, keepdim=True)
    new = (place >= count) & (place < count + size[:, None])
    return Blocks(
        torch.where(new, blocks.count[:, None], blocks.block),
        torch.where(new, degree[:, None], blocks.degree),
    )
