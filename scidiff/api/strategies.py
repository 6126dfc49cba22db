"""Strategies that search: which parts of `Evolution` fit a model and a budget."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from scidiff.api.model import Model
from scidiff.api.token_engine import TokenEngine
from scidiff.core import uniform
from scidiff.guidance.campaign import Strategy
from scidiff.guidance.evolving import Evolution, Respell
from scidiff.guidance.finetune_likelihoods import Causal, as_causal
from scidiff.guidance.learner import Learner
from scidiff.rewards.surrogates import Surrogate

ROUNDS = 10  # at least, where the budget has the calls
BATCH = 100  # objects of a round, at most
FEWEST = 5  # at least

Make = Callable[[Model, int, Mapping[str, Any]], Strategy]


def evolution(model: Model, budget: int, settings: Mapping[str, Any]) -> Evolution:
    """Rounds of a tenth of the budget, 5 to 100 objects each."""
    batch = max(FEWEST, min(BATCH, budget // ROUNDS))
    return Evolution(
        batch, learner(model, settings), Surrogate(model.domain.kind), respelling(model),
        lambda text: not model.unreadable(text),
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
    respell = getattr(model.domain, "respell", lambda text, share: text)

    def written(texts: Sequence[str], rng: torch.Generator) -> list[str]:
        shares = uniform((len(texts),), rng).tolist()
        told = [respell(t, u) for t, u in zip(texts, shares, strict=True)]
        return [t if model.unreadable(other) else other
                for t, other in zip(texts, told, strict=True)]

    return written


STRATEGIES: Mapping[str, Make] = {"evolve": evolution}
"""By the name that `sd.design` takes as its method."""
