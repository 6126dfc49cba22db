"""Methods of `sd.design` that run one population a design: how each spends its calls, and what
runs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from scidiff.core import Select
from scidiff.guidance.certificate import Guided, Meter, found
from scidiff.guidance.lookahead import Decoded, Value, end_values
from scidiff.guidance.offspring import offspring
from scidiff.guidance.particles import Potential, difference, guided_sample, maximum, sample
from scidiff.guidance.search import (
    Redrawn,
    best_of,
    noise_search,
    path_search,
    rollover,
    successive_halving,
)
from scidiff.guidance.selection import Replacing, greedy, keep_all, nested, per_parent, smc

ROWS = 8192  # particles and candidates run together; part of what a seed means


@dataclass(frozen=True)
class Plan:
    """How a design spends its calls: a population of `particles`, each look-ahead scoring
    particles * branch guesses at about `looks` steps, then every finished particle."""

    particles: int
    branch: int
    looks: int

    @property
    def chunk(self) -> int:
        """Designs that are run together."""
        return max(1, ROWS // (self.particles * self.branch))

    @property
    def calls(self) -> int:
        """Reward calls of one design whose rows are of typical length."""
        return self.particles * self.branch * self.looks + self.particles

    def shaped(self, calls: int, particles: int | None, branch: int | None) -> Plan:
        """As many calls spent by a population of another size, or with other candidates.

        Raises ValueError where they do not pay one look.
        """
        K, M = particles or self.particles, branch or self.branch
        if calls < K * M + K:
            raise ValueError(
                f"{K} particles with {M} candidates each ask {K * M} objects a look and {K} at "
                f"the end: every design needs a budget of at least {K * M + K}, got {calls}"
            )
        return Plan(K, M, (calls - K) // (K * M))


def _svdd(b: int) -> Plan:
    looks = max(1, min(6, b // 8))
    return Plan(1, max(1, (b - 1) // looks), looks)


def _nested(b: int) -> Plan:
    looks = max(1, min(4, b // 16))
    side = max(1, int(math.sqrt(b / (looks + 1))))
    return Plan(side, max(1, (b // side - 1) // looks), looks)


def _smc(b: int) -> Plan:
    """The last look is at rows of typical length when they end; longer rows are looked at again,
    which takes half a look more."""
    looks = max(min(2, b), min(4, b // 4))
    return Plan(max(1, int(b / (looks + 0.5))), 1, looks)


def _best_of(b: int) -> Plan:
    return Plan(b, 1, 0)


def _noise_plan(b: int) -> Plan:
    branch = min(4, max(1, b - 1))
    return Plan(1, branch, (b - 1) // branch)


def _halving_plan(b: int) -> Plan:
    return Plan(max(1, b // 2), 1, 2 if b > 1 else 1)


def _rollover_plan(b: int) -> Plan:
    looks = max(1, min(6, (b - 1) // 4))
    return Plan(1, max(1, (b - 1) // looks), looks)


def _paths_plan(b: int) -> Plan:
    return Plan(max(1, b // (_BRANCH * _PATHS + 1)), _BRANCH, _PATHS)


def _refine_plan(b: int) -> Plan:
    return Plan(max(1, b // 4), 1, b - max(1, b // 4))


_BRANCH, _PATHS = 2, 8  # copies of a path, and how often paths are compared at most
_REACH = 0.5  # share of a row's steps that refinement takes back, at most

# ---------------------------------------------------------------- what runs a chunk of designs


@dataclass(frozen=True)
class Task:
    """A chunk of designs to be run, and all that runs it."""

    sampler: Any  # core.Sampler, for some methods Renoisable
    reward: Decoded
    value: Value
    plan: Plan
    designs: int
    strength: float
    rng: torch.Generator
    window: tuple[float, float] | None = None  # the share of the chain that is looked at

    @property
    def particles(self) -> int:
        return self.designs * self.plan.particles


Run = Callable[[Task], Guided]


def weighted(select: Select, potential: Potential = difference) -> Run:
    """The weighted loop, one population a design."""

    def run(task: Task) -> Guided:
        return _looped(task, select, potential, task.designs)

    return run


def _looped(task: Task, select: Select, potential: Potential, populations: int) -> Guided:
    steps = task.sampler.num_steps
    window = None
    if task.window is not None:
        first, last = (round(share * steps) for share in task.window)
        window = max(1, first), max(1, last)
    return guided_sample(
        task.sampler, task.reward, task.particles, task.rng, select=select,
        strength=task.strength, value=task.value, potential=potential,
        branch=task.plan.branch, window=window, populations=populations,
    )  # fmt: skip


def _replacing(task: Task) -> Guided:
    """SVDD-R: all designs of a chunk are one population, and each of its rows is a design."""
    run = _looped(task, Replacing(0.05), difference, 1)
    return replace(run, log_z=run.log_w)


def _noise(task: Task) -> Guided:
    return noise_search(
        task.sampler, task.reward, task.designs, task.rng,
        rounds=task.plan.looks, neighbours=task.plan.branch, move=Redrawn(0.1),
    )  # fmt: skip


def _rollover(task: Task) -> Guided:
    return rollover(
        task.sampler, task.reward, task.designs, task.rng, quota=task.plan.branch,
        value=task.value,
    )  # fmt: skip


def _halving(task: Task) -> Guided:
    steps = task.sampler.num_steps
    rungs = {k for k in (steps // 4, steps // 2) if k} if task.plan.particles > 1 else set()
    return successive_halving(
        task.sampler, task.reward, task.particles, task.rng, rungs=sorted(rungs),
        populations=task.designs, value=task.value,
    )  # fmt: skip


def _paths(task: Task) -> Guided:
    steps = task.sampler.num_steps
    gained = -(-(steps - steps // 3) // _PATHS)
    forward = max(gained + 1, steps // 3)
    return path_search(
        task.sampler, task.reward, task.particles, task.rng, start=steps // 3,
        back=forward - gained, forward=forward, branch=task.plan.branch,
        populations=task.designs, value=task.value,
    )  # fmt: skip


def _refine(task: Task) -> Guided:
    """The best of a quarter of the calls, then children of it, kept where they are better."""
    meter, rows = Meter(task.sampler, task.reward, None), torch.arange(task.designs)
    x = sample(task.sampler, task.particles, task.rng)
    values = end_values(task.reward, x)
    best = best_of(values, task.designs, 1)
    x, values = x[best], values[best]
    rows = rows.to(values.device)
    for _ in range(task.plan.looks):
        children = offspring(task.sampler, x, task.rng, reach=_REACH)
        told = end_values(task.reward, children)
        x = type(x).cat([x, children])[torch.where(told > values, rows + len(rows), rows)]
        values = torch.maximum(values, told)
    return found(x, values, rows, task.designs, meter.ledger(task.particles))


@dataclass(frozen=True)
class Method:
    """How a design spends b calls, what runs it, and how a design is drawn at the end."""

    run: Run
    plan: Callable[[int], Plan]
    best: bool = False  # take the best of a population instead of drawing by weight
    proper: bool = True  # whether its weights estimate anything
    step: str = "look"  # what one step of the chain is: from look to look, "whole", or its "own"
    least: int = 1  # calls without which it does nothing
    shape: tuple[str, ...] = ()  # of its populations what may be asked: particles, branch


BOTH = ("particles", "branch")
METHODS: dict[str, Method] = {
    "svdd": Method(weighted(per_parent), _svdd, shape=BOTH),
    "nested": Method(weighted(nested(0.5)), _nested, shape=BOTH),
    "smc": Method(weighted(smc(0.5)), _smc, shape=("particles",)),
    "fk": Method(weighted(smc(0.5), maximum), _smc, shape=("particles",)),
    "best-of-n": Method(weighted(keep_all), lambda b: Plan(b, 1, 0), best=True, step="whole"),
    "svdd-r": Method(_replacing, _svdd, proper=False, shape=("branch",)),
    "beam": Method(weighted(greedy), _nested, best=True, proper=False, shape=BOTH),
    "noise": Method(_noise, _noise_plan, best=True, proper=False, step="whole"),
    "halving": Method(_halving, _halving_plan, best=True, proper=False, step="own"),
    "rollover": Method(_rollover, _rollover_plan, best=True, proper=False, least=3),
    "paths": Method(_paths, _paths_plan, best=True, proper=False, least=_BRANCH * _PATHS + 1),
    "refine": Method(_refine, _refine_plan, best=True, proper=False, step="own", least=2),
}
"""One population a design: proper ones draw it by weight, searches take the best."""
