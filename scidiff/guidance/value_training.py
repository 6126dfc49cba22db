"""Training of values on runs of the sampler itself.

    runs = collect(sampler, reward, 10_000, rng, strength=20.0)
    value = fit_value(TokenValue(TokenValueConfig(...)), runs)
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scidiff.core import Rng, Sampler, Stacked
from scidiff.guidance.lookahead import Reward, end_values, why_unscored
from scidiff.guidance.particles import positive
from scidiff.guidance.values import LearnedValue, bare
from scidiff.training.config import TrainConfig
from scidiff.training.trainer import Trainer

# ---------------------------------------------------------------- runs


@dataclass(frozen=True)
class Visits(Stacked):
    """Particles on the way, and what came of each."""

    x: Any  # (B,) bare states
    k: Tensor  # (B,) int64, the step they stand before
    target: Tensor  # (B,) float64 log target: strength * r of the end they reached
    after: Any  # (B,) bare states one look later
    after_k: Tensor  # (B,) int64, num_steps where the next state is the end
    gain: Tensor  # (B,) float64 log ratio reported on the way to `after`


@dataclass(frozen=True)
class Runs:
    """Visits of whole runs, and the strength that their targets carry."""

    visits: Visits
    strength: float
    num_steps: int

    @property
    def offset(self) -> float:
        """log mean exp of the targets."""
        return float(self.visits.target.logsumexp(0)) - math.log(len(self.visits))


@torch.no_grad()
def collect(
    sampler: Sampler[Any],
    reward: Reward,
    n: int,
    rng: Rng,
    *,
    strength: float,
    every: int = 1,
) -> Runs:
    """Run the sampler n times; keep every particle at the steps 0, every, 2 every, ... with the
    strength * r it ended at, plus whatever `log_ratio` was reported in between.

    INVALID ends count with the reward's floor; runs whose reward failed are left out, for nothing
    is known of them. Raises ValueError where none is left.
    """
    positive("every", every)
    x, T = sampler.init(positive("n", n), rng), sampler.num_steps
    zero = torch.zeros(n, dtype=torch.float64, device=rng.device)
    seen, gains = [(0, bare(x))], [zero]
    for k in range(T):
        x = sampler.step(x, k, rng)
        ratio = getattr(x, "log_ratio", None)
        gains[-1] = gains[-1] if ratio is None else gains[-1] + ratio.double()
        if k + 1 == T or (k + 1) % every == 0:
            seen.append((k + 1, bare(x)))
            gains.append(zero)
    end = strength * end_values(reward, x)
    known = (end > -torch.inf).nonzero()[:, 0]
    if not len(known):
        raise ValueError(f"the reward scored none of {n} runs: there is nothing to learn"
                         f"{why_unscored(reward)}")
    pieces = []
    for (k, here), (later, there), gain in reversed(
        list(zip(seen[:-1], seen[1:], gains[:-1], strict=True))
    ):
        end = end + gain
        place, next_place = (torch.full((n,), j, device=rng.device) for j in (k, later))
        pieces.append(Visits(here, place, end, there, next_place, gain)[known])
    return Runs(Visits.cat(pieces), strength, T)


# ---------------------------------------------------------------- the loss and its data


@dataclass(frozen=True)
class ExponentialTarget:
    """Regression of exp(target) in log space: the loss exp(f) - exp(target - offset) f, a Bregman
    divergence, is least at f(x) = log E[exp(target - offset) | x], the soft value (Li et al. 2024,
    arXiv 2408.08252, algorithm 3, minimises the same by squares, which large targets dominate)."""

    offset: float

    def noise(self, x0: Visits, t: Tensor, rng: Rng) -> Visits:
        """The particles as they are."""
        return x0

    def loss(self, network: nn.Module, x0: Visits, rng: Rng) -> Tensor:
        """Unreduced loss (B,)."""
        told = network(x0.x, x0.k).float()
        return told.exp() - (x0.target - self.offset).exp().float() * told


@dataclass
class VisitBatches:
    """Shuffled batches, each epoch a fresh permutation; the last incomplete one is left out."""

    visits: Visits
    batch_size: int
    seed: int = 0

    def __len__(self) -> int:
        return len(self.visits)

    def __call__(self, step: int, rank: int = 0, world: int = 1) -> Visits:
        """Batch `step`, every world-th row of it."""
        size = min(self.batch_size, len(self))
        epoch, i = divmod(step, len(self) // size)
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, epoch]).permutation(len(self))
        return self.visits[torch.from_numpy(self._order[i * size : (i + 1) * size][rank::world])]

    def units(self, x0: Visits) -> Tensor:
        """Rows, ()."""
        return torch.tensor(len(x0))

    def once(self) -> Iterator[Visits]:
        """All rows once, in stored order."""
        for rows in torch.arange(len(self)).split(self.batch_size):
            yield self.visits[rows]


# ---------------------------------------------------------------- fitting


def fit_value(
    network: nn.Module, runs: Runs, config: TrainConfig | None = None, *, sweeps: int = 0
) -> LearnedValue:
    """Fit a network to the soft value, in the one training loop; its averaged weights are kept.

    `sweeps` 0 regresses on the ends of the runs (Monte Carlo, "SVDD-MC"). With sweeps the targets
    are bootstrapped, exp v_k(x) = E[exp v_{k+1}(x')] (soft Q): fitted iteration, in each sweep
    from the network of the one before, so that as many sweeps as there are looks reach the start.
    The network is trained in place, on the device of the runs, and ends in eval mode.
    """
    config = config or TrainConfig(2000, batch_size=512, lr=2e-3, precision="32-true")
    offset, visits = runs.offset, runs.visits
    network.to(visits.k.device)
    if sweeps == 0:
        _train(network, visits, offset, config)
    for _ in range(sweeps):
        _train(network, backed_up(network, runs, offset, config.batch_size), offset, config)
    return LearnedValue(network.eval(), runs.strength, offset)


def _train(network: nn.Module, visits: Visits, offset: float, config: TrainConfig) -> None:
    batches = VisitBatches(visits, config.batch_size, config.seed)
    with tempfile.TemporaryDirectory() as out:
        trainer = Trainer(
            network, ExponentialTarget(offset), batches, config, Path(out),
            accelerator="cuda" if visits.k.is_cuda else "cpu",
        )  # fmt: skip
        trainer.fit()
        trainer.use_averaged()


@torch.no_grad()
def backed_up(network: nn.Module, runs: Runs, offset: float, size: int) -> Visits:
    """The visits with what the network says of the state after as their target; the ends keep
    what they scored."""
    network.eval()
    visits = runs.visits
    told = [
        network(part.after, part.after_k).double() + offset + part.gain
        for part in VisitBatches(visits, size).once()
    ]
    ended = visits.after_k == runs.num_steps
    return replace(visits, target=torch.where(ended, visits.target, torch.cat(told)))
