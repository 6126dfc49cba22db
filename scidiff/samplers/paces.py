"""How many positions a masked sampler writes in one step, of those it has ranked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scidiff.samplers.orders import entropy


class Pace(Protocol):
    """Decides how many of the ranked positions of a row's current block are written.

    Rows may differ. A row that hides anything always goes on, and the slowest path any row can
    take is known: `left`.
    """

    def widest(self, block_size: int) -> int:
        """The most positions written in one step."""
        ...

    def longest(self, total: Tensor, block: Tensor | None = None) -> Tensor:
        """The most steps that a block of `total` (...) positions takes, int64; `block` (...) is
        its number in the row, None the first, which no later one is slower than."""
        ...

    def left(self, total: Tensor, spent: Tensor, block: Tensor | None = None) -> Tensor:
        """How many of `total` (...) positions of a block the slowest row still hides after `spent`
        (...) of its steps."""
        ...

    def take(
        self, law: Tensor, hidden: Tensor, total: Tensor | None, block: Tensor | None = None
    ) -> Tensor:
        """Which of the ranked positions (B, M) are written, of which the first `hidden` (B,) hide
        something and have log-probabilities `law` (B, M, V), normalised or not; the block, the
        `block`-th (B,) of its row, hid `total` (B,) at first."""
        ...


@dataclass(frozen=True)
class Fixed:
    """k positions a step, whatever the prediction; the error of k > 1 is first-order in k."""

    k: int = 1

    def __post_init__(self) -> None:
        _at_least_one("tokens_per_step", self.k)

    def widest(self, block_size: int) -> int:
        return min(self.k, block_size)

    def longest(self, total: Tensor, block: Tensor | None = None) -> Tensor:
        return (total + self.k - 1) // self.k

    def left(self, total: Tensor, spent: Tensor, block: Tensor | None = None) -> Tensor:
        return (total - spent * self.k).clamp(min=0)

    def take(
        self, law: Tensor, hidden: Tensor, total: Tensor | None, block: Tensor | None = None
    ) -> Tensor:
        return _rank(law) < hidden[:, None]

    def pairs_together(self, total: Tensor) -> Tensor:
        """How many pairs of `total` (...) positions are written in the same step."""
        whole, rest = total // self.k, total % self.k
        return whole * (self.k * (self.k - 1) // 2) + rest * (rest - 1) // 2


CURVES: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda u: 1 - u,
    "cosine": lambda u: torch.cos(torch.pi / 2 * u),
}
"""Share of a block still hidden when the share u of its steps is done; from 1 to 0."""


@dataclass(frozen=True)
class Scheduled:
    """At most `steps` steps a block, after the i-th of which floor(n f(i / steps)) of its n
    positions are hidden (MaskGIT, Chang et al. 2022): few at first, when nothing is known, for the
    cosine.

    Where the floor does not fall, the step is left out: with a time-agnostic network it would do
    nothing. So a short row takes fewer steps, and where it stands follows from what it hides.

    `steps` may be one number a block, the last for all later blocks, none more than the one before
    (`step_annealing`).
    """

    steps: int | tuple[int, ...]
    curve: str = "cosine"

    def __post_init__(self) -> None:
        each = self.each
        _at_least_one("steps", min(each, default=0))
        if list(each) != sorted(each, reverse=True):
            raise ValueError(f"steps must not rise from block to block, got {each}")
        if self.curve not in CURVES:
            raise ValueError(f"schedule must be one of {', '.join(CURVES)}, got {self.curve!r}")

    @property
    def each(self) -> tuple[int, ...]:
        """Steps of each block, the last of them for all later ones."""
        return (self.steps,) if isinstance(self.steps, int) else self.steps

    def widest(self, block_size: int) -> int:
        block = torch.arange(len(self.each))[:, None]
        path = self.rungs(torch.arange(block_size + 1).expand(len(block), -1), block)
        return int((path[..., :-1] - path[..., 1:]).max().clamp(min=1))

    def longest(self, total: Tensor, block: Tensor | None = None) -> Tensor:
        path = self.rungs(total, block)
        return (path[..., 1:] < path[..., :-1]).sum(-1)

    def left(self, total: Tensor, spent: Tensor, block: Tensor | None = None) -> Tensor:
        path = self.rungs(total, block)
        fell = (path[..., 1:] < path[..., :-1]).cumsum(-1)  # steps that are not left out
        return torch.where(fell <= spent[..., None], path[..., 1:], path[..., :1]).amin(-1)

    def take(
        self, law: Tensor, hidden: Tensor, total: Tensor | None, block: Tensor | None = None
    ) -> Tensor:
        """Down to the next rung below what is hidden; rungs are those of the block's own size."""
        if total is None:
            raise ValueError("a scheduled pace needs how many positions the block hid at first")
        path = self.rungs(total, block)
        rung = torch.where(path < hidden[:, None], path, 0).amax(-1)
        return _rank(law) < (hidden - rung)[:, None]

    def pairs_together(self, total: Tensor) -> Tensor:
        """How many pairs of `total` (...) positions are written in the same step."""
        path = self.rungs(total)
        count = path[..., :-1] - path[..., 1:]
        return (count * (count - 1) // 2).sum(-1)

    def rungs(self, total: Tensor, block: Tensor | None = None) -> Tensor:
        """floor(n f(i / steps)) (..., most steps + 1) for n = total (...); 0 from the end on."""
        each = torch.tensor(self.each, device=total.device)
        steps = each[0 if block is None else block.clamp(max=len(self.each) - 1)]
        place = torch.arange(self.each[0] + 1, dtype=torch.float64, device=total.device)
        done = (place / steps[..., None]).clamp(max=1)
        share = CURVES[self.curve](done) + 1e-12  # a share that is whole but for rounding is whole
        return (total[..., None] * share).long()


class _Open:
    """A pace that what is predicted sets: as few as `least` positions, as many as there are."""

    least: int

    def widest(self, block_size: int) -> int:
        return block_size

    def longest(self, total: Tensor, block: Tensor | None = None) -> Tensor:
        return Fixed(self.least).longest(total)

    def left(self, total: Tensor, spent: Tensor, block: Tensor | None = None) -> Tensor:
        return Fixed(self.least).left(total, spent)


@dataclass(frozen=True)
class Threshold(_Open):
    """Every position whose likeliest token has p > `theta`, and the `least` first ones anyway
    (Fast-dLLM, Wu et al. 2025, arXiv 2505.22618); meant for the order `Confidence`."""

    theta: float
    least: int = 1

    def __post_init__(self) -> None:
        _at_least_one("tokens_per_step", self.least)
        if not 0 < self.theta <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, got {self.theta}")

    def take(
        self, law: Tensor, hidden: Tensor, total: Tensor | None, block: Tensor | None = None
    ) -> Tensor:
        sure = law.log_softmax(-1).amax(-1).exp() > self.theta
        rank = _rank(law)
        return (sure | (rank < self.least)) & (rank < hidden[:, None])


@dataclass(frozen=True)
class EntropyBounded(_Open):
    """The longest prefix of the order whose entropies sum to at most the largest of them plus
    `bound` nats (EB sampler, Ben-Hamu et al. 2025, arXiv 2505.24857), and the `least` first ones
    anyway.

    Drawing positions independently is off from their joint law by at most what the sum exceeds the
    largest by (the joint entropy is at least every single one), so each step's KL error is at most
    `bound`, in any order; in that of `Entropy` the prefix is long.
    """

    bound: float
    least: int = 1

    def __post_init__(self) -> None:
        _at_least_one("tokens_per_step", self.least)
        if not (self.bound >= 0 and math.isfinite(self.bound)):
            raise ValueError(f"entropy_bound must be finite and not negative, got {self.bound}")

    def take(
        self, law: Tensor, hidden: Tensor, total: Tensor | None, block: Tensor | None = None
    ) -> Tensor:
        nats = entropy(law.double().log_softmax(-1))
        excess = nats.cumsum(1) - nats.cummax(1).values  # never falls, so this is a prefix
        rank = _rank(law)
        return ((excess <= self.bound) | (rank < self.least)) & (rank < hidden[:, None])


def _rank(law: Tensor) -> Tensor:
    """0..M - 1 for law (B, M, V)."""
    return torch.arange(law.shape[1], device=law.device)


def _at_least_one(name: str, number: int) -> None:
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
