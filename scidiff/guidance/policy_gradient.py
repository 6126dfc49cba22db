"""Policy gradients: chains of a token sampler are stored, and asked again how likely each of their
steps was, with a gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scidiff.core import Rng, Stacked, seeded, uniform
from scidiff.data.tokens import PAD, TokenState
from scidiff.guidance.finetune import Scored
from scidiff.guidance.finetune_likelihoods import asked
from scidiff.guidance.lookahead import Reward, end_values, why_unscored
from scidiff.guidance.particles import positive
from scidiff.samplers.blocks import in_current_block
from scidiff.samplers.masked import BentPredictor, MaskedSampler, Random, Sequential
from scidiff.samplers.paces import Fixed, Scheduled


@dataclass(frozen=True)
class Chains(Stacked):
    """Where token rows stood before every step, and at the end."""

    ids: Tensor  # (B, T + 1, L) int64
    condition: Tensor | None = None  # (B, C)

    @property
    def ends(self) -> TokenState:
        """The finished rows."""
        return TokenState(self.ids[:, -1], condition=self.condition)


@torch.no_grad()
def rollout(sampler: MaskedSampler, n: int, rng: Rng) -> tuple[Chains, Any]:
    """Draw n chains and their finished states; steps in which no row changed are left out."""
    x = sampler.init(positive("n", n), rng)
    seen = [x.ids]
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, rng)
        if not torch.equal(x.ids, seen[-1]):
            seen.append(x.ids)
    return Chains(torch.stack(seen, 1), x.condition), x


@dataclass(frozen=True)
class Replay:
    """log p of the tokens that chains wrote, sum_k log p(x_k+1 | x_k), up to a constant: the law
    of the positions, which does not depend on the network where they are written at random or
    from left to right and a fixed number at a time.

    With `steps` m only m random steps of each chain are replayed, each counted so much more: an
    unbiased estimate. `symbols`: see `finetune_likelihoods.Bounded`. Raises ValueError for a
    sampler whose positions depend on the network, or whose draw is bent.
    """

    sampler: MaskedSampler
    steps: int | None = None
    symbols: bool = False

    def __post_init__(self) -> None:
        s = self.sampler
        if not isinstance(s.order, Random | Sequential) or not isinstance(
            s.pace, Fixed | Scheduled
        ):
            raise ValueError(
                "a policy gradient needs positions that the network does not choose: order "
                "'random' or 'sequential', and tokens_per_step or steps"
            )
        if s.constraints or s.second_order or isinstance(s.denoiser, BentPredictor):
            raise ValueError(
                "a policy gradient needs plain draws: leave out constraints, guidance inside the "
                "model and second_order"
            )
        if not s.temperature:
            raise ValueError("a policy gradient needs a temperature above 0, got 0")
        if self.steps is not None:
            positive("steps", self.steps)

    @property
    def exact(self) -> bool:
        return self.steps is None

    def __call__(self, network: Any, x0: Chains, rng: torch.Generator) -> Tensor:
        ids = x0.ids[..., : _width(x0.ids[:, -1], self.sampler.block_size)]
        before, after = ids[:, :-1], ids[:, 1:]
        written = self._written(before, after)
        share = self._share(written.any(-1), rng)
        row, step = share.nonzero(as_tuple=True)
        condition = None if x0.condition is None else x0.condition[row]
        told = self.law(network, before[row, step], condition)
        log_p = told.gather(-1, after[row, step][..., None])[..., 0]
        found = torch.where(written[row, step], log_p, 0.0).sum(1) * share[row, step]
        return found.new_zeros(len(ids)).index_add(0, row, found)

    def law(self, network: Any, ids: Tensor, condition: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, L, V) that the sampler draws from at ids (B, L)."""
        told, size = asked(network, condition, self.symbols), self.sampler.denoiser.block_size
        trunk = told.bidirectional(ids) if size is None else told.prefix(ids, size)
        return self.sampler.draw.law(told.log_probs(trunk)).log_softmax(-1)

    def _written(self, before: Tensor, after: Tensor) -> Tensor:
        """What the steps drew (B, T, L); PADs behind a finished block follow from it."""
        mask_id = self.sampler.denoiser.mask_id
        hidden = before == mask_id
        here = in_current_block(hidden.flatten(0, 1), self.sampler.block_size).view_as(hidden)
        return here & (after != mask_id)

    def _share(self, live: Tensor, rng: torch.Generator) -> Tensor:
        """How often each step of each chain (B, T) is counted."""
        if self.steps is None:
            return live.float()
        keys = uniform((live.shape[1],), rng).to(live.device).expand(live.shape)
        rank = keys.masked_fill(~live, -1.0).argsort(1, descending=True).argsort(1)
        total = live.sum(1, keepdim=True)
        chosen = live & (rank < self.steps)
        return chosen * (total / total.clamp(min=1, max=self.steps))


@dataclass
class Rollouts:
    """Batches of the training loop that are drawn when they are asked for, with the network as it
    then is. Batch `step` follows from (seed, step) and the weights.

    `whole` hands out chains, for `Replay`; else finished rows, for exact likelihoods. Rows whose
    reward failed are left out; INVALID ones are worth the reward's floor.
    """

    sampler: MaskedSampler
    reward: Reward
    batch_size: int
    seed: int = 0
    whole: bool = True
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return self.batch_size

    def __call__(self, step: int, rank: int = 0, world: int = 1) -> Scored:
        """Draw the part of batch `step` that belongs to process `rank`."""
        rng = seeded(self.seed, step * world + rank, self.device)
        chains, ends = rollout(self.sampler, max(2, self.batch_size // world), rng)
        values = end_values(self.reward, ends).to(self.device)
        known = (values > -torch.inf).nonzero()[:, 0]
        if len(known) < 2:
            raise ValueError(f"the reward scored {len(known)} of {len(values)} rows: nothing to "
                             f"compare{why_unscored(self.reward)}")
        return Scored(chains if self.whole else chains.ends, values.float())[known]

    def units(self, x0: Scored) -> Tensor:
        """Rows, ()."""
        return torch.tensor(len(x0))

    def once(self) -> Iterator[Scored]:
        """Nothing is held out."""
        return iter(())


def _width(ends: Tensor, block_size: int) -> int:
    """Columns that finished rows (B, L) need, whole blocks."""
    used = int((ends != PAD).any(0).nonzero().max()) + 1
    return min(ends.shape[1], -(-used // block_size) * block_size)
