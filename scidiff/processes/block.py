"""Block diffusion on tokens: blocks from left to right, masked diffusion inside a block; and its
limit, autoregression."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from scidiff.core import Rng, uniform
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.processes.block_sizes import check_block_size
from scidiff.processes.hiding import hide_exactly
from scidiff.processes.masked import Hidden, TokenNetwork, cross_entropy
from scidiff.processes.noise_ranges import WHOLE, Moments, Range, check_range, counts


@dataclass(frozen=True)
class BlockProcess:
    """Block diffusion (Arriola et al. 2025), two copies in one pass, k ~ U{1..block_size} hidden
    positions per block.

    The end is part of the text: EOS and the PADs behind it in the same block are predicted, later
    blocks are not.
    The loss bounds -log p(x0) in nats; at block_size 1 it is exact. With a `noise_range` short of
    (0, 1) training looks at some noise levels alone, so that its loss varies less and bounds
    nothing: `whole` does. `auto` asks for the range to be chosen anew as training goes on.
    """

    mask_id: int
    block_size: int
    noise_range: Range = WHOLE
    auto: bool = False

    def __post_init__(self) -> None:
        check_block_size(self.block_size)
        object.__setattr__(self, "noise_range", check_range(self.noise_range))

    @property
    def whole(self) -> Self:
        """The process whose loss is the bound: every noise level."""
        return self if self.noise_range == WHOLE else replace(self, noise_range=WHOLE)

    def within(self, noise_range: Range) -> Self:
        """The process that trains on noise levels of this range."""
        return replace(self, noise_range=noise_range)

    @torch.no_grad()
    def least_variable(
        self, network: TokenNetwork, batches: Iterable[TokenState], rng: Rng
    ) -> Range:
        """The range with the least variance of what a block of these rows costs.

        Each batch is looked at once, with all numbers of hidden positions equally likely: the
        variances of all ranges follow from those.
        """
        seen = [self._moments(network, x0, rng) for x0 in batches]
        return sum(seen[1:], start=seen[0]).least_variable()

    def _moments(self, network: TokenNetwork, x0: TokenState, rng: Rng) -> Moments:
        """What whole blocks cost, by how much of them is hidden."""
        n, whole = self.block_size, self.whole
        x = whole.corrupt(TokenState(self.padded(x0.ids, network.max_length)), rng)
        trunk = network.two_copy(x.noisy, x.clean, n)
        costs = torch.where(x.weight > 0, cross_entropy(network, trunk, x.clean), 0.0) * x.weight
        end = costs.shape[1] // n * n
        each, hidden = (
            v[:, :end].unflatten(1, (-1, n)).sum(-1) for v in (costs, (x.weight > 0).long())
        )
        return Moments.of(hidden[hidden > 0], each[hidden > 0] / n, n)

    def padded(self, ids: Tensor, limit: int) -> Tensor:
        """Fill the last block with PAD, but not beyond `limit` positions: there it stays
        short."""
        spare = min(-ids.shape[1] % self.block_size, max(0, limit - ids.shape[1]))
        return F.pad(ids, (0, spare), value=PAD)

    def eligible(self, ids: Tensor) -> Tensor:
        """Positions that belong to the text: all blocks up to the one that holds EOS, or, in a row
        that was cut, up to the last one that holds any token."""
        place, ends = torch.arange(ids.shape[1], device=ids.device), ids == EOS
        cut = torch.where(ids != PAD, place, 0).amax(1)
        last = torch.where(ends.any(1), ends.int().argmax(1), cut)
        return place // self.block_size <= last[:, None] // self.block_size

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
        """Hide k of each block's n positions, U{1..n} where the range is whole: which ones (B, L)
        and their weight n / k (B, L)."""
        B, L = ids.shape
        real = torch.ones(B, L, dtype=torch.bool, device=ids.device)
        blocks = F.pad(real, (0, -L % self.block_size)).reshape(-1, self.block_size)
        n = blocks.sum(1)
        k = counts(n, self.noise_range, rng)
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
