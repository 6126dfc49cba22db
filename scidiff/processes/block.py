"""Block diffusion on tokens: blocks from left to right, masked diffusion inside a block; and its
limit, autoregression."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scidiff.core import Rng, uniform
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.processes.masked import cross_entropy, hide_exactly, stratified_counts


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

    def padded(self, ids: Tensor) -> Tensor:
        """Fill the last block with PAD: (B, L) -> (B, a multiple of block_size)."""
        return F.pad(ids, (0, -ids.shape[1] % self.block_size), value=PAD)

    def eligible(self, ids: Tensor) -> Tensor:
        """Positions that belong to the text: all blocks up to the one that holds EOS."""
        last = (ids == EOS).int().argmax(1) // self.block_size
        return (
            torch.arange(ids.shape[1], device=ids.device)[None, :] // self.block_size
            <= last[:, None]
        )

    def noise(self, x0: TokenState, t: Tensor, rng: Rng) -> TokenState:
        """Hide each position of the text independently with probability t (B,)."""
        ids = self.padded(x0.ids)
        hidden = self.eligible(ids) & (uniform(ids.shape, rng).to(t.device) < t[:, None])
        return TokenState(torch.where(hidden, self.mask_id, ids))

    def loss(self, network: nn.Module, x0: TokenState, rng: Rng) -> Tensor:
        ids = self.padded(x0.ids)
        rows = ids.reshape(-1, self.block_size)
        k = stratified_counts(torch.full((len(rows),), self.block_size, device=ids.device), rng)
        hidden = hide_exactly(torch.ones_like(rows, dtype=torch.bool), k, rng).reshape(ids.shape)
        trunk = network.two_copy(torch.where(hidden, self.mask_id, ids), ids, self.block_size)
        weight = (self.block_size / k).repeat_interleave(self.block_size).reshape(ids.shape)
        return (cross_entropy(network, trunk, ids) * weight * (hidden & self.eligible(ids))).sum(1)


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

    def loss(self, network: nn.Module, x0: TokenState, rng: Rng) -> Tensor:
        return (cross_entropy(network, network.causal(x0.ids), x0.ids) * (x0.ids != PAD)).sum(1)
