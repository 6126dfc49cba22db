"""Models of graphs in blocks: how a config becomes a sampler and a likelihood."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scidiff.api.requests import InfillRequest, LikelihoodRequest
from scidiff.api.rows import GraphRows
from scidiff.api.scaffold import node_law
from scidiff.api.settings import FlowBlockSettings, GraphRequest, choose, chosen
from scidiff.core import Rng, ScidiffError, seeded
from scidiff.data.graph_order import blocks_of
from scidiff.data.graph_tokens import bonded_ids, triangle
from scidiff.data.tokens import PAD, TokenState, Vocabulary, encode_rows
from scidiff.domains.domain import find_domain
from scidiff.networks.ppgn import GraphBlockNetwork
from scidiff.processes.discrete_flow import DISTORTIONS, TokenNoise
from scidiff.processes.flow_bounds import StepBound
from scidiff.processes.graph_blocks import GraphBlockProcess
from scidiff.processes.tokens import GraphBlocks, TokenFlow, position_kinds
from scidiff.samplers.canvas import LengthLaw
from scidiff.samplers.graph_blocks import GraphBlockDenoiser, GraphBlockSampler
from scidiff.samplers.step_annealing import annealed_steps
from scidiff.training.checkpoint import CheckpointError

STEPS = 140  # of all blocks together, as the published comparison of hops has them
TYPICAL = 0.95  # of the graphs
CAN = "nodes=, sample, design and log_likelihood are what it can"


@dataclass(frozen=True)
class PardEngine:
    """A network that writes graphs block by block: makes samplers and likelihoods."""

    network: GraphBlockNetwork
    vocabulary: Vocabulary
    config: Mapping[str, Any]
    dtype: torch.dtype = torch.float32

    unit = "tokens"
    block_causal = True  # its guess of the end stops at the block that is being written

    def __post_init__(self) -> None:
        if self.dtype != torch.float32:
            raise ValueError(f"models of graphs in blocks run in float32, got {self.dtype}")
        process, V = self.config["process"], len(self.vocabulary)
        for name in ("blocks", "law", "first_sizes", "block_counts"):
            if name not in process:
                raise CheckpointError(f"config.json of graphs in blocks lacks process.{name}")
        if (got := tuple(torch.tensor(process["law"]).shape)) != (2, V):
            raise CheckpointError(f"process.law must be (2, {V}), nodes and pairs, got {got}")

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def rows(self) -> GraphRows:
        """What the rows hold."""
        return GraphRows(self.vocabulary, self.config, self.network.max_length)

    @property
    def blocks(self) -> GraphBlocks:
        """How the network was trained."""
        spec = self.config["process"]["blocks"]
        return GraphBlocks(**{**spec, "flow": TokenFlow(**spec["flow"])})

    @property
    def law(self) -> TokenNoise:
        """The noise of training, for rows of the model's length."""
        laws = torch.tensor(self.config["process"]["law"])
        return TokenNoise(laws, position_kinds(self.vocabulary, self.network.max_length))

    @property
    def usual_blocks(self) -> float:
        """How many blocks training graphs have on average."""
        counts = self.config["process"]["block_counts"]
        return sum(n * many for n, many in enumerate(counts)) / sum(counts)

    @property
    def typical_blocks(self) -> int:
        """Blocks within which 95 % of training graphs end."""
        counts = torch.tensor(self.config["process"]["block_counts"], dtype=torch.float64)
        return max(1, int((counts.cumsum(0) < TYPICAL * counts.sum()).sum()))

    # ---- sampling

    def settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The settings, the config's with the user's on top, and what is asked beyond them; steps
        are those of one block."""
        s, request = self._chosen(overrides)
        return {**vars(s), "distortion": self._distortion(s), **chosen(request)}

    def _chosen(self, overrides: Mapping[str, Any]) -> tuple[FlowBlockSettings, GraphRequest]:
        if "block_size" in overrides:
            raise ValueError(
                "a model of graphs in blocks has no block_size, got "
                f"{overrides['block_size']!r}: the dial of graphs is hops, chosen at training "
                f"({self.blocks.hops} here)"
            )
        usual = {"steps": max(1, round(STEPS / self.usual_blocks))}
        s, request = choose(
            (FlowBlockSettings, GraphRequest),
            {**usual, **self.config.get("sampling", {}), **overrides},
        )
        for name in ("scaffold", "constraints"):
            if asked := getattr(request, name):
                raise ScidiffError(
                    f"a model of graphs in blocks takes no {name}, got {asked!r}: blocks are "
                    f"written in an order of the graph's own; {CAN}"
                )
        return s, request

    def _distortion(self, s: FlowBlockSettings) -> str:
        return s.distortion or self.blocks.flow.distortion

    def sampler(self, **overrides: Any) -> GraphBlockSampler:
        """Build the sampler of the config's settings, with any of them overridden."""
        s, request = self._chosen(overrides)
        process, nodes = self.config["process"], request.nodes
        return GraphBlockSampler(
            GraphBlockDenoiser(self.network.eval()),
            self._first(nodes),
            self.law,
            steps=annealed_steps(s.steps, s.last_steps, self.typical_blocks, s.annealing),
            hops=self.blocks.hops,
            blocks=self._most_blocks(nodes, len(process["block_counts"]) - 1),
            bonded=bonded_ids(self.vocabulary),
            kernel=s.of_kernel(),
            distortion=self._distortion(s),
            nodes=nodes,
        )

    def _most_blocks(self, nodes: int | None, seen: int) -> int:
        """As many as training graphs have; `nodes` may need one for each."""
        return seen if nodes is None or self.blocks.hops == 0 else nodes

    def _first(self, nodes: int | None) -> LengthLaw:
        """First blocks as large as in training, and no larger than the graph that is asked."""
        law = list(self.config["process"]["first_sizes"])
        if nodes is not None:
            kind = str(find_domain(self.config["domain"]).kind)
            node_law([1.0] * (self.network.config.max_nodes + 1), nodes, kind)  # no larger ones
            one = self.blocks.hops == 0
            law = [w if (n == nodes if one else n <= nodes) else 0 for n, w in enumerate(law)]
            if not any(law):
                raise ValueError(f"no training graph begins as one of {nodes} nodes would")
        counts = torch.zeros(triangle(len(law) - 1) + 1, dtype=torch.float64)
        counts[[triangle(n) for n in range(len(law))]] = torch.tensor(law, dtype=torch.float64)
        return LengthLaw(counts, self.vocabulary.mask_id, self.network.max_length)

    def typical_steps(self, sampler: GraphBlockSampler) -> int:
        """Steps of a graph with as many blocks as training graphs have on average."""
        whole = int(self.usual_blocks)
        part = (self.usual_blocks - whole) * sum(sampler.steps[whole : whole + 1])
        return round(sum(sampler.steps[:whole]) + part)

    # ---- likelihood

    def encode(self, texts: Sequence[str]) -> TokenState:
        """Texts as rows of the model's length."""
        ids = encode_rows(self.vocabulary, texts, self.network.max_length)
        return TokenState(ids.to(self.device))

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with its end."""
        return [len(self.vocabulary.split(text)) + 1 for text in texts]

    def log_likelihood(
        self, texts: Sequence[str], how: LikelihoodRequest
    ) -> tuple[Tensor, Tensor]:
        """Lower bound on log p(graph in its block order | nodes of the first block) in nats and
        its standard error, each (B,): the bound of a chain of the sampler's `steps` a block, of
        kernel = "posterior", and the law of sizes and degrees."""
        how.refuse(
            "a model of graphs in blocks knows one bound of unconditional graphs",
            "method", "block_size", "condition",
        )  # fmt: skip
        process, ids = self._bound(), self.encode(texts).ids
        means = torch.stack([self._means(process, row, how.draws, how.seed) for row in ids])
        return means.mean(1), means.std(1) / means.shape[1] ** 0.5

    @torch.no_grad()
    def _means(
        self, process: GraphBlockProcess, row: Tensor, draws: int, seed: int
    ) -> Tensor:
        """Estimates (G,) for one row (L,) from noise of its own, each the mean of a group of draws
        that is stratified in time."""
        size = max(1, draws // 8)
        row = row[row != PAD]
        name = hashlib.blake2b(row.cpu().numpy().tobytes(), digest_size=8).digest()
        rng = seeded(seed, int.from_bytes(name, "little"), self.device)
        many, network = TokenState(row.expand(size, -1)), self.network.eval()
        told = [process.loss(network, many, rng).mean() for _ in range(draws // size)]
        return -torch.stack(told).double().cpu()

    def _bound(self) -> GraphBlockProcess:
        s, blocks = self._chosen({})[0], self.blocks
        steps = blocks.flow.steps or s.steps
        bound = StepBound(self.law, steps, DISTORTIONS[self._distortion(s)])
        trained = blocks.process(self.vocabulary, self.law)
        return replace(trained, inside=bound, structure=1.0)

    def length_log_prob(self, texts: Sequence[str]) -> Tensor:
        """log p of the size of each first block (B,), which is drawn before everything else."""
        x0 = self.encode(texts)
        blocks = blocks_of(x0.ids, bonded_ids(self.vocabulary), self.blocks.hops)
        law = torch.tensor(self.config["process"]["first_sizes"], dtype=torch.float64)
        size = (blocks.block == 0).sum(1).cpu()
        return (law / law.sum())[size.clamp(max=len(law) - 1)].where(size < len(law), 0.0).log()

    def infill(self, asked: InfillRequest, rng: Rng, **overrides: Any) -> TokenState:
        """Not possible: what is given need not be the first blocks of any graph."""
        raise ScidiffError(
            f"a model of graphs in blocks cannot fill in {asked.pattern!r}: blocks are written in "
            f"an order of the graph's own; {CAN}"
        )
