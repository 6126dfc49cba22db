"""A token row cut into blocks that are written from left to right."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from scidiff.data.tokens import EOS, PAD
from scidiff.samplers.canvas import Canvas


def in_current_block(hidden: Tensor, block_size: int) -> Tensor:
    """Keep of `hidden` (B, L) what lies in the row's first block that hides anything."""
    block = torch.arange(hidden.shape[1], device=hidden.device) // block_size
    return hidden & (block == block[hidden.int().argmax(1)][:, None])


def in_blocks(rows: Tensor, block_size: int, fill: float) -> Tensor:
    """Cut rows (B, L) to (B, blocks, b); the last block is completed with `fill`."""
    spare = -rows.shape[1] % block_size
    return F.pad(rows, (0, spare), value=fill).unflatten(1, (-1, block_size))


def end_rows(ids: Tensor, block_size: int, mask_id: int) -> Tensor:
    """Turn MASK into PAD behind every block that hides nothing and holds EOS."""
    L = ids.shape[1]
    if block_size >= L:
        return ids
    blocks = in_blocks(ids, block_size, PAD)
    ends = ((blocks == EOS).any(-1) & ~(blocks == mask_id).any(-1)).int()
    ended = (ends.cumsum(1) - ends > 0).repeat_interleave(block_size, 1)[:, :L]
    return ids.masked_fill(ended & (ids == mask_id), PAD)


def left_per_block(free: Tensor, k: int | Tensor, tokens_per_step: int) -> Tensor:
    """How many of the `free` (B, blocks) positions of each block step k, int or (B, 1), still
    hides."""
    steps = (free + tokens_per_step - 1) // tokens_per_step
    spent = k - (steps.cumsum(1) - steps)  # steps behind us in each block
    return (free - spent.clamp(min=0) * tokens_per_step).clamp(min=0)


def step_bound(canvas: Canvas, block_size: int, tokens_per_step: int) -> int:
    """Bound the steps of any row by ceil(b / m) a block and by where `max_masked` can lie."""
    whole, rest = divmod(canvas.length, block_size)
    by_length = whole * math.ceil(block_size / tokens_per_step) + math.ceil(rest / tokens_per_step)
    touched = min(whole + (rest > 0), canvas.max_masked)
    return min(by_length, (canvas.max_masked + touched * (tokens_per_step - 1)) // tokens_per_step)
