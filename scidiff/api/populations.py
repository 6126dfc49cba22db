"""Designs of which each one comes from a population of its own, as the strategy of a campaign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scidiff.api.methods import Method, Task
from scidiff.api.plans import Plan
from scidiff.api.steering import Steering
from scidiff.api.token_engine import TokenEngine
from scidiff.core import Sampler, seeded
from scidiff.guidance.campaign import Round
from scidiff.guidance.certificate import Certificate, Guided, certify
from scidiff.guidance.journal import state_of, tensors_of
from scidiff.guidance.lookahead import PosteriorMean, Rollout
from scidiff.guidance.surrogate_rounds import SurrogateValued
from scidiff.guidance.values import bare
from scidiff.samplers.strided import BlockStridedSampler, StridedSampler, short_blocks

if TYPE_CHECKING:
    from scidiff.api.model import Model

_APART = 1 << 32  # between the numbers of ancestors of two rounds


class Drawn:
    """Designs that are draws by weight, one from each population of a run."""

    proper = True  # whether the weights estimate what they should

    def __init__(self, model: Model) -> None:
        self.model = model
        self.drawn: list[dict[str, Tensor]] = []  # of every round

    def keep(self, run: Guided, rows: Tensor, number: int) -> None:
        """Remember the `rows` (P,) of a round's populations, and all its weights."""
        P = len(run.log_z)
        self.drawn.append({
            "log_z": run.log_z, "log_w": run.log_w.view(P, -1),
            "ancestors": run.ancestors.view(P, -1) + number * _APART,
            **{f"x.{name}": held for name, held in tensors_of(bare(run.x[rows])).items()},
        })  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        names = self.drawn[0] if self.drawn else ()
        return {name: torch.cat([part[name] for part in self.drawn]) for name in names}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.drawn = [dict(state)] if state else []

    def designs(self, sampler: Sampler[Any], n: int) -> Any:
        """The states of the last n designs that were drawn, or of as many as there are."""
        held = {k[2:]: v[-n:] for k, v in self.state().items() if k.startswith("x.")}
        return state_of(bare(sampler.init(1, seeded(0, 0, self.model.engine.device))), held)

    @property
    def log_z(self) -> list[float]:
        """Log mean weight of the population each design was drawn from."""
        found: list[float] = self.state()["log_z"].tolist()
        return found

    @property
    def certificate(self) -> Certificate:
        """How far the weights of all rounds can be trusted."""
        held = self.state()
        return certify(held["log_w"], held["ancestors"], self.proper)


class Populations(Drawn):
    """n designs, one from each of n populations that are run by one plan, a chunk a round."""

    batch = None

    def __init__(
        self, model: Model, method: Method, n: int, plan: Plan,
        steering: Steering | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model)
        self.method, self.n, self.proper = method, n, method.proper
        self.plan, self.rounds = plan, -(-n // plan.chunk)
        self.steering = steering or Steering()

    def round(self, here: Round) -> Guided:
        designs = min(self.plan.chunk, self.n - here.number * self.plan.chunk)
        sampler = self._strided(here.sampler)
        look = kind_of_look(self.model)
        learned = self.steering.value
        value = (learned.along(sampler) if learned is not None
                 else look(sampler, here.reward, strength=here.strength))
        if self.steering.screen is not None:
            sampler = self.steering.screen.around(sampler, self.model, look, here.strength)
        task = Task(sampler, here.reward, value, self.plan, designs, here.strength, here.rng,
                    self.steering)
        later = max(0, self.n - (here.number + 1) * self.plan.chunk)  # designs that end as well
        with here.reward.keeping(later * self.plan.particles * self.plan.branch):
            run = self.method.run(task)
        self.keep(run, pick(run, self.method.best, here.rng), here.number)
        return run

    def _strided(self, inner: Sampler[Any]) -> Sampler[Any]:
        """The chain whose steps are those that the method looks at."""
        if self.method.step == "own":
            return inner
        if self.method.step == "whole":
            return StridedSampler(inner, inner.num_steps)
        engine, size = self.model.engine, short_blocks(inner)
        if isinstance(engine, TokenEngine) and size is not None:
            blocks = engine.typical_blocks(size) / max(1, self.plan.looks)
            return BlockStridedSampler(inner, max(1, blocks))
        return StridedSampler(inner, self.plan.stride(engine.typical_steps(inner)))


class SurrogatePopulations(Drawn):
    """Populations of one size that a strategy which learns draws until the budget is spent: the
    designs are those of the last ones, which knew most."""

    rounds = None

    def __init__(self, model: Model, inner: SurrogateValued) -> None:
        super().__init__(model)
        self.inner, self.batch = inner, inner.batch

    def round(self, here: Round) -> Guided | None:
        run = self.inner.round(here)
        if run is not None and len(run.log_w) == len(run.log_z) * self.inner.particles:
            self.keep(run, run.draw(here.rng), here.number)  # not of what a budget's rest allowed
        return run


def kind_of_look(model: Model) -> type[Rollout] | type[PosteriorMean]:
    """Roll out what is written from left to right; elsewhere read the posterior mean."""
    return Rollout if model.engine.block_causal else PosteriorMean


def pick(run: Guided, best: bool, rng: torch.Generator) -> Tensor:
    """One row of each population: the best scored one, or a draw by weight."""
    if not best:
        return run.draw(rng)
    P = len(run.log_z)
    # a row whose reward failed carries a score that nobody gave
    scores = run.scores.masked_fill(~run.scored, float("-inf")).view(P, -1)
    return scores.argmax(1) + torch.arange(P, device=scores.device) * scores.shape[1]
