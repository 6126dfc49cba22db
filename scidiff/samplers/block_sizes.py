"""How much of a block is written before the rest of it: by what the network said at first
sight."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scidiff.data.tokens import TokenState
from scidiff.samplers.orders import entropy
from scidiff.samplers.predictions import known

SIZES = (4, 8, 16, 32)


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
        nats = entropy(log_p.double()).masked_fill(~here, 0.0)
        excess = nats.cumsum(1) - nats.cummax(1).values  # never falls
        start = here.int().argmax(1) // self.sizes[0] * self.sizes[0]
        ends = start[:, None] + torch.tensor(self.sizes, device=here.device)
        last = (ends - 1).clamp(max=here.shape[1] - 1)
        fits = (excess.gather(1, last) <= self.bound).sum(1).clamp(min=1) - 1
        return torch.stack([start, ends.gather(1, fits[:, None])[:, 0]], 1)

    def sized(self, x: TokenState, here: Tensor, log_p: Tensor) -> TokenState:
        """Keep the part of every row that is not finished, choose the next of those that are."""
        generated, chosen = known(x), self.choose(here, log_p)
        if x.memory is not None and len(x.memory) > 1:
            going_on = (here & inside(known(x, 1), here.shape[1])).any(1, keepdim=True)
            chosen = torch.where(going_on, known(x, 1), chosen)
        return replace(x, memory=(generated, chosen))


def inside(part: Tensor, length: int) -> Tensor:
    """Which columns (B, L) lie in [first, last) of part (B, 2)."""
    at = torch.arange(length, device=part.device)
    return (at >= part[:, :1]) & (at < part[:, 1:])
