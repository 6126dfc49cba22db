"""Fine-tuning on scored objects: a network is moved from its reference towards p_ref exp(strength
r), step by step or over a pool.

    tuner = Tuner(network, reference, TuneConfig(Sequential(mask_id), Augmented(60.0)))
    tuner.step(x0, values, rng)                                # a round of a campaign
    tune(network, reference, x0, values, config, rng)          # a pool, drawn from by rank
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from scidiff.core import Rng, ScidiffError, Stacked, seeded, uniform
from scidiff.guidance.finetune_likelihoods import Likelihood, in_parts
from scidiff.guidance.finetune_objectives import Augmented, Objective
from scidiff.guidance.ranks import by_rank


@dataclass(frozen=True)
class TuneConfig:
    """How a network is tuned; `likelihood` says how likely it finds a row, `objective` what is
    made small."""

    likelihood: Likelihood
    objective: Objective = Augmented(100.0)
    lr: float = 2e-4
    steps: int = 1  # of `tune`
    batch_size: int = 64  # rows that `tune` draws from the pool for a step
    clip: float = 1.0  # longest gradient
    rows: int = 64  # of one network pass
    bf16: bool = True  # the network's trunk under autocast; heads and losses are float32

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True)
class Scored(Stacked):
    """Clean states, or the trajectories that led to them, with what they are worth."""

    x0: Any  # (B,)
    values: Tensor  # (B,) finite
    log_ref: Tensor | None = None  # (B,) log p under the reference, where it is known


@dataclass(frozen=True)
class Tuning:
    """Fine-tuning as a process, so that it also runs in the one training loop.

    At most `rows` rows go through a network at once; `about` says what the reference is, so that
    a run that is taken up again finds the same.
    """

    likelihood: Likelihood
    objective: Objective
    reference: Any = field(repr=False)
    rows: int = 64
    about: str = ""

    def noise(self, x0: Scored, t: Tensor, rng: Rng) -> Scored:
        """The rows as they are: noise is the likelihood's."""
        return x0

    def loss(self, network: Any, x0: Scored, rng: Any) -> Tensor:
        """Unreduced loss (B,) of a group of rows; rng is a torch.Generator, which a network and
        its reference read from the same place."""
        start, log_ref = rng.get_state(), x0.log_ref
        if log_ref is None or not self.likelihood.exact:
            log_ref = self.reference_log_prob(x0.x0, rng)
            rng.set_state(start)  # the same noise for both
        log_p = self._log_prob(network, x0.x0, rng)
        return self.objective(log_p, log_ref.to(log_p), x0.values.to(log_p))

    @torch.no_grad()
    def reference_log_prob(self, x0: Any, rng: torch.Generator) -> Tensor:
        """log p_ref (B,)."""
        return self._log_prob(self.reference, x0, rng)

    def _log_prob(self, network: Any, x0: Any, rng: torch.Generator) -> Tensor:
        found = in_parts(self.likelihood, network, x0, rng, self.rows)
        return found.to(torch.promote_types(found.dtype, torch.float32))


