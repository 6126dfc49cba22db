"""Models of token rows, strings or graphs: how a config becomes a sampler, a likelihood and an
infilling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from scidiff.api.gaps import Sizes
from scidiff.api.infilling import infill_rows
from scidiff.api.rows import ROWS, Rows, StringRows, blank
from scidiff.api.settings import ORDERS, ConditionRequest, TokenSettings, choose
from scidiff.core import ScidiffError, seeded
from scidiff.data.conditions import Conditions
from scidiff.data.tokens import EOS, PAD, TokenState, Vocabulary, encode_rows
from scidiff.networks.token_transformer import TokenDenoiser, TokenTransformer
from scidiff.processes.block import BlockProcess
from scidiff.processes.masked import MaskedProcess
from scidiff.samplers.canvas import Canvas
from scidiff.samplers.compose import ClassifierFree
from scidiff.samplers.grammar import GrammarSampler
from scidiff.samplers.masked import MaskedSampler, TokenPredictor


class BeforeTheEnd:
    """A token denoiser for rows whose end is given: p(token | neither EOS nor PAD).

    What a row hides lies before its end, where a trained network leaves these two a little
    probability; drawn, they would cut off the rest of the row.
    """

    def __init__(self, inner: TokenDenoiser) -> None:
        self.inner, self.rows = inner, inner.rows
        self.mask_id, self.vocab_size = inner.mask_id, inner.vocab_size
        self.block_size = inner.block_size
        self.ends = torch.tensor([PAD, EOS], device=next(inner.network.parameters()).device)

    @property
    def micro_batch(self) -> int | None:
        return self.inner.micro_batch

    @micro_batch.setter
    def micro_batch(self, rows: int | None) -> None:
        self.inner.micro_batch = rows

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """Trunk output (B, L, D) at x."""
        out = self.inner(x, k)
        self.rows = self.inner.rows
        return out

    def log_probs(self, trunk: Tensor) -> Tensor:
        """(B, M, D) -> (B, M, V) float32, normalised over the symbols."""
        log_p = self.inner.log_probs(trunk)
        return log_p.index_fill(-1, self.ends, float("-inf")).log_softmax(-1)


@dataclass(frozen=True)
class TokenEngine:
    """A token network with its vocabulary and config: makes samplers, likelihoods and
    infillings."""

    network: TokenTransformer
    vocabulary: Vocabulary
    config: Mapping[str, Any]
    dtype: torch.dtype = torch.float32

    unit = "tokens"

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def block_causal(self) -> bool:
        """True for a network trained left to right (autoregressive or block); it writes its own
        end."""
        return self.config["process"]["kind"] != "masked"

    @cached_property
    def rows(self) -> Rows:
        """What the rows hold."""
        kind = ROWS.get(self.vocabulary.notation, StringRows)
        return kind(self.vocabulary, self.config, self.network.config.max_length)

    def settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """All settings: the config's with the user's on top."""
        s, asked, *request = self._chosen(overrides)
        told = [asked] if self.config.get("conditions") else []
        return {k: v for record in (s, *told, *request) for k, v in vars(record).items()}

    def _chosen(self, overrides: Mapping[str, Any]) -> list[Any]:
        records = (TokenSettings, ConditionRequest, *self.rows.requests)
        return choose(records, {**self.config.get("sampling", {}), **overrides})

    def sampler(
        self, canvas: Canvas | None = None, **overrides: Any
    ) -> MaskedSampler | GrammarSampler:
        """Build the sampler of the config's settings, with any of them overridden.

        A masked model is told by its canvas where a row ends, so it writes symbols only. What is
        asked of strings is an automaton, within which the sampler looks ahead.
        """
        s, asked, *request = self._chosen(overrides)
        self._check_block(s)
        if asked.condition is not None and not self.config.get("conditions"):
            raise ValueError(f"this model takes no condition, got {dict(asked.condition)}")
        condition = self._asked(asked)
        automaton = self.rows.automaton(*request) if request else None
        sampler = MaskedSampler(
            self._denoiser(s.block_size, condition, asked.weight),
            canvas or self.canvas(*request),
            order=ORDERS[s.order](),
            block_size=s.block_size,
            tokens_per_step=s.tokens_per_step,
            temperature=s.temperature,
            constraints=self.rows.constraints(*request) if request else (),
            condition=condition,
        )
        return sampler if automaton is None else GrammarSampler(sampler, automaton)

    def _asked(self, asked: ConditionRequest) -> Tensor | None:
        """What all rows are asked to be like as the network reads it, (1, C)."""
        if asked.condition is None:
            return None
        rows = Conditions.of_config(self.config["conditions"]).encode(asked.condition, 1)
        return torch.from_numpy(rows).to(self.device)

    def _denoiser(
        self, block_size: int | None, condition: Tensor | None, weight: float
    ) -> TokenPredictor:
        """The network as it is asked; with a weight, guided by what it says unasked."""
        told = self._told(block_size, shown=condition is not None)
        if condition is None or weight == 1:
            return told
        return ClassifierFree(told, self._told(block_size, shown=False), weight)

    def _told(self, block_size: int | None, *, shown: bool) -> TokenPredictor:
        denoiser = TokenDenoiser(self.network, block_size, dtype=self.dtype, shown=shown)
        if not self.block_causal and self.rows.writes_end:
            return BeforeTheEnd(denoiser)
        return denoiser

    def _check_block(self, s: TokenSettings) -> None:
        if self.block_causal and s.block_size is None:
            raise ScidiffError(
                "this model writes from left to right: block_size must be 1 or more, got None"
            )
        if not self.block_causal and s.block_size is not None:
            raise ScidiffError(
                "this model was trained on whole rows (masked diffusion): block_size must be "
                f"None, got {s.block_size}"
            )

    def canvas(self, request: Any = None) -> Canvas:
        """Blank rows: of the model's full length where it writes its own end, else of the training
        set's lengths."""
        if self.block_causal:
            return blank(self.rows, self.network.mask_id)
        return self.rows.canvas(request)

    def typical_steps(self, sampler: MaskedSampler | GrammarSampler) -> int:
        """Steps after which 95 % of the rows are finished, judged by the training lengths."""
        if not self.block_causal:
            return sampler.num_steps
        counts = torch.tensor(self.config["length_counts"], dtype=torch.float64)
        longest = int((counts.cumsum(0) < 0.95 * counts.sum()).sum()) + 1
        share = longest / sampler.canvas.length
        return min(sampler.num_steps, math.ceil(sampler.num_steps * share))

    # ---- likelihood

    def encode(self, texts: Sequence[str]) -> TokenState:
        """Texts as rows of the model's length."""
        ids = encode_rows(self.vocabulary, texts, self.network.config.max_length)
        return TokenState(ids.to(self.device))

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with its end."""
        return [len(self.vocabulary.split(text)) + 1 for text in texts]

    @torch.no_grad()
    def log_likelihood(
        self, texts: Sequence[str], draws: int, block_size: int | None, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Lower bound on log p(text) in nats and its standard error over `draws`, each (B,).

        With block_size 1 the value is exact up to rounding and the error 0; a masked model's is
        given the length. The text of a graph is one order of its nodes.
        """
        process = self._likelihood_process(block_size)
        x0 = self.encode(texts)
        exact = isinstance(process, BlockProcess) and process.block_size == 1
        runs = [self._loss(process, x0, seed, j) for j in range(1 if exact else draws)]
        values = -torch.stack(runs)
        error = torch.zeros(len(texts)) if exact else values.std(0) / math.sqrt(draws)
        return values.mean(0).cpu(), error.cpu()

    def _likelihood_process(self, block_size: int | None) -> MaskedProcess | BlockProcess:
        if self.block_causal:
            usual = self._chosen({})[0].block_size or 1
            return BlockProcess(self.network.mask_id, usual if block_size is None else block_size)
        if block_size is not None:
            raise ValueError(
                "this model was trained on whole rows (masked diffusion): block_size must be "
                f"None, got {block_size}"
            )
        return MaskedProcess(self.network.mask_id)

    def _loss(
        self, process: MaskedProcess | BlockProcess, x0: TokenState, seed: int, draw: int
    ) -> Tensor:
        chunks = x0.ids.split(256)
        return torch.cat(
            [
                process.loss(
                    self.network,
                    TokenState(ids),
                    seeded(seed, draw * len(chunks) + i, self.device),
                )
                for i, ids in enumerate(chunks)
            ]
        ).double()

    # ---- infilling

    def infill(
        self,
        pattern: str,
        n: int,
        gaps: Sizes,
        candidates: int,
        rng: torch.Generator,
        **overrides: Any,
    ) -> TokenState:
        """Draw n rows that hold `pattern` and write what it leaves open, see
        `infilling.infill_rows`."""
        return infill_rows(self, pattern, n, gaps, candidates, rng, overrides)
