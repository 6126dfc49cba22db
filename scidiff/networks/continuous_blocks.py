"""A transformer over items with features that are drawn block by block.

Tokens are read by all; features of an item only by the blocks behind its own. `head_depth` chooses
where noise enters: 0, into the whole transformer, which then runs once a step on the block at work
(ACDiT, Hu et al. 2024, arXiv 2412.07720); more, into a small head that reads what the transformer
says of the block once (Li et al. 2024, arXiv 2406.11838; UniGenX, arXiv 2503.06687).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scidiff.networks.conditioning import time_features
from scidiff.networks.equivariant import Modulated
from scidiff.networks.layers import Attention, Seen, rotary_table
from scidiff.processes.continuous_blocks import Items


@dataclass(frozen=True)
class ContinuousBlocksConfig:
    tokens: int  # vocabulary
    max_length: int
    features: int = 3
    width: int = 128
    heads: int = 4
    depth: int = 4  # of the transformer over features
    token_depth: int = 2  # of the one over tokens, both directions
    head_depth: int = 0
    expand: int = 2
    hidden: int = 0  # width of hidden states that rows are told with their tokens; 0: none
    spatial: int = 0  # angles of each feature in rotary attention: who is where, from whom

    def __post_init__(self) -> None:
        for name in ("tokens", "max_length", "features", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("token_depth", "head_depth", "hidden", "spatial"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width must be a multiple of twice the heads, {2 * self.heads}, got {self.width}"
            )
        most = self.width // (2 * self.heads)
        if self.spatial * self.features >= most:
            raise ValueError(
                f"spatial must be below {most / self.features:g}, so that some of the {most} "
                f"angles of a head are left for the order of items, got {self.spatial}"
            )


WAVES = (-0.3, 0.9)  # log10 of the least and the most radian a unit of feature turns by


class Layer(nn.Module):
    """Attention, then a squared-ReLU MLP, both on what is normalised as each item is told."""

    def __init__(self, config: ContinuousBlocksConfig) -> None:
        super().__init__()
        D = config.width
        self.norm1, self.norm2 = Modulated(D), Modulated(D)
        self.attention = Attention(D, config.heads)
        self.up = nn.Linear(D, config.expand * D, bias=False)
        self.down = nn.Linear(config.expand * D, D, bias=False)

    def forward(
        self, x: Tensor, told: Tensor, angles: Tensor, mask: Tensor, seen: Seen | None = None
    ) -> Tensor:
        """x and told (B, L, D), mask broadcastable to (B, 1, L, keys), True = may attend."""
        x = x + self.attention(self.norm1(x, told), angles, mask, False, seen)
        return x + self.down(F.relu(self.up(self.norm2(x, told))).square())


def two_copy_mask(blocks: Tensor) -> Tensor:
    """Who attends whom among [clean | asked], (2 L, 2 L) bool: clean items their own and earlier
    blocks of the clean, asked ones their own block of the asked and earlier ones of the clean."""
    earlier, own = blocks[:, None] > blocks, blocks[:, None] == blocks
    clean = torch.cat([earlier | own, torch.zeros_like(own)], 1)
    return torch.cat([clean, torch.cat([earlier, own], 1)])


class ContinuousBlocks(nn.Module):
    """What blocks of features look like, told all tokens and the clean blocks before them."""

    angles: Tensor
    waves: Tensor

    def __init__(self, config: ContinuousBlocksConfig) -> None:
        super().__init__()
        self.config, D = config, config.width
        self.embed = nn.Embedding(config.tokens, D)
        self.hidden_in = nn.Linear(config.hidden, D, bias=False) if config.hidden else None
        self.token_blocks = nn.ModuleList(Layer(config) for _ in range(config.token_depth))
        self.clean_in = nn.Linear(config.features, D)
        self.noisy_in = nn.Linear(config.features, D)
        self.time = nn.Sequential(nn.Linear(64, D), nn.SiLU(), nn.Linear(D, D))
        self.blocks = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.head_blocks = nn.ModuleList(Layer(config) for _ in range(config.head_depth))
        self.norm, self.out = Modulated(D), nn.Linear(D, config.features)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        table = rotary_table(config.max_length, D // config.heads)
        self.register_buffer("angles", table, persistent=False)
        waves = torch.logspace(*WAVES, config.spatial) if config.spatial else torch.zeros(0)
        self.register_buffer("waves", waves, persistent=False)

    def forward(self, x0: Items, noisy: Tensor, t: Tensor, blocks: Tensor) -> Tensor:
        """Ask about every block at once: x0 clean rows, noisy (B, L, F) of spread 1, t (B, L),
        blocks (L,) -> (B, L, F)."""
        L, context, time = x0.features.shape[1], self.read(x0), self._times(t)
        clean = context + self.clean_in(x0.features)
        still = torch.zeros_like(time)
        told = torch.cat([still, still if self.head_blocks else time], 1)
        x = torch.cat([clean, self._asked(context, noisy)], 1)
        present = x0.mask.repeat(1, 2)[:, None, None]
        itself = torch.eye(2 * L, dtype=torch.bool, device=x.device)  # absent items attend it
        mask = (two_copy_mask(blocks) & present) | itself
        asked = None if self.head_blocks else noisy
        angles = torch.cat([self._angles(0, L, f, x0) for f in (x0.features, asked)], -2)
        for layer in self.blocks:
            x = layer(x, told, angles, mask)
        inside = mask[..., L:, L:]
        return self._say(x[:, L:], noisy, time, self._angles(0, L, noisy, x0), inside)

    def read(self, x: Items) -> Tensor:
        """What the tokens say, (B, L, D)."""
        L = x.tokens.shape[1]
        if self.config.max_length < L:
            raise ValueError(
                f"rows have {L} items, this network reads at most {self.config.max_length}"
            )
        itself = torch.eye(L, dtype=torch.bool, device=x.tokens.device)
        mask = x.mask[:, None, None] | itself
        h = self.embed(x.tokens)
        if (self.hidden_in is None) != (x.told is None):
            raise ValueError(
                f"rows must be told hidden states of width {self.config.hidden}, got "
                f"{'none' if x.told is None else tuple(x.told.shape)}"
            )
        if self.hidden_in is not None:
            h = h + self.hidden_in(x.told)
        for layer in self.token_blocks:
            h = layer(h, torch.zeros_like(h), self.angles[:L], mask)
        return h

    def open(self, x: Items, lo: int, hi: int) -> Items:
        """Read, once for a head, what stands before the items lo .. hi."""
        if not self.head_blocks:
            return x
        context, _ = _begun(x)
        trunk = torch.zeros_like(context) if x.trunk is None else x.trunk.clone()
        q = context[:, lo:hi]
        trunk[:, lo:hi] = self._layers(x, q, torch.zeros_like(q), lo, hi, None)
        return replace(x, trunk=trunk)

    def guess(self, x: Items, noisy: Tensor, t: Tensor, lo: int, hi: int) -> Tensor:
        """Ask about items lo .. hi alone, noisy (B, hi - lo, F) at t (B, hi - lo), told what is
        kept of the clean ones before them; equals `forward` there."""
        time, inside = self._times(t), self._inside(x.mask[:, lo:hi])
        if self.head_blocks and x.trunk is not None:
            z = x.trunk[:, lo:hi]
        else:
            asked = self._asked(_begun(x)[0][:, lo:hi], noisy)
            z = self._layers(x, asked, time, lo, hi, noisy)
        return self._say(z, noisy, time, self._angles(lo, hi, noisy, x), inside)

    def keep(self, x: Items, lo: int, hi: int) -> Items:
        """Write keys and values of the clean items lo .. hi, one block."""
        context, kept = _begun(x)
        x = replace(x, kept=kept.clone())  # the parent's other children go on reading the old one
        own = x.features[:, lo:hi]
        h = context[:, lo:hi] + self.clean_in(own)
        self._layers(x, h, torch.zeros_like(h), lo, hi, own, write=True)
        return x

    def _layers(
        self,
        x: Items,
        h: Tensor,
        told: Tensor,
        lo: int,
        hi: int,
        at: Tensor | None,
        write: bool = False,
    ) -> Tensor:
        """The transformer on the items lo .. hi, behind what is kept of those before them."""
        _, kept = _begun(x)
        before = x.mask[:, None, None, :lo].expand(-1, 1, hi - lo, -1)
        mask = torch.cat([before, self._inside(x.mask[:, lo:hi])], -1)
        angles = self._angles(lo, hi, at, x)
        for index, layer in enumerate(self.blocks):
            h = layer(h, told, angles, mask, _Kept(kept[:, index], lo, write))
        return h

    def _angles(self, lo: int, hi: int, at: Tensor | None, x: Items) -> Tensor:
        """Angles of the items lo .. hi: of their order and, with `spatial`, of where they are,
        features `at` (B, hi - lo, F), so that attention depends on differences of both (Su et al.
        2021). None: nowhere yet, as at zero."""
        order = self.angles[lo:hi]
        if not self.config.spatial:
            return order
        if at is None:
            at = x.features.new_zeros(len(x), hi - lo, self.config.features)
        there = (at[..., None] * self.waves.to(at)).flatten(2)
        order = order[:, : order.shape[1] - there.shape[2]].to(there).expand(len(x), -1, -1)
        return torch.cat([order, there], -1)[:, None]

    def room(self, x: Items) -> Tensor:
        """Where keys and values of clean items go: (B, layers, 2, H, L, D / H)."""
        c, (B, L) = self.config, x.tokens.shape
        return x.features.new_zeros(B, c.depth, 2, c.heads, L, c.width // c.heads)

    def _inside(self, mask: Tensor) -> Tensor:
        """Items of a block attend those that are there, and absent ones at least themselves."""
        n = mask.shape[1]
        return mask[:, None, None] | torch.eye(n, dtype=torch.bool, device=mask.device)

    def _times(self, t: Tensor) -> Tensor:
        features = time_features(t.flatten(), 64).to(self.out.weight.dtype)
        return self.time(features).unflatten(0, t.shape)

    def _asked(self, context: Tensor, noisy: Tensor) -> Tensor:
        return context if self.head_blocks else context + self.noisy_in(noisy)

    def _say(self, z: Tensor, noisy: Tensor, time: Tensor, angles: Tensor, mask: Tensor) -> Tensor:
        h, told = (self.noisy_in(noisy), time + z) if self.head_blocks else (z, time)
        for layer in self.head_blocks:
            h = layer(h, told, angles, mask)
        return self.out(self.norm(h, told))


def _begun(x: Items) -> tuple[Tensor, Tensor]:
    if x.context is None or x.kept is None:
        raise ValueError("the rows must come from `begin`, got rows without context")
    return x.context, x.kept


class _Kept:
    """Keys and values of clean items 0 .. lo before those of the block at work."""

    def __init__(self, own: Tensor, lo: int, write: bool) -> None:
        self.own, self.lo, self.write = own, lo, write

    def __call__(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.write:
            self.own[:, :, :, self.lo : self.lo + k.shape[2]] = torch.stack([k, v], 1)
        before = self.own[..., : self.lo, :]
        return torch.cat([before[:, 0], k], 2), torch.cat([before[:, 1], v], 2)
