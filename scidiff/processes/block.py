"""Block diffusion on tokens: blocks from left to right, masked diffusion inside a block; and its
limit, autoregression."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from scidiff.core import Rng, uniform
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.processes.hiding import hide_exactly, stratified_counts
from scidiff.processes.masked import Hidden, TokenNetwork, cross_entropy


@dataclass(frozen=True)
class BlockProcess:
    """Block diffusion (Arriola et al. 2025), two copies in one pass, k ~ U{1..block_size} hidden
    positions per block.

    The end is part of the text: EOS and the PADs behind it in the same block are predicted, later
    blocks are not.
    The loss bounds -log p(x0) in nats; at block_size 1 it is exact.
    """

    mask_id: int
    block_size: int

    def __post_init__(self) -> None:
        if self.block_size < 1:
            raise ValueError(f"block_size must be at least 1, got {self.block_size}")

    def padded(self, ids: Tensor, limit: int) -> Tensor:
        """Fill the last block with PAD, but not beyond `limit` positions: there it stays
        short."""
        spare = min(-ids.shape[1] % self.block_size, max(0, limit - ids.shape[1]))
        return F.pad(ids, (0, spare), value=PAD)

    def eligible(self, ids: Tensor) -> Tensor:
        """Positions that belong to the text: all blocks up to the one that holds EOS."""
        last = (ids == EOS).int().argmax(1) // self.block_size
        return (
            torch.arange(ids.shape[1], device=ids.device)[None, :] // self.block_size
            <= last[:, None]
        )

    def noise(self, x0: TokenState, t: Tensor, rng: Rng) -> TokenState:
        """Hide each position of the text independently with probability t (B,)."""
        drawn = uniform(x0.ids.shape, rng).to(t.device) < t[:, None]
        return TokenState(torch.where(self.eligible(x0.ids) & drawn, self.mask_id, x0.ids))

    def corrupt(self, x0: TokenState, rng: Rng) -> Hidden:
        """Draw what the loss reads."""
        hidden, weight = self._hide(x0.ids, rng)
        noisy = torch.where(hidden, self.mask_id, x0.ids)
        return Hidden(x0.ids, noisy, weight * (hidden & self.eligible(x0.ids)))

    def cost(self, network: TokenNetwork, x: Hidden) -> Tensor:
        """The loss (B,) of what was drawn."""
        trunk = network.two_copy(x.noisy, x.clean, self.block_size)
        return x.weighted(cross_entropy(network, trunk, x.clean))

    def loss(self, network: TokenNetwork, x0: TokenState, rng: Rng) -> Tensor:
        padded = TokenState(self.padded(x0.ids, network.max_length))
        return self.cost(network, self.corrupt(padded, rng))

    def _hide(self, ids: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Hide k ~ U{1..n} of each block's n positions: which ones (B, L) and their weight n / k
        (B, L)."""
        B, L = ids.shape
        real = torch.ones(B, L, dtype=torch.bool, device=ids.device)
        blocks = F.pad(real, (0, -L % self.block_size)).reshape(-1, self.block_size)
        n = blocks.sum(1)
        k = stratified_counts(n, rng)
        hidden = hide_exactly(blocks, k, rng).reshape(B, -1)[:, :L]
        return hidden, (n / k).repeat_interleave(self.block_size).reshape(B, -1)[:, :L]


@dataclass(frozen=True)
class AutoregressiveProcess:
    """Exact -log p(x0) in one causal pass: the block process of size 1 while the network's own()
    embedding is untrained."""

    mask_id: int

    def noise(self, x0: TokenState, t: Tensor, rng: Rng) -> TokenState:
        """Hide the part of the text behind position floor((1 - t) n), n tokens with EOS."""
        keep = ((1 - t) * (x0.ids != PAD).sum(1)).long()
        hidden = (torch.arange(x0.ids.shape[1], device=t.device)[None, :] >= keep[:, None]) & (
            x0.ids != PAD
        )
        return TokenState(torch.where(hidden, self.mask_id, x0.ids))

    def loss(self, network: TokenNetwork, x0: TokenState, rng: Rng) -> Tensor:
        return (cross_entropy(network, network.causal(x0.ids), x0.ids) * (x0.ids != PAD)).sum(1)
