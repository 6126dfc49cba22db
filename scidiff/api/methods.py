"""Methods of `sd.design` that run one population a design: what runs each, and by which plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from scidiff.api import plans
from scidiff.api.plans import BRANCH, PATHS, SIZES, Plan, Shape
from scidiff.api.steering import Steering
from scidiff.core import Select
from scidiff.guidance.certificate import Guided, Meter, found
from scidiff.guidance.lookahead import Decoded, Value, end_values
from scidiff.guidance.offspring import offspring
from scidiff.guidance.particles import (
    Potential,
    difference,
    guided_sample,
    maximum,
    positive,
    sample,
)
from scidiff.guidance.search import (
    Redrawn,
    best_of,
    noise_search,
    path_search,
    rollover,
    successive_halving,
)
from scidiff.guidance.selection import Replacing, Resample, greedy, keep_all, per_parent
from scidiff.guidance.spreading import Spread

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
    steering: Steering = field(default_factory=Steering)

    @property
    def particles(self) -> int:
        return self.designs * self.plan.particles


Run = Callable[[Task], Guided]


def weighted(select: Select) -> Run:
    """The weighted loop, one population a design."""

    def run(task: Task) -> Guided:
        return _looped(task, select, difference, task.designs)

    return run


def resampled(potential: Potential = difference) -> Run:
    """The weighted loop with populations that are resampled as the plan says, and kept apart
    where the task says by what."""

    def run(task: Task) -> Guided:
        rule = Resample(task.plan.ess or 0.0)
        if task.steering.factors is None:
            return _looped(task, rule, potential, task.designs)
        spread = Spread(task.steering.factors, rule)
        with task.reward.telling(spread.hear):
            return _looped(task, spread, potential, task.designs)

    return run


def _looped(task: Task, select: Select, potential: Potential, populations: int) -> Guided:
    steps = task.sampler.num_steps
    window = None
    if task.steering.window is not None:
        first, last = (round(share * steps) for share in task.steering.window)
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
    gained = -(-(steps - steps // 3) // PATHS)
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
    """How a design spends b calls, what runs it, and how a design is drawn at the end.

    A plan is a function of b alone; that of a method whose `shape` has "every" also takes the
    number of looks, where it is not the budget that says how many there are.
    """

    run: Run
    plan: Callable[..., Plan]
    best: bool = False  # take the best of a population instead of drawing by weight
    proper: bool = True  # whether its weights estimate anything
    step: str = "look"  # what one step of the chain is: from look to look, "whole", or its "own"
    least: int = 1  # calls without which it does nothing
    shape: tuple[str, ...] = ()  # what of `Shape` may be asked


METHODS: dict[str, Method] = {
    "svdd": Method(weighted(per_parent), plans.svdd, shape=(*SIZES, "every")),
    "nested": Method(resampled(), plans.nested, shape=(*SIZES, "ess", "every")),
    "smc": Method(resampled(), plans.smc, shape=("particles", "ess", "every")),
    "fk": Method(resampled(maximum), plans.smc, shape=("particles", "ess", "every")),
    "best-of-n": Method(weighted(keep_all), plans.best_of, best=True, step="whole"),
    "svdd-r": Method(_replacing, plans.svdd, proper=False, shape=("branch", "every")),
    "beam": Method(weighted(greedy), plans.beam, best=True, proper=False, shape=(*SIZES, "every")),
    "noise": Method(_noise, plans.noise, best=True, proper=False, step="whole"),
    "halving": Method(_halving, plans.halving, best=True, proper=False, step="own"),
    "rollover": Method(_rollover, plans.rollover, best=True, proper=False, least=3),
    "paths": Method(_paths, plans.paths, best=True, proper=False, least=BRANCH * PATHS + 1),
    "refine": Method(_refine, plans.refine, best=True, proper=False, step="own", least=2),
}
"""One population a design: proper ones draw it by weight, searches take the best."""


RESAMPLING = (*(name for name, method in METHODS.items() if "ess" in method.shape), "surrogate")
WEIGHTED = tuple(name for name, method in METHODS.items() if method.proper)


def check_taken(name: str, part: str, takers: Iterable[str]) -> None:
    """Raise ValueError for a method that is not among the `takers` of what is asked for."""
    if name not in takers:
        raise ValueError(f"{name} takes no {part}; {', '.join(takers)} do")


def check_steering(name: str, steering: Steering) -> None:
    """Raise ValueError for what a method cannot be steered by."""
    if steering.window is not None and name not in METHODS:
        raise ValueError(f"window chooses where a weighted method looks ahead; {name} has no such "
                         f"place, expected a method such as {', '.join(METHODS)}")
    if steering.factors is not None:
        check_taken(name, "memory as resampling", RESAMPLING)
    if steering.screen is not None:
        check_taken(name, "screen", WEIGHTED)
    if steering.value is not None:
        check_taken(name, "value", [m for m, how in METHODS.items() if "every" in how.shape])
        if steering.factors is not None:
            raise ValueError("a memory as resampling reads what look-aheads decode to, and a "
                             "learned value decodes nothing: give one of the two")


def check_shape(name: str, shape: Shape) -> None:
    """Raise ValueError for a part of a shape that the method does not have, or that cannot be."""
    for part, asked in shape.items():
        takers = [m for m, method in METHODS.items() if part in method.shape]
        check_taken(name, f"{part}, got {asked}", takers)
        if part == "ess":
            Resample(asked)
        else:
            positive(part, asked)