class Tuner:
    """AdamW on a network whose reference is fixed, another network of the same weights at
    first."""

    def __init__(self, network: nn.Module, reference: Any, config: TuneConfig) -> None:
        check = getattr(config.likelihood, "check", None)
        if check is not None:
            check(network)
        self.network, self.config = network, config
        self.tuning = Tuning(config.likelihood, config.objective, reference, config.rows)
        self.parameters = [p.requires_grad_(True) for p in network.parameters()]
        # embeddings that a likelihood never reads have no gradient and stay as they are
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.lr, betas=(0.9, 0.98), weight_decay=0.0
        )

    def reference_log_prob(self, x0: Any, rng: torch.Generator) -> Tensor:
        """log p_ref (B,) of clean states; to be kept where the likelihood is exact."""
        with self._precision(rng):
            return self.tuning.reference_log_prob(x0, rng)

    def step(
        self, x0: Any, values: Tensor, rng: torch.Generator, log_ref: Tensor | None = None
    ) -> float:
        """One step on scored clean states; the mean loss before it.

        values (B,) must be finite: give invalid objects what they are worth, or leave them out.
        log_ref (B,) saves the reference's pass where the likelihood is exact.
        """
        scored = Scored(x0, checked(x0, values), log_ref)
        with torch.enable_grad(), self._precision(rng):
            loss = self.tuning.loss(self.network, scored, rng).mean()
        loss.backward()
        length = float(nn.utils.clip_grad_norm_(self.parameters, self.config.clip))
        if not math.isfinite(length):
            raise ScidiffError(f"the gradient is {length}: lower lr (now {self.config.lr})")
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def _precision(self, rng: torch.Generator) -> torch.autocast:
        return torch.autocast(rng.device.type, torch.bfloat16, enabled=self.config.bf16)

    # ---- state

    def state(self) -> dict[str, Tensor]:
        """Weights and moments, to be saved and given to `restore`."""
        found = {f"network.{k}": v.clone() for k, v in self.network.state_dict().items()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"adam.{i}.{k}": v.clone() for k, v in moments.items()}
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a `state`."""
        own = "network."
        weights = {k.removeprefix(own): v for k, v in state.items() if k.startswith(own)}
        self.network.load_state_dict(weights)
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("adam."):
                _, i, name = key.split(".")
                moments.setdefault(int(i), {})[name] = value.clone()
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})


def tune(
    network: nn.Module,
    reference: Any,
    x0: Any,
    values: Tensor,
    config: TuneConfig,
    rng: torch.Generator,
) -> list[float]:
    """Take config.steps steps on batches of a pool, the better rows drawn more often (`better`);
    the network is tuned in place, and the loss of every step returned."""
    tuner, values = Tuner(network, reference, config), checked(x0, values)
    losses = []
    for _ in range(config.steps):
        rows = better(values, config.batch_size, rng)
        losses.append(tuner.step(x0[rows], values[rows], rng))
    return losses


@dataclass
class ScoredBatches:
    """Batches of a scored pool for the training loop: batch `step` is `batch_size` rows, drawn
    from the pool with a seed made of (seed, step); the better ones more often with `ranked`."""

    pool: Scored
    batch_size: int
    seed: int = 0
    ranked: bool = False

    def __len__(self) -> int:
        return len(self.pool)

    def __call__(self, step: int, rank: int = 0, world: int = 1) -> Scored:
        """Batch `step`, every world-th row of it."""
        rng, values = seeded(self.seed, step), self.pool.values
        if self.ranked:
            rows = better(values, self.batch_size, rng)
        else:
            rows = uniform(values.shape, rng).argsort()[: self.batch_size]
        return self.pool[rows[rank::world]]

    def units(self, x0: Scored) -> Tensor:
        """Rows, ()."""
        return torch.tensor(len(x0))

    def once(self) -> Iterator[Scored]:
        """All rows once, in stored order."""
        for rows in torch.arange(len(self)).split(self.batch_size):
            yield self.pool[rows]


def better(values: Tensor, n: int, rng: Rng) -> Tensor:
    """At most n different rows, those of larger values more often (`by_rank`)."""
    ranked = values.argsort(descending=True, stable=True)
    return ranked[by_rank(len(values), n, rng, again=False).to(ranked.device)]


def checked(x0: Any, values: Tensor) -> Tensor:
    """The values as float32, one finite number a row."""
    if values.shape != (len(x0),):
        raise ValueError(f"expected a value for each of {len(x0)} rows, got {tuple(values.shape)}")
    if not bool(values.isfinite().all()):
        row = int((~values.isfinite()).nonzero()[0])
        raise ValueError(
            f"values must be finite, got {float(values[row])} in row {row}; give an invalid "
            "object the reward's floor, or leave it out"
        )
    return values.float()
