"""How the methods of `sd.design` that run one population a design spend its calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

ROWS = 8192  # particles and candidates run together; part of what a seed means
STRENGTH = 100.0  # for rewards in [0, 1]: alpha = 0.01 of the SVDD paper
ESS = 0.5  # share of effective particles below which populations are resampled
BRANCH, PATHS = 2, 8  # copies of a path, and how often paths are compared at most


@dataclass(frozen=True)
class Plan:
    """How a design spends its calls: a population of `particles`, each look-ahead scoring
    particles * branch guesses at about `looks` steps, then every finished particle."""

    particles: int
    branch: int
    looks: int
    ess: float | None = None  # share of effective particles below which they are resampled
    every: int | None = None  # steps of the chain from look to look; None: as `looks` says

    @property
    def chunk(self) -> int:
        """Designs that are run together."""
        return max(1, ROWS // (self.particles * self.branch))

    @property
    def calls(self) -> int:
        """Reward calls of one design whose rows are of typical length."""
        return self.particles * self.branch * self.looks + self.particles

    def stride(self, steps: int) -> int:
        """Steps from look to look of a chain whose typical rows end after so many."""
        return self.every or math.ceil(steps / max(1, self.looks))


def svdd(b: int, looks: int | None = None) -> Plan:
    looks = looks or max(1, min(6, b // 8))
    return Plan(1, max(1, (b - 1) // looks), looks)


def beam(b: int, looks: int | None = None) -> Plan:
    looks = looks or max(1, min(4, b // 16))
    side = max(1, int(math.sqrt(b / (looks + 1))))
    return Plan(side, max(1, (b // side - 1) // looks), looks)


def nested(b: int, looks: int | None = None) -> Plan:
    return replace(beam(b, looks), ess=ESS)


def smc(b: int, looks: int | None = None) -> Plan:
    """The last look is at rows of typical length when they end; longer rows are looked at again,
    which takes half a look more."""
    looks = looks or max(min(2, b), min(4, b // 4))
    return Plan(max(1, int(b / (looks + 0.5))), 1, looks, ESS)


def best_of(b: int) -> Plan:
    return Plan(b, 1, 0)


def noise(b: int) -> Plan:
    branch = min(4, max(1, b - 1))
    return Plan(1, branch, (b - 1) // branch)


def halving(b: int) -> Plan:
    return Plan(max(1, b // 2), 1, 2 if b > 1 else 1)


def rollover(b: int) -> Plan:
    looks = max(1, min(6, (b - 1) // 4))
    return Plan(1, max(1, (b - 1) // looks), looks)


def paths(b: int) -> Plan:
    return Plan(max(1, b // (BRANCH * PATHS + 1)), BRANCH, PATHS)


def refine(b: int) -> Plan:
    return Plan(max(1, b // 4), 1, b - max(1, b // 4))


# ---------------------------------------------------------------- shapes that are asked for

Shape = Mapping[str, Any]
"""How a population is run, where the budget should not say it: `particles` (K), candidates of each
(`branch`, M), `ess`, the share of effective particles below which it is resampled, and the steps
of the chain from look to look (`every`)."""

SIZES = ("particles", "branch")


def planned(
    plan_of: Callable[..., Plan], takes: Collection[str], calls: int, shape: Shape, steps: int,
    *, free: bool = False,
) -> Plan:  # fmt: skip
    """The plan of a method in a population of a `shape`, of which it `takes` some parts: what the
    shape does not say follows from the budget. `steps` are those of the chain in which typical
    rows end; `free` look-aheads ask nothing, so that all calls are there for the end.

    Raises ValueError where the calls do not pay one look, or those that were asked for.
    """
    every = shape.get("every")
    looks = None if every is None else math.ceil(steps / every)
    plan = plan_of(calls) if looks is None else plan_of(calls, looks)
    plan = replace(plan, ess=shape.get("ess", plan.ess), every=every)
    if free:
        return _at_the_end(plan, takes, calls, shape)
    if any(part in shape for part in SIZES):
        plan = _sized(plan, takes, calls, shape)
    K, M, L = plan.particles, plan.branch, plan.looks
    if looks is not None and K * M * L > calls:
        raise ValueError(
            f"a look every {every} steps is {L} of them, at which {K} particles with {M} "
            f"candidates each ask {K * M * L} objects: every design needs a budget of at least "
            f"{K * M * L}, got {calls}"
        )
    return plan


def _at_the_end(plan: Plan, takes: Collection[str], calls: int, shape: Shape) -> Plan:
    """All calls spent on finished candidates: of one particle, of particles with one each, or of
    as many of both, as the plan has them."""
    K, M = (shape.get(part) for part in SIZES)
    if K is None:
        even = 1 if plan.particles == 1 else math.isqrt(calls) if "branch" in takes else calls
        K = even if M is None else max(1, calls // M)
    if M is None:
        M = max(1, calls // K) if "branch" in takes else 1
    if K * M > calls:
        raise ValueError(
            f"{K} particles with {M} candidates each ask {K * M} objects at the end: every design "
            f"needs a budget of at least {K * M}, got {calls}"
        )
    return replace(plan, particles=K, branch=M)


def _sized(plan: Plan, takes: Collection[str], calls: int, shape: Shape) -> Plan:
    """As many calls spent by a population of another size, or with other candidates."""
    K, M = (shape.get(part, getattr(plan, part)) for part in SIZES)
    if plan.every is None:
        if calls < K * M + K:
            raise ValueError(
                f"{K} particles with {M} candidates each ask {K * M} objects a look and {K} at "
                f"the end: every design needs a budget of at least {K * M + K}, got {calls}"
            )
        return replace(plan, particles=K, branch=M, looks=(calls - K) // (K * M))
    free = [part for part in SIZES if part in takes and part not in shape]
    if free == ["branch"]:
        M = max(1, (calls // K - 1) // plan.looks)
    elif free == ["particles"]:
        K = max(1, calls // (M * plan.looks + 1))
    return replace(plan, particles=K, branch=M)
