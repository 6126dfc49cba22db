"""`sd.design`: draw objects that a model likes and a black-box reward scores high, under a budget."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scidiff.core import Sampler, Select, seeded
from scidiff.guidance.certificate import Guided
from scidiff.guidance.lookahead import Decoded, PosteriorMean, Rollout, Value
from scidiff.guidance.particles import guided_sample
from scidiff.guidance.selection import keep_all, nested, per_parent, smc
from scidiff.model import Model
from scidiff.rewards.combine import reward as resolve_reward
from scidiff.rewards.scoring import Scorer

if TYPE_CHECKING:
    from scidiff.results import DesignResult

CALLS = 128  # reward calls a design where no budget is given
STRENGTH = 30.0  # for rewards in [0, 1]


@dataclass(frozen=True)
class Plan:
    """How a design spends its calls: a population of `particles`, each look-ahead scoring
    particles * branch guesses at about `looks` steps, then every finished particle."""

    particles: int
    branch: int
    looks: int

    @property
    def calls(self) -> int:
        """The most reward calls of one design."""
        return self.particles * self.branch * self.looks + self.particles


@dataclass(frozen=True)
class Method:
    """A selection rule, how it spends b calls a design, and how a design is drawn at the end."""

    select: Select
    plan: Callable[[int], Plan]
    best: bool = False  # take the best of a population instead of drawing by weight


def _svdd(b: int) -> Plan:
    looks = max(1, min(16, (b - 1) // 4))
    return Plan(1, max(1, (b - 1) // looks), looks)


def _nested(b: int) -> Plan:
    looks = max(1, min(8, b // 16))
    side = max(1, int(math.sqrt(b / (looks + 1))))
    return Plan(side, max(1, (b // side - 1) // looks), looks)


def _smc(b: int) -> Plan:
    looks = max(1, min(8, b // 4 - 1))
    return Plan(max(1, b // (looks + 1)), 1, looks)


METHODS: dict[str, Method] = {
    "svdd": Method(per_parent, _svdd),
    "nested": Method(nested(0.5), _nested),
    "smc": Method(smc(0.5), _smc),
    "best-of-n": Method(keep_all, lambda b: Plan(b, 1, 0), best=True),
}


def design(
    model: Model,
    reward: Any,
    n: int = 64,
    method: str = "nested",
    budget: int | None = None,
    seed: int = 0,
    *,
    strength: float = STRENGTH,
    floor: float | None = None,
    **settings: Any,
) -> DesignResult:
    """Design n objects: draw from p(x) exp(strength r(x)), one object from each of n populations.

    `reward` is an expression ("0.7*qed + 0.3*sa"), a name, "package.module:name", or a callable
    on a list of objects. `budget` counts distinct objects asked (default 128 a design); the
    method's population size, branching and look-aheads follow from it. Methods: svdd (local
    choice; Li et al. 2024), nested (svdd with carried weights, consistent), smc, best-of-n. A
    model that writes from left to right is looked ahead by rollouts, others by the posterior mean.
    """
    chosen = find_method(method)
    if n <= 0:
        raise ValueError(f"n must be at least 1, got {n}")
    budget = CALLS * n if budget is None else budget
    if budget < n:
        raise ValueError(f"budget counts distinct objects asked; {n} designs need at least {n}, got {budget}")
    scorer = Scorer(resolve_reward(reward, floor=floor), key=model.domain.key, budget=budget)
    plan, run = run_method(model, chosen, scorer, n, budget // n, seed, strength, settings)
    return _result(model, run, chosen, scorer, seed, {
        "method": method, "reward": scorer.name, "strength": strength, "budget": budget,
        "particles": plan.particles, "branch": plan.branch, "looks": plan.looks, **settings})


def find_method(name: str) -> Method:
    """Look a method up by name."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown method {name!r}; expected one of {', '.join(METHODS)}{hint}")
    return METHODS[name]


def run_method(
    model: Model,
    method: Method,
    scorer: Scorer,
    n: int,
    calls: int,
    seed: int,
    strength: float,
    settings: dict[str, Any],
) -> tuple[Plan, Guided]:
    """Run one guided population a design, `calls` reward calls each."""
    sampler, plan = model.sampler(**settings), method.plan(calls)
    reward = Decoded(model.domain, scorer)
    every = max(1, model.engine.typical_steps(sampler) // max(1, plan.looks))
    guided = guided_sample(
        sampler,
        reward,
        n * plan.particles,
        seeded(seed, 0, model.engine.device),
        select=method.select,
        strength=strength,
        value=look_ahead(model, sampler, reward, strength),
        branch=plan.branch,
        every=every,
        window=None if plan.looks else (sampler.num_steps, sampler.num_steps),
        populations=n,
    )
    return plan, guided


def look_ahead(model: Model, sampler: Sampler[Any], reward: Decoded, strength: float) -> Value:
    """Roll out what is written from left to right; elsewhere read the posterior mean."""
    kind = Rollout if model.engine.block_causal else PosteriorMean
    return kind(sampler, reward, strength=strength)


def pick(run: Guided, best: bool, seed: int) -> Tensor:
    """One row of each population: the best scored one, or a draw by weight."""
    if not best:
        return run.draw(seeded(seed, 1, run.log_w.device))
    P = len(run.log_z)
    scores = run.scores.view(P, -1)
    return scores.argmax(1) + torch.arange(P, device=scores.device) * scores.shape[1]
