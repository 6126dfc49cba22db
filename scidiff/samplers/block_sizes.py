"""How much of a block is written before the rest of it: by what the network said at first
sight."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from scidiff.data.tokens import TokenState
from scidiff.networks.size_policy import SizePolicy
from scidiff.samplers.orders import entropy
from scidiff.samplers.predictions import known, stored

SIZES = (4, 8, 16, 32)


class Sizes(Protocol):
    """Chooses the part of a block that is written next; it stands until it is written."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """What there is to choose from, in columns; multiples of the first."""
        ...

    def within(self, block_size: int) -> Sizes:
        """The same inside blocks of this size."""
        ...

    def sized(self, x: TokenState, here: Tensor, log_p: Tensor) -> TokenState:
        """Keep the part of every row that is not finished, choose the next of those that are, of
        a block that hides `here` (B, L); log_p (B, L, V)."""
        ...


@dataclass(frozen=True)
class EntropySizes:
    """The part of a block that is written next: of the `sizes` the largest over whose hidden
    positions entropies sum to at most the largest of them plus `bound` nats, and the smallest
    anyway.

    The sum without its largest term bounds what is lost by drawing the part in one step (Ben-Hamu
    et al. 2025, arXiv 2505.24857), so easy parts are long and hard ones short. The size is chosen
    when the part is first seen and stands until it is written. What is chosen depends on what is
    written alone: with one token a step the law of a network whose conditionals agree stays exact.
    """

    bound: float
    sizes: tuple[int, ...] = SIZES

    def __post_init__(self) -> None:
        if not (self.bound >= 0 and math.isfinite(self.bound)):
            raise ValueError(f"block_entropy must be finite and not negative, got {self.bound}")
        least = self.sizes[0] if self.sizes else 0
        grow = list(self.sizes) == sorted(set(self.sizes))
        if least < 1 or not grow or any(size % least for size in self.sizes):
            raise ValueError(f"sizes must grow and be multiples of the first, got {self.sizes}")

    def within(self, block_size: int) -> EntropySizes:
        """The sizes that are smaller than a block, and all of it."""
        least = min(self.sizes[0], block_size)
        whole = -(-block_size // least) * least
        return replace(self, sizes=(*(s for s in self.sizes if s < block_size), whole))

    def choose(self, here: Tensor, log_p: Tensor) -> Tensor:
        """First and last + 1 column (B, 2) of the part that is next, of a block that hides `here`
        (B, L); log_p (B, L, V)."""
        start, ends = spans(here, self.sizes)
        fits = (totals(here, log_p, ends)[2] <= self.bound).sum(1).clamp(min=1) - 1
        return torch.stack([start, ends.gather(1, fits[:, None])[:, 0]], 1)

    def sized(self, x: TokenState, here: Tensor, log_p: Tensor) -> TokenState:
        """See `Sizes`."""
        chosen = self.choose(here, log_p)
        return replace(x, memory=(known(x), torch.where(going_on(x, here), standing(x), chosen)))


Pick = Callable[[Tensor, Tensor, Tensor], Tensor]
"""pick(features (B, F), scores (B, S), new (B,) bool: where a size is wanted) -> which (B,)."""


@dataclass(frozen=True)
class LearnedSizes:
    """The part of a block that a trained policy chooses (CtrlDiff, arXiv 2505.14455), the
    likeliest or what `pick` says; see `guidance.size_learning`.

    Meant for a pace that writes the part in one step: then the size is the number of tokens that
    are drawn without knowing each other, and one chosen by what rows are worth in the end.
    """

    policy: SizePolicy
    pick: Pick | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.policy.config.sizes

    def within(self, block_size: int) -> LearnedSizes:
        """The same: what of a part lies behind the block is not written with it."""
        return self

    @torch.no_grad()
    def sized(self, x: TokenState, here: Tensor, log_p: Tensor) -> TokenState:
        """See `Sizes`."""
        start, ends = spans(here, self.sizes)
        told = self.features(x, here, log_p, ends)
        scores, stands = self.policy(told), going_on(x, here)
        new = here.any(1) & ~stands[:, 0]
        which = scores.argmax(1) if self.pick is None else self.pick(told, scores, new)
        chosen = torch.stack([start, ends.gather(1, which[:, None])[:, 0]], 1)
        return replace(x, memory=(known(x), torch.where(stands, standing(x), chosen)))

    def features(self, x: TokenState, here: Tensor, log_p: Tensor, ends: Tensor) -> Tensor:
        """What the policy reads (B, trunk + 3 S), see `SizePolicy`."""
        told = torch.cat(totals(here, log_p, ends), 1).float()
        read = self.policy.config.trunk
        if not read:
            return told
        trunk = stored(x).gather(here.int().argmax(1)[:, None])[:, 0]
        if trunk.shape[1] != read:
            raise ValueError(
                f"this policy of block sizes reads {read} channels of a network, "
                f"got {trunk.shape[1]}: it belongs to another model or guidance"
            )
        return torch.cat([trunk.float(), told], 1)


def spans(here: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """First column (B,) of the part that is next, and last + 1 (B, S) if it has each of the
    sizes."""
    start = here.int().argmax(1) // sizes[0] * sizes[0]
    return start, start[:, None] + torch.tensor(sizes, device=here.device)


def totals(here: Tensor, log_p: Tensor, ends: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of what `here` (B, L) hides before each of `ends` (B, S): how many, the sum of entropies in
    nats, and that without its largest term, (B, S) each."""
    nats = entropy(log_p.double()).masked_fill(~here, 0.0)
    last = (ends - 1).clamp(max=here.shape[1] - 1)
    sums = (here.cumsum(1), nats.cumsum(1), nats.cumsum(1) - nats.cummax(1).values)  # never fall
    number, total, excess = (s.gather(1, last) for s in sums)
    return number, total, excess


def going_on(x: TokenState, here: Tensor) -> Tensor:
    """Whether rows (B, 1) still hide some of the part that was chosen for them."""
    return (here & inside(standing(x), here.shape[1])).any(1, keepdim=True)


def standing(x: TokenState) -> Tensor:
    """The part (B, 2) that was chosen last; an empty one where none was."""
    if x.memory is None or len(x.memory) < 2:
        return torch.zeros(len(x), 2, dtype=torch.int64, device=x.ids.device)
    return known(x, 1)


def inside(part: Tensor, length: int) -> Tensor:
    """Which columns (B, L) lie in [first, last) of part (B, 2)."""
    at = torch.arange(length, device=part.device)
    return (at >= part[:, :1]) & (at < part[:, 1:])
