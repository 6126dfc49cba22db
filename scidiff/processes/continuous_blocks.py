"""Noise on a row of items that are written block by block: each item has a time of its own.

An item is a token that is known and features that are to be drawn, for instance an atom's element
and its position. Blocks follow each other; what a block is told of the others is the clean
features of those before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from scidiff.core import Rng, Stacked, uniform
from scidiff.processes.block_sizes import check_block_size
from scidiff.processes.gaussian import Component, Parts
from scidiff.processes.schedules import alpha


@dataclass(frozen=True)
class Items(Stacked):
    """Rows of items, shorter ones padded: False in `mask`, zero in `features`."""

    features: Tensor  # (B, L, F)
    tokens: Tensor  # (B, L) int64, what each item is
    mask: Tensor  # (B, L) bool
    guesses: tuple[Parts, ...] = ()  # ((B, L, F),) clean guesses, the newest first
    context: Tensor | None = None  # (B, L, D) what the network says of the tokens
    trunk: Tensor | None = None  # (B, L, D) and of the block at work, for a head
    kept: Tensor | None = None  # (B, layers, 2, H, L, D / H) keys and values of clean items
    told: Tensor | None = None  # (B, L, D) hidden states of what wrote the tokens

    def __post_init__(self) -> None:
        shape = tuple(self.features.shape[:2])
        for name in ("tokens", "mask"):
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(
                    f"{name} must be {shape} to match features, "
                    f"got {tuple(getattr(self, name).shape)}"
                )

    @property
    def parts(self) -> Parts:
        """The features, the one component."""
        return (self.features,)

    def moved(self, parts: Parts, guesses: tuple[Parts, ...] = ()) -> Self:
        """Copy the state to other features."""
        return replace(self, features=parts[0], guesses=guesses)


def block_of(sizes: Sequence[int]) -> Tensor:
    """Number of the block of every item, (L,) int64, for blocks of these sizes."""
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))


def even_blocks(length: int, size: int) -> tuple[int, ...]:
    """Sizes of blocks of `size` items over a row of `length`; the last may be smaller.

    Raises ValueError for a size outside 1 .. length.
    """
    check_block_size(size, length)
    return (size,) * (length // size) + ((length % size,) if length % size else ())


def own_frame(positions: Tensor, mask: Tensor, bent: float = 0.2) -> Tensor:
    """Positions (B, L, 3) in the frame of their first atoms: the first at the origin, the second
    on the +x axis, the first that lies more than `bent` beside that axis in the half-plane y > 0.

    It does not depend on where the molecule is nor on how it is turned, and needs nothing that a
    later block holds, unless the first atoms are on a line. A linear molecule is turned onto the
    axis.
    """
    x = (positions - positions[:, :1]) * mask[..., None]
    first = x[:, min(1, x.shape[1] - 1)]
    e1 = _unit(first, x.new_tensor([1.0, 0, 0]))
    beside = x - (x @ e1[..., None]) * e1[:, None]
    away = beside.norm(dim=-1) > bent
    second = beside[torch.arange(len(x)), away.int().argmax(1)]
    least = torch.eye(3, dtype=x.dtype, device=x.device)[e1.abs().argmin(1)]
    spare = least - (least * e1).sum(-1, keepdim=True) * e1  # any direction beside a line
    e2 = _unit(torch.where(away.any(1, keepdim=True), second, spare), e1)
    return x @ torch.stack([e1, e2, torch.linalg.cross(e1, e2)], -1)


def _unit(v: Tensor, otherwise: Tensor) -> Tensor:
    size = v.norm(dim=-1, keepdim=True)
    return torch.where(size > 0, v / torch.where(size > 0, size, 1), otherwise)


# ---------------------------------------------------------------- times of the items


def one_time_a_block(rows: int, blocks: Tensor, rng: Rng) -> Tensor:
    """Times (rows, L) that are U(0, 1) and the same within a block; blocks (L,)."""
    drawn = uniform((rows, int(blocks[-1]) + 1), rng)
    return drawn[:, blocks.to(drawn.device)]


def rising_times(rows: int, blocks: Tensor, rng: Rng) -> Tensor:
    """Times (rows, L) that do not decrease within a block.

    One item of a block, any with the same probability, has a time t ~ U(0, 1); the items before it
    have ordered uniforms on [0, t] and those behind it on [t, 1]: given that item, every
    non-decreasing row is equally likely (Sun et al. 2025, arXiv 2503.07418, with
    infinitely many levels).
    """
    L, sizes = len(blocks), blocks.bincount().tolist()
    u = uniform((rows, 2 * len(sizes) + L), rng)
    columns, at = [], 0
    for block, size in enumerate(sizes):
        pinned = (u[:, 2 * block] * size).long()[:, None]
        t = u[:, 2 * block + 1 : 2 * block + 2]
        own = u[:, 2 * len(sizes) + at : 2 * len(sizes) + at + size]
        place = torch.arange(size, device=u.device)
        spread = torch.where(place < pinned, t * own, t + (1 - t) * own)
        columns.append(torch.where(place == pinned, t, spread).sort(1).values)
        at += size
    return torch.cat(columns, 1)


TIMES = {"block": one_time_a_block, "rising": rising_times}


# ---------------------------------------------------------------- guesses and the loss


class BlockwiseItemNetwork(Protocol):
    """Both copies in one pass: the clean one tells the blocks behind it, of the noisy is asked."""

    def __call__(self, x0: Items, noisy: Tensor, t: Tensor, blocks: Tensor) -> Tensor:
        """x0 clean rows, noisy (B, L, F) of spread 1, t (B, L), blocks (L,) -> (B, L, F)."""
        ...


def levels(component: Component, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma at times (..., L), ready for features (..., L, F)."""
    schedule = component.schedule
    return alpha(schedule, t)[..., None].to(like), schedule.sigma(t)[..., None].to(like)


