"""Models of discrete flow on token rows, strings or graphs: how a config becomes a sampler and a
likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scidiff.api.asking import asked_rows
from scidiff.api.requests import InfillRequest, LikelihoodRequest
from scidiff.api.rows import ROWS, Rows, StringRows
from scidiff.api.settings import ConditionRequest, FlowSettings, choose, chosen
from scidiff.api.token_bounds import flow_bound, length_log_prob
from scidiff.core import Rng, ScidiffError
from scidiff.data.tokens import TokenState, Vocabulary, encode_rows
from scidiff.guidance.particles import sample
from scidiff.networks.graph_tokens import GraphTokenNetwork
from scidiff.networks.token_transformer import TokenTransformer
from scidiff.processes.discrete_flow import DISTORTIONS, TokenNoise, eligible
from scidiff.processes.flow_bounds import JumpBound, StepBound
from scidiff.processes.tokens import TokenFlow, position_kinds
from scidiff.samplers.canvas import Canvas, FixedCanvas
from scidiff.samplers.compose import ClassifierFree
from scidiff.samplers.discrete_flow import DiscreteFlowSampler, TimedDenoiser
from scidiff.samplers.guided_flow import GuidedFlow
from scidiff.samplers.masked import TokenPredictor
from scidiff.training.checkpoint import CheckpointError


@dataclass(frozen=True)
class FlowEngine:
    """A network that reads the time with its vocabulary and config: makes samplers and
    likelihoods."""

    network: GraphTokenNetwork | TokenTransformer
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
        kinds = int(position_kinds(self.vocabulary, self.network.max_length).max()) + 1
        if self.law.laws.shape != (kinds, V):
            got, of = tuple(self.law.laws.shape), ("symbols", "nodes and pairs")[kinds - 1]
            raise CheckpointError(f"process.law must be ({kinds}, {V}), {of}, got {got}")

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def rows(self) -> Rows:
        """What the rows hold."""
        kind = ROWS.get(self.vocabulary.notation, StringRows)
        return kind(self.vocabulary, self.config, self.network.max_length)

    @property
    def flow(self) -> TokenFlow:
        """How the network was trained."""
        return TokenFlow(**self.config["process"]["flow"])

    @property
    def law(self) -> TokenNoise:
        """The noise of training, for rows of the model's length."""
        laws = torch.tensor(self.config["process"]["law"])
        return TokenNoise(laws, position_kinds(self.vocabulary, self.network.max_length))

    def settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The settings, the config's with the user's on top, and what is asked beyond them."""
        s, *requests = self._chosen(overrides)
        asked = {k: v for record in requests for k, v in chosen(record).items()}
        return {**vars(s), "distortion": self._distortion(s), **asked}

    def _chosen(self, overrides: Mapping[str, Any]) -> list[Any]:
        records = (FlowSettings, ConditionRequest, *self.rows.requests)
        return choose(records, {**self.config.get("sampling", {}), **overrides})

    def _distortion(self, s: FlowSettings) -> str:
        return s.distortion or self.flow.distortion

    def sampler(
        self, canvas: Canvas | None = None, **overrides: Any
    ) -> DiscreteFlowSampler | GuidedFlow:
        """Build the sampler of the config's settings, with any of them overridden."""
        s, asked, *request = self._chosen(overrides)
        constraints = [c for record in request for c in record.constraints]
        if constraints:
            raise ScidiffError(
                "constraints hold token by token: a discrete flow changes all of them at once and "
                f"has none, got {', '.join(map(str, constraints))}; expected a model of masked "
                "diffusion"
            )
        condition = asked_rows(self.config, asked.condition, 1, self.device)
        sampler = DiscreteFlowSampler(
            self._denoiser(condition, asked.weight),
            canvas or self.rows.canvas(*request),
            self.law,
            steps=s.steps,
            kernel=s.of_kernel(),
            distortion=self._distortion(s),
            condition=condition,
        )
        return GuidedFlow(sampler) if isinstance(sampler.denoiser, ClassifierFree) else sampler

    def _denoiser(self, condition: Tensor | None, weight: float) -> TokenPredictor:
        """The network as it is asked; with a weight, guided by what it says unasked."""
        told = self._told(shown=condition is not None)
        if condition is None or weight == 1:
            return told
        return ClassifierFree(told, self._told(shown=False), weight)

    def _told(self, *, shown: bool) -> TimedDenoiser:
        law = self.law if self.flow.leave_one_out else None
        return TimedDenoiser(self.network.eval(), self.vocabulary.mask_id, law, shown=shown)

    def typical_steps(self, sampler: DiscreteFlowSampler | GuidedFlow) -> int:
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
        self, texts: Sequence[str], how: LikelihoodRequest
    ) -> tuple[Tensor, Tensor]:
        """Lower bound on log p(text | its length) in nats and its standard error, each (B,).

        A model that was trained by its bound in continuous time (loss = "nelbo") is read by it;
        any other by the bound of a chain of as many steps as it was trained for, or is sampled
        with, of kernel = "posterior".
        """
        how.refuse("a discrete flow has no blocks", "block_size")
        told = asked_rows(self.config, how.condition, len(texts), self.device)
        x0 = replace(self.encode(texts), condition=told)
        return flow_bound(self.network, x0, self._bound(), how.method, how.draws, how.seed)

    def _bound(self) -> JumpBound | StepBound:
        if self.flow.leave_one_out:
            return JumpBound(self.law)
        s = self._chosen({})[0]
        schedule = DISTORTIONS[self._distortion(s)]
        return StepBound(self.law, self.flow.steps or s.steps, schedule)

    def length_log_prob(self, texts: Sequence[str]) -> Tensor:
        """log p of the length of each text (B,), which is drawn before the text."""
        x0 = self.encode(texts)
        return length_log_prob(self.config["length_counts"], x0, eligible(x0.ids))

    def infill(self, asked: InfillRequest, rng: Rng, **overrides: Any) -> TokenState:
        """Draw rows that hold a pattern and write what it leaves open.

        What is given never turns into noise, so the network sees it clean among noisy symbols,
        which it has not seen in training: close to the conditional law, not exact.
        """
        rows = self.rows.given(asked.pattern, asked.gaps, asked.n, rng).to(self.device)
        hidden, which = (rows == self.vocabulary.mask_id).unique(dim=0, return_inverse=True)
        alike = [(which == i).nonzero()[:, 0] for i in range(len(hidden))]
        parts = []
        for group in alike:  # a canvas knows one pattern of open positions
            canvas = FixedCanvas(rows[group], self.vocabulary.mask_id)
            parts.append(sample(self.sampler(canvas, **overrides), len(group), rng))
        return TokenState.cat(parts)[torch.cat(alike).argsort()]
