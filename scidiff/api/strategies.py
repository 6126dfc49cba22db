"""Strategies that search: which parts of `Evolution` fit a model and a budget."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from scidiff.api.methods import METHODS, check_shape, check_steering
from scidiff.api.model import Model
from scidiff.api.plans import Shape, planned
from scidiff.api.populations import Populations, SurrogatePopulations, kind_of_look
from scidiff.api.steering import Steering
from scidiff.api.token_engine import TokenEngine
from scidiff.core import uniform
from scidiff.guidance.campaign import Strategy
from scidiff.guidance.evolving import Evolution, Respell, as_written
from scidiff.guidance.finetune_likelihoods import Causal, as_causal
from scidiff.guidance.learner import Learner
from scidiff.guidance.selection import nested
from scidiff.guidance.spreading import Factors, Spread
from scidiff.guidance.surrogate_rounds import Screened, SurrogateValued
from scidiff.messages import nearest
from scidiff.rewards.surrogates import Surrogate

ROUNDS = 10  # at least, where the budget has the calls
BATCH = 100  # objects of a round, at most
FEWEST = 5  # at least
CANDIDATES, SPARED = 12, 4  # rows drawn for each object asked, and where a budget is above `MANY`
MANY = 1_000  # calls from which on it is the model that costs
DIVERSITY = 0.95  # of the designs: of what draws of the model have, .86 for moses-smiles
PARTICLES, LOOKS = 16, 4  # of a population that the surrogate looks ahead for

Make = Callable[[Model, int, Mapping[str, Any]], Strategy]


def evolution(model: Model, budget: int, settings: Mapping[str, Any]) -> Evolution:
    """Rounds of a tenth of the budget, 5 to 100 objects each.

    Where nothing is learned, offspring are what is better than draws: most candidates are, near
    their parents.
    """
    batch, learns = max(FEWEST, min(BATCH, budget // ROUNDS)), learner(model, settings)
    share, reach = (0.5, 1.0) if learns else (0.9, 0.3)
    return Evolution(
        batch, learns, Surrogate(model.domain.kind), respelling(model),
        lambda r: r.points is not None or not model.unreadable(r.text), share=share, reach=reach,
        candidates=CANDIDATES if budget <= MANY else SPARED,
        diversity=DIVERSITY,
    )  # fmt: skip


def learner(model: Model, settings: Mapping[str, Any]) -> Learner | None:
    """A copy of a model that writes from left to right, token by token: one pass tells how likely
    it finds a row. Other models, and those asked for a condition, do not learn."""
    engine = model.engine
    if not isinstance(engine, TokenEngine) or not engine.block_causal:
        return None
    if settings.get("condition"):
        return None
    network = as_causal(copy.deepcopy(engine.network))
    sampler = replace(engine, network=network).sampler(**{**settings, "block_size": 1})
    return Learner(network, sampler, Causal())


def respelling(model: Model) -> Respell:
    """How a model's domain writes an object in another way that the model can read."""
    respell = getattr(model.domain, "respell", None)
    if respell is None:
        return as_written

    def written(texts: Sequence[str], rng: torch.Generator) -> list[str]:
        shares = uniform((len(texts),), rng).tolist()
        told = [respell(t, u) for t, u in zip(texts, shares, strict=True)]
        return [t if model.unreadable(other) else other
                for t, other in zip(texts, told, strict=True)]

    return written


def valued(
    model: Model, budget: int, settings: Mapping[str, Any], factors: Factors | None = None
) -> SurrogatePopulations:
    """Weighted draws that are looked ahead by the surrogate, rounds of a tenth of the budget."""
    typical = model.engine.typical_steps(model.sampler(**settings))
    batch = max(PARTICLES, min(256, budget // ROUNDS) // PARTICLES * PARTICLES)
    return SurrogatePopulations(model, SurrogateValued(
        Surrogate(model.domain.kind), kind_of_look(model), batch, PARTICLES,
        stretch=math.ceil(typical / LOOKS), looks=LOOKS,
        select=nested() if factors is None else Spread(factors, nested()),
    ))  # fmt: skip


def screened(model: Model, budget: int, settings: Mapping[str, Any]) -> Screened:
    """Draws of the model that the surrogate screens, rounds of a tenth of the budget."""
    batch = max(FEWEST, min(BATCH, budget // ROUNDS))
    return Screened(Surrogate(model.domain.kind), batch=batch)


STRATEGIES: Mapping[str, Make] = {"evolve": evolution, "surrogate": valued, "screened": screened}
"""By the name that `sd.design` takes as its method."""


# ---------------------------------------------------------------- of every kind, by name


def least_calls(name: str) -> int:
    """Calls a design without which a method does nothing; ValueError for an unknown method."""
    known = [*METHODS, *STRATEGIES]
    if name not in known:
        raise ValueError(
            f"unknown method {name!r}{nearest(name, known)}; expected one of {', '.join(known)}"
        )
    if name == "surrogate":
        return PARTICLES  # of the population that a design is drawn from
    return METHODS[name].least if name in METHODS else 1


def strategy_of(
    name: str, model: Model, n: int, budget: int, settings: Mapping[str, Any], shape: Shape,
    steering: Steering,
) -> Strategy:  # fmt: skip
    """What runs n designs by a method under a budget of calls, its populations of a `shape` and
    chosen by more than the reward where `steering` says so.

    Raises ValueError for a shape or a steering that the method does not have or that cannot be.
    """
    check_shape(name, shape)
    check_steering(name, steering)
    if name in METHODS:
        steps = model.engine.typical_steps(model.sampler(**settings)) if "every" in shape else 0
        method = METHODS[name]
        plan = planned(method.plan, method.shape, budget // n, shape, steps,
                       free=steering.value is not None)
        return Populations(model, method, n, plan, steering)
    if name == "surrogate":
        return valued(model, budget, settings, steering.factors)
    return STRATEGIES[name](model, budget, settings)