def clean_guess(said: Tensor, x: Tensor, a: Tensor, sigma: Tensor) -> Tensor:
    """D = (alpha x + sigma F) / (alpha^2 + sigma^2): the skip and the output scale of Karras et
    al. 2022 (table 1) for data of spread 1. For alpha^2 + sigma^2 = 1, F is -v of Salimans and Ho
    2022."""
    total = a.square() + sigma.square()
    return (a * x + sigma * total.sqrt() * said) / total


@dataclass(frozen=True)
class BlockwiseGaussian:
    """Denoise every block of a row at once, each told the clean blocks before it.

    The loss of a row is the mean over its entries of |D - x0|^2 (alpha^2 + sigma^2) / sigma^2, the
    square of what F misses. Features are expected with mean 0 and spread 1. times: "block", one
    time a block, or "rising", times that do not decrease within a block.
    """

    component: Component
    block_size: int
    times: str = "block"
    t_min: float = 1e-4

    def __post_init__(self) -> None:
        if self.times not in TIMES:
            raise ValueError(f"times must be one of {', '.join(TIMES)}, got {self.times!r}")

    def noise(self, x0: Items, t: Tensor, rng: Rng) -> Items:
        """Draw every item at its own time, t (B, L)."""
        a, sigma = levels(self.component, t, x0.features)
        z = self.component.noise(x0.features, x0.mask, rng)
        return x0.moved((a * x0.features + sigma * z,))

    def loss(self, network: BlockwiseItemNetwork, x0: Items, rng: Rng) -> Tensor:
        """Unreduced loss (B,)."""
        B, L, _ = x0.features.shape
        blocks = block_of(even_blocks(L, min(self.block_size, L))).to(x0.tokens.device)
        t = TIMES[self.times](B, blocks, rng).to(x0.features.device)
        t = self.t_min + (1 - self.t_min) * t
        x = self.noise(x0, t, rng).features
        a, sigma = levels(self.component, t, x)
        scale = (a.square() + sigma.square()).sqrt()
        said = network(x0, x / scale, t, blocks)
        missed = (clean_guess(said, x, a, sigma) - x0.features) * scale / sigma
        count = x0.mask.sum(1).clamp(min=1) * x.shape[-1]
        return (missed.square() * x0.mask[..., None]).sum((1, 2)) / count
