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
from scidiff.processes.continuous_blocks import Items, clean_guess, levels
from scidiff.processes.gaussian import Component


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

    def __post_init__(self) -> None:
        for name in ("tokens", "max_length", "features", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width must be a multiple of twice the heads, {2 * self.heads}, got {self.width}"
            )


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

    def __init__(self, config: ContinuousBlocksConfig) -> None:
        super().__init__()
        self.config, D = config, config.width
        self.embed = nn.Embedding(config.tokens, D)
        self.token_layers = nn.ModuleList(Layer(config) for _ in range(config.token_depth))
        self.clean_in = nn.Linear(config.features, D)
        self.noisy_in = nn.Linear(config.features, D)
        self.time = nn.Sequential(nn.Linear(64, D), nn.SiLU(), nn.Linear(D, D))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.head = nn.ModuleList(Layer(config) for _ in range(config.head_depth))
        self.norm, self.out = Modulated(D), nn.Linear(D, config.features)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        table = rotary_table(config.max_length, D // config.heads)
        self.register_buffer("angles", table, persistent=False)

    def forward(self, x0: Items, noisy: Tensor, t: Tensor, blocks: Tensor) -> Tensor:
        """Ask about every block at once: x0 clean rows, noisy (B, L, F) of spread 1, t (B, L),
        blocks (L,) -> (B, L, F)."""
        L, context, time = x0.features.shape[1], self.read(x0), self._times(t)
        clean = context + self.clean_in(x0.features)
        still = torch.zeros_like(time)
        told = torch.cat([still, still if self.head else time], 1)
        x = torch.cat([clean, self._asked(context, noisy)], 1)
        present = x0.mask.repeat(1, 2)[:, None, None]
        itself = torch.eye(2 * L, dtype=torch.bool, device=x.device)  # absent items attend it
        mask = (two_copy_mask(blocks) & present) | itself
        angles = self.angles[:L].repeat(2, 1)
        for layer in self.layers:
            x = layer(x, told, angles, mask)
        inside = mask[..., L:, L:]
        return self._say(x[:, L:], noisy, time, self.angles[:L], inside)

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
        for layer in self.token_layers:
            h = layer(h, torch.zeros_like(h), self.angles[:L], mask)
        return h

    def open(self, x: Items, lo: int, hi: int) -> Items:
        """Read, once for a head, what stands before the items lo .. hi."""
        if not self.head:
            return x
        context, _ = _begun(x)
        trunk = torch.zeros_like(context) if x.trunk is None else x.trunk.clone()
        q = context[:, lo:hi]
        trunk[:, lo:hi] = self._layers(x, q, torch.zeros_like(q), lo, hi)
        return replace(x, trunk=trunk)

    def guess(self, x: Items, noisy: Tensor, t: Tensor, lo: int, hi: int) -> Tensor:
        """Ask about items lo .. hi alone, noisy (B, hi - lo, F) at t (B, hi - lo), told what is
        kept of the clean ones before them; equals `forward` there."""
        time, inside = self._times(t), self._inside(x.mask[:, lo:hi])
        if self.head and x.trunk is not None:
            z = x.trunk[:, lo:hi]
        else:
            z = self._layers(x, self._asked(_begun(x)[0][:, lo:hi], noisy), time, lo, hi)
        return self._say(z, noisy, time, self.angles[lo:hi], inside)

    def keep(self, x: Items, lo: int, hi: int) -> Items:
        """Write keys and values of the clean items lo .. hi, one block."""
        context, kept = _begun(x)
        x = replace(x, kept=kept.clone())  # the parent's other children go on reading the old one
        h = context[:, lo:hi] + self.clean_in(x.features[:, lo:hi])
        self._layers(x, h, torch.zeros_like(h), lo, hi, write=True)
        return x

    def _layers(
        self, x: Items, h: Tensor, told: Tensor, lo: int, hi: int, write: bool = False
    ) -> Tensor:
        """The transformer on the items lo .. hi, behind what is kept of those before them."""
        _, kept = _begun(x)
        before = x.mask[:, None, None, :lo].expand(-1, 1, hi - lo, -1)
        mask = torch.cat([before, self._inside(x.mask[:, lo:hi])], -1)
        for index, layer in enumerate(self.layers):
            h = layer(h, told, self.angles[lo:hi], mask, _Kept(kept[:, index], lo, write))
        return h

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
        return context if self.head else context + self.noisy_in(noisy)

    def _say(self, z: Tensor, noisy: Tensor, time: Tensor, angles: Tensor, mask: Tensor) -> Tensor:
        h, told = (self.noisy_in(noisy), time + z) if self.head else (z, time)
        for layer in self.head:
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


class NetworkGuesses:
    """The guesses of a network under a noise, as the block sampler asks for them.

    Nothing is recomputed: tokens are read once, clean blocks once, and with a head the
    transformer runs once a block. `asked` counts items times layers over all rows.
    """

    def __init__(self, network: ContinuousBlocks, component: Component) -> None:
        self.network, self.component, self.asked = network, component, 0

    def begin(self, x: Items) -> Items:
        """Read the tokens and make room."""
        return replace(x, context=self.network.read(x), kept=self.network.room(x))

    def __call__(self, x: Items, t: Tensor, lo: int, hi: int) -> Tensor:
        """Clean guesses of the items lo .. hi (B, hi - lo, F)."""
        self._count(x, hi - lo, len(self.network.head) or len(self.network.layers))
        own, here = x.features[:, lo:hi], t[lo:hi]
        a, sigma = levels(self.component, here, own)
        scale = (a.square() + sigma.square()).sqrt()
        times = here.to(own).expand(len(x), -1)
        return clean_guess(self.network.guess(x, own / scale, times, lo, hi), own, a, sigma)

    def open(self, x: Items, lo: int, hi: int) -> Items:
        """Get ready for the items lo .. hi."""
        self._count(x, hi - lo, len(self.network.layers) if self.network.head else 0)
        return self.network.open(x, lo, hi)

    def keep(self, x: Items, lo: int, hi: int) -> Items:
        """Take the clean items lo .. hi for the blocks behind them."""
        self._count(x, hi - lo, len(self.network.layers))
        return self.network.keep(x, lo, hi)

    def _count(self, x: Items, items: int, layers: int) -> None:
        self.asked += len(x) * items * layers
