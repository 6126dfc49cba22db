"""Layers shared by the transformers: rotary attention and the pre-norm block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scidiff.networks.flex_attention import attend_tiles


def rotary_table(length: int, head_dim: int, base: float = 10_000.0) -> Tensor:
    """Angles of rotary position embedding (Su et al. 2021, eq. 15): (L, head_dim / 2)."""
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    return (torch.arange(length, dtype=torch.float64)[:, None] * frequency).float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the two halves of the last dimension by the angles of their position; x (B, H, L,
    head_dim)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


Mask = Tensor | Any
"""True = may attend, or the tiles of `flex_attention`."""


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None, causal: bool) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)) v for (B, H, L, head_dim); mask True = may attend.

    With gradients on the CPU the products are written out: at molecule lengths the fused kernel's
    backward pass takes
    three times as long there.
    """
    if mask is not None and not isinstance(mask, Tensor):
        return attend_tiles(q, k, v, mask)
    if q.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    wide = torch.promote_types(q.dtype, torch.float32)
    score = (q @ k.transpose(-1, -2)).to(wide) * q.shape[-1] ** -0.5
    if causal:
        mask = torch.ones(score.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if mask is not None:
        score = score.masked_fill(~mask, float("-inf"))
    return score.softmax(-1).to(v.dtype) @ v


Seen = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Keys and values of the positions that are evaluated -> those that are attended, with what is
kept of earlier ones; (B, H, L, head_dim) each."""


class Attention(nn.Module):
    """Multi-head attention with rotary positions and RMS-normalised queries and keys (Henry et al.
    2020)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x: Tensor,
        angles: Tensor,
        mask: Mask | None,
        causal: bool,
        seen: Seen | None = None,
    ) -> Tensor:
        """x (B, L, D), angles (L, head_dim / 2) or (B, 1, L, head_dim / 2), mask broadcastable to
        (B, heads, L, keys), True = may attend."""
        B, L, D = x.shape
        q, k, v = self.qkv(x).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        cos, sin = angles.cos().to(q.dtype), angles.sin().to(q.dtype)
        q, k = (rotate(F.rms_norm(z, z.shape[-1:]), cos, sin) for z in (q, k))
        k, v = (k, v) if seen is None else seen(k, v)
        y = attend(q, k, v, mask, causal)
        return self.out(y.transpose(1, 2).reshape(B, L, D))


class Block(nn.Module):
    """Pre-norm residual block: attention, then a squared-ReLU MLP (So et al. 2021)."""

    def __init__(self, width: int, heads: int, expand: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attention = Attention(width, heads)
        self.up = nn.Linear(width, expand * width, bias=False)
        self.down = nn.Linear(expand * width, width, bias=False)

    def forward(
        self,
        x: Tensor,
        angles: Tensor,
        mask: Mask | None,
        causal: bool,
        seen: Seen | None = None,
    ) -> Tensor:
        x = x + self.attention(self.norm1(x), angles, mask, causal, seen)
        return x + self.down(F.relu(self.up(self.norm2(x))).square())
