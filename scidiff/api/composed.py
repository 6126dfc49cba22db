"""Engines made of several: one sampler of all their networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from scidiff.api.graph_engine import GraphEngine
from scidiff.api.scaffold import node_law
from scidiff.api.settings import choose, chosen
from scidiff.api.token_engine import TokenEngine
from scidiff.core import Sampler, ScidiffError
from scidiff.data.graphs import GraphCanvas, GraphState, NodeCounts
from scidiff.domains.domain import find_domain
from scidiff.guidance.particles import positive
from scidiff.samplers.feynman_kac import FeynmanKac
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.superposition import Superposition
from scidiff.samplers.tempered import Product
from scidiff.samplers.token_products import TokenProduct
from scidiff.samplers.weighed import Weighed, free_entries


@dataclass(frozen=True)
class ComposedEngine:
    """An engine whose sampler is made of several; all else is the first one's."""

    base: Any
    make: Callable[..., Sampler[Any]]
    tell: Callable[[Mapping[str, Any]], dict[str, Any]]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "base":  # asked before there is one: copy, pickle
            raise AttributeError(name)
        return getattr(self.base, name)

    def sampler(self, **overrides: Any) -> Sampler[Any]:
        """The sampler of these settings."""
        return self.make(**overrides)

    def settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Every setting of a draw."""
        return self.tell(overrides)

    def encode(self, texts: Sequence[str]) -> Any:
        """Objects given as text, as states of the composed sampler."""
        x = self.base.encode(texts)
        if not isinstance(x, GraphState):
            return x
        return Weighed(x, memory=free_entries(self.base.denoiser.components, x))


def of_tokens(engines: Sequence[TokenEngine], exponents: Sequence[float]) -> ComposedEngine:
    shortest = min(engines, key=lambda e: e.rows.length)
    config = dict(shortest.config)
    if not shortest.block_causal:
        laws = [engine.config["length_counts"] for engine in engines]
        config["length_counts"] = multiplied(laws, exponents, "length")
    base = replace(shortest, config=config)

    def make(**settings: Any) -> Sampler[Any]:
        _check_condition(engines, settings)
        told = [_masked(engine, settings) for engine in engines]
        first = _masked(base, settings)
        return MaskedSampler(
            TokenProduct([s.denoiser for s in told], exponents), first.canvas,
            tokens_per_step=first.pace, order=first.order, block_size=first.block_size,
            temperature=first.draw.temperature, top_p=first.draw.top_p,
            constraints=first.constraints, condition=first.condition,
            second_order=first.second_order,
        )  # fmt: skip

    return ComposedEngine(base, make, base.settings)


def _masked(engine: TokenEngine, settings: Mapping[str, Any]) -> MaskedSampler:
    sampler = engine.sampler(**settings)
    if not isinstance(sampler, MaskedSampler):
        raise ScidiffError(
            "composed models are weighed token by token: leave remask, schedule = 'ancestral', "
            f"energies and constraints on strings out, got {type(sampler).__name__}"
        )
    return sampler


def _check_condition(engines: Sequence[TokenEngine], settings: Mapping[str, Any]) -> None:
    known = [engine.config.get("conditions") for engine in engines]
    if settings.get("condition") and any(other != known[0] for other in known):
        raise ScidiffError("models that know different conditions cannot be asked for one")


@dataclass(frozen=True)
class GraphChain:
    """How composed graphs are drawn."""

    steps: int = 200
    nodes: int | None = None  # how many; None: drawn from the product of the models' laws

    def __post_init__(self) -> None:
        positive("steps", self.steps)


@dataclass(frozen=True)
class ProductChain(GraphChain):
    """How products of graph models are drawn."""

    eta: float | None = None  # Langevin noise; None: the least at which weights behave


class ProductOfGraphs:
    """Chains of a product that know what they are worth."""

    record: type[GraphChain] = ProductChain

    def __call__(self, denoisers: Sequence[Any], exponents: Sequence[float], canvas: GraphCanvas,
                 s: Any, device: torch.device) -> Sampler[Any]:
        path = Product(denoisers, exponents)
        return FeynmanKac(path, canvas, steps=s.steps, eta=s.eta, device=device)


@dataclass(frozen=True)
class SuperposedGraphs:
    """Chains that follow the densities of all models."""

    how: Literal["or", "and"]
    record: type[GraphChain] = GraphChain

    def __call__(self, denoisers: Sequence[Any], exponents: Sequence[float], canvas: GraphCanvas,
                 s: Any, device: torch.device) -> Sampler[Any]:
        return Superposition(denoisers, canvas, steps=s.steps, how=self.how, device=device)


def of_graphs(
    engines: Sequence[GraphEngine],
    chain: ProductOfGraphs | SuperposedGraphs,
    exponents: Sequence[float] | None = None,
) -> ComposedEngine:
    each = exponents or [1 / len(engines)] * len(engines)  # superposed: the geometric mean
    law = multiplied([engine.node_weights for engine in engines], each, "number of nodes")
    base = replace(engines[0], node_weights=tuple(law))
    kind = str(find_domain(base.config["domain"]).kind)

    def make(**settings: Any) -> Sampler[Any]:
        (s,) = choose((chain.record,), settings)
        counts = NodeCounts(torch.tensor(node_law(law, s.nodes, kind), dtype=torch.float64))
        canvas = GraphCanvas(counts, base.features)
        return chain([e.denoiser for e in engines], each, canvas, s, base.device)

    def tell(settings: Mapping[str, Any]) -> dict[str, Any]:
        (s,) = choose((chain.record,), settings)
        return {"steps": s.steps, **chosen(s)}

    return ComposedEngine(base, make, tell)


def multiplied(
    laws: Sequence[Sequence[float]], exponents: Sequence[float], what: str
) -> list[float]:
    """prod_i law_i^b_i of weights by size, 0 where any of them is, unless its exponent is 0.
    Raises ScidiffError where nothing is left."""
    longest = max(len(law) for law in laws)
    total = torch.zeros(longest, dtype=torch.float64)
    for law, b in zip(laws, exponents, strict=True):
        weights = torch.zeros(longest, dtype=torch.float64)
        weights[: len(law)] = torch.tensor(list(law), dtype=torch.float64)
        known = (weights / weights.sum()).log()
        total += torch.where(known.isfinite(), b * known, -math.inf if b else 0.0)
    if not total.isfinite().any():
        raise ScidiffError(f"the models have no {what} in common")
    return (total - total.max()).exp().tolist()
