"""Models of discrete flow on graphs as token rows: how a config becomes a sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scidiff.api.rows import GraphRows
from scidiff.api.scaffold import RowLaw
from scidiff.api.settings import FlowSettings, GraphRequest, choose
from scidiff.core import ScidiffError
from scidiff.data.tokens import TokenState, Vocabulary, encode_rows
from scidiff.guidance.particles import sample
from scidiff.networks.graph_tokens import GraphTokenNetwork
from scidiff.processes.discrete_flow import TokenNoise, graph_kinds
from scidiff.samplers.canvas import Canvas
from scidiff.samplers.discrete_flow import DiscreteFlowSampler, TimedDenoiser
from scidiff.training.checkpoint import CheckpointError


@dataclass(frozen=True)
class FlowEngine:
    """A network that reads the time with its vocabulary and config: makes samplers."""

    network: GraphTokenNetwork
    vocabulary: Vocabulary
    config: Mapping[str, Any]
    dtype: torch.dtype = torch.float32

    unit = "tokens"
    block_causal = False  # it looks ahead by its guess of the whole row

    def __post_init__(self) -> None:
        if self.dtype != torch.float32:
            raise ValueError(f"discrete flow models run in float32, got {self.dtype}")
        process, V = self.config["process"], len(self.vocabulary)
        missing = [name for name in ("law", "flow") if name not in process]
        if missing:
            raise CheckpointError(f"config.json of a discrete flow lacks process.{missing[0]}")
        if self.law.laws.shape != (2, V):
            got = tuple(self.law.laws.shape)
            raise CheckpointError(f"process.law must be (2, {V}), nodes and pairs, got {got}")

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def rows(self) -> GraphRows:
        """What the rows hold."""
        return GraphRows(self.vocabulary, self.config, self.network.max_length)

    @property
    def law(self) -> TokenNoise:
        """The noise of training, for rows of the model's length."""
        laws = torch.tensor(self.config["process"]["law"])
        return TokenNoise(laws, graph_kinds(self.network.max_length))

    def settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """All settings: the config's with the user's on top."""
        s, request = self._chosen(overrides)
        return {**vars(s), "distortion": self._distortion(s), **vars(request)}

    def _chosen(self, overrides: Mapping[str, Any]) -> tuple[FlowSettings, GraphRequest]:
        given = {**self.config.get("sampling", {}), **overrides}
        s, request = choose((FlowSettings, GraphRequest), given)
        return s, request

    def _distortion(self, s: FlowSettings) -> str:
        return s.distortion or self.config["process"]["flow"]["distortion"]

    def sampler(self, canvas: Canvas | None = None, **overrides: Any) -> DiscreteFlowSampler:
        """Build the sampler of the config's settings, with any of them overridden."""
        s, request = self._chosen(overrides)
        if request.constraints:
            raise ScidiffError(
                "constraints hold token by token: a discrete flow changes all of them at once and "
                f"has none, got {', '.join(request.constraints)}; expected a model of masked "
                "diffusion on graphs"
            )
        return DiscreteFlowSampler(
            TimedDenoiser(self.network, self.vocabulary.mask_id),
            canvas or self.rows.canvas(request),
            self.law,
            steps=s.steps,
            kernel=s.of_kernel(),
            distortion=self._distortion(s),
        )

    def typical_steps(self, sampler: DiscreteFlowSampler) -> int:
        """Steps of every row."""
        return sampler.num_steps

    def encode(self, texts: Sequence[str]) -> TokenState:
        """Texts as rows of the model's length."""
        ids = encode_rows(self.vocabulary, texts, self.network.max_length)
        return TokenState(ids.to(self.device))

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with its end."""
        return [len(self.vocabulary.split(text)) + 1 for text in texts]

    def log_likelihood(
        self, texts: Sequence[str], draws: int, block_size: int | None, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Raises ScidiffError."""
        raise ScidiffError(
            "a discrete flow model has no bound on log p here: sample, design and infill are what "
            "it can; expected a model of masked diffusion or of graph SDEs for log_likelihood"
        )

    def infill(
        self, pattern: str, n: int, gaps: Sequence[int], candidates: int, rng: torch.Generator
    ) -> TokenState:
        """Draw n graphs that hold `pattern` and new nodes, whose number is uniform over `gaps`.

        What is given never turns into noise, so the network sees it clean among noisy symbols,
        which it has not seen in training: close to the conditional law, not exact.
        """
        rows, _ = self.rows.gaps(pattern, gaps)
        canvas = RowLaw(rows, [1.0] * len(rows), self.vocabulary.mask_id)
        return sample(self.sampler(canvas), n, rng)
