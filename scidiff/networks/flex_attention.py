"""The two-copy mask of block diffusion as a rule, for attention that skips what nobody attends.

Half of the dense mask is empty. FlexAttention (Dong et al. 2024, arXiv 2412.05496) compiles a
rule (query, key) -> bool into its kernel and leaves empty tiles out, which pays on CUDA, compiled,
for long rows. `TokenTransformer.flex_from` says from how many positions on it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def two_copy_rule(length: int, block_size: int) -> Rule:
    """(row, head, query, key) -> whether the query attends the key, over [noisy; clean] of
    `length` positions each: `token_transformer.two_copy_mask`, entry by entry."""

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        asks_clean, clean = query >= length, key >= length
        own = (query - length * asks_clean) // block_size
        other = (key - length * clean) // block_size
        noisy = ~asks_clean & ~clean & (own == other)
        return noisy | (clean & ((own > other) | (asks_clean & (own == other))))

    return sees


@lru_cache(maxsize=16)
def two_copy_tiles(length: int, block_size: int, device: torch.device) -> Any:
    """The rule's tiles (a torch BlockMask), the same of all rows and heads."""
    from torch.nn.attention.flex_attention import create_block_mask  # slow to import

    rule, both = two_copy_rule(length, block_size), 2 * length
    return create_block_mask(rule, None, None, both, both, device=device.type)


def attend_tiles(q: Tensor, k: Tensor, v: Tensor, tiles: Any) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)) v for (B, H, L, head_dim) within `tiles`."""
    from torch.nn.attention.flex_attention import flex_attention

    out: Any = flex_attention(q.to(v.dtype), k.to(v.dtype), v, block_mask=tiles)
    return out
