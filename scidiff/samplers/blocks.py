"""A token row cut into blocks that are written from left to right."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from scidiff.data.tokens import EOS, PAD
from scidiff.samplers.canvas import Canvas
from scidiff.samplers.paces import Pace


def in_current_block(hidden: Tensor, block_size: int, among: Tensor | None = None) -> Tensor:
    """Keep of `among` (B, L), by default of `hidden` itself, what lies in the row's first block
    that hides anything."""
    block = torch.arange(hidden.shape[1], device=hidden.device) // block_size
    here = block == block[hidden.int().argmax(1)][:, None]
    return (hidden if among is None else among) & here


def cut_in_blocks(rows: Tensor, block_size: int, fill: float) -> Tensor:
    """Cut rows (B, L) to (B, blocks, b); the last block is completed with `fill`."""
    spare = -rows.shape[1] % block_size
    return F.pad(rows, (0, spare), value=fill).unflatten(1, (-1, block_size))


def blocks_left(hidden: Tensor, block_size: int) -> Tensor:
    """How many blocks of each row (B,) hide anything of `hidden` (B, L)."""
    return cut_in_blocks(hidden, block_size, False).any(-1).sum(-1)


def end_rows(ids: Tensor, block_size: int, mask_id: int) -> Tensor:
    """Turn MASK into PAD behind every block that hides nothing and holds EOS."""
    L = ids.shape[1]
    if block_size >= L:
        return ids
    blocks = cut_in_blocks(ids, block_size, PAD)
    ends = ((blocks == EOS).any(-1) & ~(blocks == mask_id).any(-1)).int()
    ended = (ends.cumsum(1) - ends > 0).repeat_interleave(block_size, 1)[:, :L]
    return ids.masked_fill(ended & (ids == mask_id), PAD)


def left_per_block(free: Tensor, k: int | Tensor, pace: Pace) -> Tensor:
    """How many of the `free` (B, blocks) positions of each block the slowest row still hides at
    step k, int or (B, 1)."""
    block = torch.arange(free.shape[1], device=free.device).expand(free.shape)
    steps = pace.longest(free, block)
    spent = k - (steps.cumsum(1) - steps)  # steps behind us in each block
    return pace.left(free, spent.clamp(min=0), block)


def step_bound(canvas: Canvas, block_size: int, pace: Pace) -> int:
    """The most steps a row can take: the worst packing of at most `max_masked` positions into the
    blocks."""
    whole, rest = divmod(canvas.length, block_size)
    most = torch.zeros(canvas.max_masked + 1, dtype=torch.int64)  # by positions packed so far
    for block, size in enumerate((*[block_size] * whole, rest)):
        held = torch.arange(size + 1)
        steps = pace.longest(held, torch.full_like(held, block))
        before = F.pad(most, (size, 0), value=-canvas.length).unfold(0, size + 1, 1)
        most = (before + steps.flip(0)).amax(1)
    return int(most.max())
