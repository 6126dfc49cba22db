"""Models of continuous graphs: how a system of SDEs becomes a sampler and a likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from scidiff.api.gaps import one_range
from scidiff.api.requests import InfillRequest, LikelihoodRequest
from scidiff.api.scaffold import Scaffold, around, names_of, node_law, too_large
from scidiff.api.settings import GraphRequest, GraphSettings, choose, chosen
from scidiff.core import Rng, ScidiffError, seeded
from scidiff.data.graphs import GraphCanvas, GraphState, NodeCounts
from scidiff.data.tokens import Vocabulary, encode_rows
from scidiff.domains.domain import find_domain
from scidiff.guidance.particles import sample
from scidiff.processes.gaussian import ContinuousDenoiser
from scidiff.processes.graph_sde import GraphSDE, GraphSDEProcess
from scidiff.samplers import inpaint
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.likelihood import log_likelihood
from scidiff.samplers.solvers import make_sampler
from scidiff.samplers.tempered import unfamiliar

# the solver of a model that names none, and the eta and rho that go with a solver where they are
# not given, as benchmarks/graphs.py found them; the others solve the SDE as it is
USUAL = "2m"
FITTING = {"2m": (3.0, 0.85), "exp1": (5.0, 0.9)}
TOLERANCE = 1e-3  # of the flow of a likelihood; its error in nats is of this order


@dataclass(frozen=True)
class GraphEngine:
    """A denoiser of graphs with its node-count law and config: makes samplers and likelihoods."""

    network: nn.Module
    denoiser: ContinuousDenoiser[GraphState]
    features: int  # F of X
    node_weights: tuple[float, ...]  # how often a training graph has n nodes, n = 0, 1, ...
    vocabulary: Vocabulary
    config: Mapping[str, Any]
    dtype: torch.dtype = torch.float32

    unit = "coordinates"
    block_causal = False  # it looks ahead by its clean guess

    def __post_init__(self) -> None:
        if self.dtype != torch.float32:
            raise ValueError(f"graph SDE models run in float32, got {self.dtype}")

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The settings, the config's with the user's on top, and what is asked beyond them."""
        s, request = self._chosen(overrides)
        return {**vars(s), **chosen(request)}

    def _chosen(self, overrides: Mapping[str, Any]) -> tuple[GraphSettings, GraphRequest]:
        given = {**self.config.get("sampling", {}), **overrides}
        s, request = choose((GraphSettings, GraphRequest), given)
        plain = s.snr is None and not s.compat  # no corrector of its own brings the noise down
        solver = USUAL if s.solver is None and plain else s.solver
        eta, rho = FITTING.get(solver or "", (1.0, 1.0)) if plain else (1.0, 1.0)
        eta, rho = eta if s.eta is None else s.eta, rho if s.rho is None else s.rho
        return replace(s, solver=solver, eta=eta, rho=rho), request

    def sampler(self, **overrides: Any) -> GaussianSampler[GraphState]:
        """Build the sampler of the config's settings, with any of them overridden."""
        s, request = self._chosen(overrides)
        self._check(request)
        law = node_law(self.node_weights, request.nodes, self._kind)
        if request.scaffold is None:
            return self._made(self.denoiser, law, s)
        return self._around(self._scaffold(request.scaffold), law, s)

    def _made(
        self, denoiser: ContinuousDenoiser[GraphState], law: Sequence[float], s: GraphSettings
    ) -> GaussianSampler[GraphState]:
        counts = NodeCounts(torch.tensor(law, dtype=torch.float64))
        canvas = GraphCanvas(counts, self.features)
        chain = {name: value for name, value in vars(s).items() if name != "novelty"}
        used: Any = unfamiliar(denoiser, s.novelty) if s.novelty else denoiser
        made = make_sampler(used, canvas, device=self.device, **chain)
        return cast(GaussianSampler[GraphState], made)

    def _around(
        self, scaffold: Scaffold, law: Sequence[float], s: GraphSettings
    ) -> GaussianSampler[GraphState]:
        law = around(law, len(scaffold), self._kind)
        clean, known = scaffold.arrays(len(law) - 1, self.vocabulary)
        parts, free = ((p.to(self.device) for p in pair) for pair in (clean, known))
        given: Any = inpaint.Scaffold(self.denoiser, tuple(parts), tuple(free))
        return self._made(given, law, s)

    def _scaffold(self, text: str) -> Scaffold:
        if self._sde.nodes == "degrees":
            raise ScidiffError(
                "the features of this model are degrees, which a scaffold does not fix: "
                "nodes=, sample, design and log_likelihood are what it can"
            )
        return Scaffold.of(text, find_domain(self.config["domain"]).spell)

    @property
    def _kind(self) -> str:
        return str(find_domain(self.config["domain"]).kind)

    def _check(self, request: GraphRequest) -> None:
        if request.constraints:
            raise ScidiffError(
                "constraints hold token by token: a graph SDE model has none, got "
                f"{', '.join(request.constraints)}; expected a model of masked diffusion on graphs"
            )

    def typical_steps(self, sampler: GaussianSampler[GraphState]) -> int:
        """Steps of every row."""
        return sampler.num_steps

    # ---- likelihood

    def encode(self, texts: Sequence[str]) -> GraphState:
        """Graphs given as text, as arrays."""
        most, ids = len(self.node_weights) - 1, encode_rows(self.vocabulary, texts)
        x = GraphSDEProcess(self.vocabulary, self._sde).graphs(ids, self.features)
        if x.X.shape[1] > most:
            row = int(x.mask.sum(1).gt(most).int().argmax()) + 1
            part = names_of(self._kind)[1]
            raise ValueError(f"row {row} has more than {most} {part}, the most the model takes")
        return x.to(self.device)

    @property
    def _sde(self) -> GraphSDE:
        return GraphSDE.of(self.config["process"]["sde"])

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """Free coordinates of each graph: its features and pairs."""
        n = self.encode(texts).mask.sum(1)
        return (n * self.features + n * (n - 1) // 2).tolist()

    def log_likelihood(
        self, texts: Sequence[str], how: LikelihoodRequest
    ) -> tuple[Tensor, Tensor]:
        """Log density in nats of each graph, noised to t = 1e-4, under the flow of its node count,
        and its standard error, each (B,).

        `how.draws` probes estimate the trace of graphs of more than 64 coordinates.
        """
        how.refuse("a graph SDE model has no blocks", "block_size")
        how.refuse("a graph SDE model has one likelihood", "method", "condition")
        rng = seeded(how.seed, 0, self.device)
        value, error = log_likelihood(
            self.denoiser, self.encode(texts), rng, probes=how.draws, tol=TOLERANCE
        )
        return value.cpu(), error.cpu()

    def length_log_prob(self, texts: Sequence[str]) -> Tensor:
        """log p of the number of nodes of each graph (B,)."""
        law = torch.tensor(self.node_weights, dtype=torch.float64)
        return (law / law.sum())[self.encode(texts).mask.sum(1).cpu()].log()

    # ---- infilling

    def infill(self, asked: InfillRequest, rng: Rng, **overrides: Any) -> GraphState:
        """Draw graphs that hold a pattern and new nodes, whose number is uniform over its gaps.

        What is given is kept exactly; the rest is drawn given its noisy image, which is close to
        the conditional law (`samplers.inpaint`).
        """
        gaps = one_range(asked.gaps)
        scaffold, most = self._scaffold(asked.pattern), len(self.node_weights) - 1
        largest = len(scaffold) + max(gaps)
        if largest > most:
            raise too_large(self._kind, most, largest)
        law = [float(size - len(scaffold) in gaps) for size in range(largest + 1)]
        return sample(self._around(scaffold, law, self._chosen(overrides)[0]), asked.n, rng)
