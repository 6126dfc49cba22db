"""Learning how much of a block to write at once: policy gradient on what rows are worth, less what
they cost (CtrlDiff, arXiv 2505.14455; Williams 1992)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.data.tokens import TokenState
from scidiff.networks.size_policy import SizePolicy
from scidiff.samplers.block_sizes import LearnedSizes
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import race

MakeSampler = Callable[[LearnedSizes], MaskedSampler]
Quality = Callable[[TokenState], Tensor]
"""What finished rows are worth (B,), larger is better."""


@dataclass(frozen=True)
class Round:
    """What one round of rows was like on average."""

    quality: float
    steps: float  # network calls a row
    reward: float


@dataclass
class Drawn:
    """Sizes that were drawn, with what they were drawn from."""

    rng: Rng
    features: list[Tensor] = field(default_factory=list)  # (n, F) each
    which: list[Tensor] = field(default_factory=list)  # (n,) each
    rows: list[Tensor] = field(default_factory=list)  # (n,) each, of the batch

    def __call__(self, features: Tensor, scores: Tensor, new: Tensor) -> Tensor:
        """Draw a size (B,) from softmax of scores (B, S), and note those that are `new` (B,)."""
        chosen = race(scores.log_softmax(1), self.rng)
        for kept, value in ((self.features, features), (self.which, chosen)):
            kept.append(value[new])
        self.rows.append(new.nonzero()[:, 0])
        return chosen


def learn_sizes(
    make: MakeSampler,
    policy: SizePolicy,
    quality: Quality,
    *,
    cost: float,
    rounds: int = 100,
    rows: int = 128,
    lr: float = 0.02,
    rng: Rng,
) -> list[Round]:
    """Train `policy` in place to maximise E[quality - cost * network calls of the row]:

        gradient = E[(R - mean R of the other rows) grad log pi(sizes)]

    `make` builds the sampler that is learnt for, with a pace that writes a part in one step.
    Raises ValueError for a cost that is negative or not finite and where `rows` is below 2.
    """
    if not (cost >= 0 and math.isfinite(cost)) or rows < 2 or rounds < 1:
        raise ValueError(
            "cost must be finite and not negative, rows at least 2 and rounds at least 1, got "
            f"{cost}, {rows} and {rounds}"
        )
    optimizer = torch.optim.Adam(policy.parameters(), lr=lr)
    found = []
    for _ in range(rounds):
        drawn = Drawn(rng)
        x, steps = written(make(LearnedSizes(policy, drawn)), rows, rng)
        worth = quality(x).to(steps)
        reward = worth - cost * steps
        advantage = (reward - reward.mean()) * rows / (rows - 1)
        optimizer.zero_grad()
        (-(advantage.float() * log_pi(policy, drawn, rows)).mean()).backward()
        optimizer.step()
        found.append(Round(float(worth.mean()), float(steps.mean()), float(reward.mean())))
    return found


def log_pi(policy: SizePolicy, drawn: Drawn, rows: int) -> Tensor:
    """log pi of all sizes that each row was given (B,)."""
    which = torch.cat(drawn.which)[:, None]
    each = policy(torch.cat(drawn.features)).log_softmax(1).gather(1, which)[:, 0]
    return each.new_zeros(rows).index_add(0, torch.cat(drawn.rows), each)


@torch.no_grad()
def written(sampler: MaskedSampler, n: int, rng: Rng) -> tuple[TokenState, Tensor]:
    """n rows and how many network calls each took (n,) float64."""
    x, mask_id = sampler.init(n, rng), sampler.denoiser.mask_id
    steps = torch.zeros(n, dtype=torch.float64, device=x.ids.device)
    for k in range(sampler.num_steps):
        live = (x.ids == mask_id).any(1)
        if not bool(live.any()):
            break
        steps += live
        x = sampler.step(x, k, rng)
    return x, steps
