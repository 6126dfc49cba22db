"""Models made of models: products and powers of what they draw, and superpositions."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import torch

from scidiff.api.composed import (
    ComposedEngine,
    ProductOfGraphs,
    SuperposedGraphs,
    of_graphs,
    of_tokens,
)
from scidiff.api.engine import Engine
from scidiff.api.entry import opened
from scidiff.api.graph_engine import GraphEngine
from scidiff.api.model import Model
from scidiff.api.token_engine import TokenEngine
from scidiff.core import ScidiffError
from scidiff.guidance.certificate import Guided, merged
from scidiff.guidance.chunks import in_chunks
from scidiff.guidance.particles import guided_sample, positive
from scidiff.guidance.selection import smc
from scidiff.guidance.values import bare

if TYPE_CHECKING:
    from scidiff.api.design_result import DesignResult
    from scidiff.api.results import SampleResult

PARTICLES = 16  # of which each row is drawn by weight, where nothing else is asked
ROWS = 2048  # particles run together; part of what a seed means

Given = Model | str | Path
Kind = TypeVar("Kind", TokenEngine, GraphEngine)


def product(models: Sequence[Given], exponents: Sequence[float] | None = None) -> Composition:
    """What all models find likely: objects of the law prod_i p_i(x)^b_i / Z, b_i = 1 where no
    exponents are given.

    (w, 1 - w) of a fine-tuned model and its base is classifier-free guidance of the fine-tuned
    one; a negative exponent keeps away from what a model draws. Token models of one vocabulary are
    weighed token by token, exactly (Hasan et al. 2026, arXiv 2601.10403); graph SDE models of one
    noise by Feynman-Kac correctors (Skreta et al. 2025, arXiv 2503.02819), whose exponents must
    have a positive sum. Lengths and node counts have the product of their laws.

    Raises ScidiffError for models that do not go together, ValueError for other exponents.
    """
    named = _opened(models)
    exponents = [1.0] * len(named) if exponents is None else [float(b) for b in exponents]
    if len(exponents) != len(named) or not all(map(math.isfinite, exponents)):
        raise ValueError(
            f"exponents must be one finite number for each of {len(named)} models, got {exponents}"
        )
    if not any(exponents):
        raise ValueError(f"at least one exponent must not be 0, got {exponents}")
    engines = [model.engine for model in named]
    terms = [f"{m.name}^{b:g}" for m, b in zip(named, exponents, strict=True)]
    if isinstance(engines[0], TokenEngine):
        engine = of_tokens(_all_of(TokenEngine, named), exponents)
    else:
        engine = of_graphs(_all_of(GraphEngine, named), ProductOfGraphs(), exponents)
    return Composition(_composed(named, engine, " * ".join(terms)), weighed=True)


def anneal(model: Given, power: float) -> Composition:
    """p(x)^power / Z: a model at temperature 1 / power, of whole objects. Above 1 keeps to what it
    finds likeliest, below 1 goes away from the data. The setting `temperature` bends tokens one by
    one, which is another law."""
    return product([model], [power])


def superpose(models: Sequence[Given], how: Literal["or", "and"] = "or") -> Composition:
    """What any of several graph SDE models would draw ("or"), or what all find equally likely
    ("and"), by their densities along the chain (SuperDiff, Skreta et al. 2025, arXiv 2412.17762).

    Raises ScidiffError for models that do not go together, ValueError for fewer than two.
    """
    named = _opened(models)
    if isinstance(named[0].engine, TokenEngine):
        raise ScidiffError(
            "superpose follows the densities of graph SDE models; token models are multiplied "
            f"(product), got {named[0].name}"
        )
    engine = of_graphs(_all_of(GraphEngine, named), SuperposedGraphs(how))
    name = f" {how} ".join(model.name for model in named)
    return Composition(_composed(named, engine, name), weighed=False)


class Composition:
    """Models that draw and design as one, made by `product`, `anneal` and `superpose`.

    `model` stands for them in guided runs: its sampler tells the weight of every step. Its law has
    no likelihood in closed form and its gaps are not infilled.
    """

    def __init__(self, model: Model, *, weighed: bool) -> None:
        self.model, self.weighed = model, weighed
        self.model.sampler()  # models that do not fit are refused here

    @property
    def name(self) -> str:
        return self.model.name

    def __repr__(self) -> str:
        return f"<Composition {self.name}>"

    def sample(
        self, n: int, seed: int = 0, *, particles: int | None = None, **settings: Any
    ) -> SampleResult:
        """Draw n objects, each by weight from a population of its own of `particles` (16; 1 of a
        superposition, which has no weights).

        The more particles the closer to the law. `log_w` is the log mean weight of each row's
        population: mean(exp(log_w) f) is unbiased for the unnormalised law at any number. The
        rows depend on (seed, particles) alone. `settings` are those of the models; of graphs
        `steps`, `nodes` and, of a product, `eta`.
        """
        positive("n", n)
        usual = PARTICLES if self.weighed else 1
        K = positive("particles", usual if particles is None else particles)
        engine = self.model.engine
        told, sampler = engine.settings(settings), engine.sampler(**settings)

        def draw(size: int, rng: torch.Generator) -> Guided:
            run = guided_sample(
                sampler, None, size * K, rng, select=smc(0.5), populations=size
            )
            return replace(run, x=bare(run.x[run.draw(rng)]))

        parts = in_chunks(n, max(1, ROWS // K), seed, draw, device=engine.device)
        run = merged(list(parts), proper=True)
        found = self.model.result(
            self.model.domain.decode(run.x), seed, {"log_w": run.log_z.tolist()}, n=n,
            sampling={**told, "particles": K}, certificate=vars(run.certificate),
        )  # fmt: skip
        found.notes = (*found.notes, str(run.certificate)) if self.weighed else found.notes
        return found

    def design(self, reward: Any, n: int = 64, **how: Any) -> DesignResult:
        """Design n objects that all models find likely and `reward` good (`sd.design`)."""
        from scidiff.api.design import design

        return design(self.model, reward, n, **how)


# ---------------------------------------------------------------- models of several models


def _opened(models: Sequence[Given]) -> list[Model]:
    if isinstance(models, str | Path | Model) or not len(models):
        raise ValueError(f"models must be a list of models or names of them, got {models!r}")
    return [opened(model) for model in models]


def _all_of(kind: type[Kind], models: Sequence[Model]) -> list[Kind]:
    """The engines of models of one family, notation and vocabulary."""
    first, engines = models[0], []
    for model in models:
        engine: Any = model.engine
        mixed = engine.block_causal != first.engine.block_causal
        if not isinstance(engine, kind) or mixed:
            raise ScidiffError(
                "models are composed within one family: masked, left to right (block), or graph "
                f"SDE; got {first.name} ({_kind(first)}) and {model.name} ({_kind(model)})"
            )
        engines.append(engine)
        _check_vocabulary(first, model)
    return engines


def _kind(model: Model) -> str:
    return str(model.config["process"]["kind"])


def _check_vocabulary(first: Model, other: Model) -> None:
    mine, theirs = first.engine.vocabulary, other.engine.vocabulary
    if (mine.notation, mine.symbols) == (theirs.notation, theirs.symbols):
        return
    apart = sorted(set(mine.symbols) ^ set(theirs.symbols))
    why = f"only one of them knows {apart[0]!r}" if apart else "in another order"
    raise ScidiffError(
        f"composed models must write one vocabulary: {first.name} has {len(mine.symbols)} symbols "
        f"of {mine.notation}, {other.name} {len(theirs.symbols)} of {theirs.notation}; {why}"
    )


def _composed(models: Sequence[Model], engine: ComposedEngine, name: str) -> Model:
    """A model that draws by `engine`, with a digest of all."""
    made = copy.copy(models[0])
    text = ", ".join([name, *(model.config["sha256"] for model in models)])
    config = {key: held for key, held in engine.base.config.items() if key != "frontier"}
    made.config = {**config, "name": name, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    made.engine, made.name = cast(Engine, engine), name
    if any(model.source != made.source for model in models):
        made.__dict__["novelty"] = None  # there is no one training set
    return made
