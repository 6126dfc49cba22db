"""A model that learns from the best of a campaign's pool."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scidiff.core import Sampler
from scidiff.guidance.finetune import TuneConfig, Tuner
from scidiff.guidance.finetune_likelihoods import Likelihood
from scidiff.guidance.particles import positive
from scidiff.guidance.pool import Pool
from scidiff.guidance.ranks import by_rank

ROWS = 64  # of one step


@dataclass(frozen=True)
class Likelier:
    """-log p: rows become likelier whatever their value; which ones they are is chosen before."""

    def __call__(self, log_p: Tensor, log_ref: Tensor, values: Tensor) -> Tensor:
        return -log_p


class Learner:
    """A network of its own, tuned on rows of the pool that are drawn by rank, and the sampler
    over it.

    For every object asked it reads `lessons` rows, 64 a step of AdamW, and raises their
    likelihood. The j-th best of N scored objects is drawn with weight 1 / (N / 100 + j), and each
    is written anew by whoever encodes it: hill climbing on what was found (Neil et al. 2018), with
    every spelling of a molecule counted as a row of its own (experience replay under augmentation:
    Guo and Schwaller 2024, doi 10.1021/jacsau.4c00066). The best of fewer than `least` would only
    narrow what it draws.
    """

    def __init__(
        self,
        network: nn.Module,
        sampler: Sampler[Any],
        likelihood: Likelihood,
        *,
        lessons: int = 5,
        lr: float = 3e-4,
        least: int = 100,
    ) -> None:
        self.sampler, self.lessons = sampler, positive("lessons", lessons)
        self.least = positive("least", least)
        self.tuner = Tuner(network, network, TuneConfig(likelihood, Likelier(), lr=lr))
        self.rows = 0  # that the network was trained on

    def learn(
        self,
        pool: Pool,
        asked: int,
        encode: Callable[[Sequence[str]], Any],
        rng: torch.Generator,
    ) -> None:
        """Take the steps of a round that asked so many objects, once `least` have a score."""
        order, texts = pool.best(), pool.texts
        if len(order) < self.least:
            return
        for _ in range(math.ceil(self.lessons * asked / ROWS)):
            drawn = by_rank(len(order), ROWS, rng).tolist()
            x0 = encode([texts[order[rank]] for rank in drawn])
            nothing = torch.zeros(len(x0), device=rng.device)  # neither is read
            self.tuner.step(x0, nothing, rng, log_ref=nothing)
            self.rows += len(x0)

    def state(self) -> dict[str, Tensor]:
        return self.tuner.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.tuner.restore(state)
