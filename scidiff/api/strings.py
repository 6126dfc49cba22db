"""String models: how a config becomes a sampler, a likelihood and an infilling for token
networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from scidiff.core import ScidiffError, seeded, uniform
from scidiff.data.tokens import EOS, PAD, TokenState, Vocabulary, encode_rows
from scidiff.guidance.particles import sample
from scidiff.networks.token_transformer import TokenDenoiser, TokenTransformer
from scidiff.processes.block import BlockProcess
from scidiff.processes.masked import MaskedProcess, cross_entropy
from scidiff.samplers.canvas import Canvas, FixedCanvas, LengthLaw
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import Confidence, Order, Random, Sequential

ORDERS: dict[str, type[Order]] = {
    "random": Random,
    "confidence": Confidence,
    "sequential": Sequential,
}


@dataclass(frozen=True)
class StringSettings:
    """How a string model is sampled; a model's config holds its defaults."""

    block_size: int | None = (
        None  # positions written together from left to right; None = the whole string
    )
    order: str = (
        "random"  # inside a block: "random", "sequential", or "confidence" (biased by design)
    )
    tokens_per_step: int = 1  # more is faster and less exact
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {self.order!r}")


def settings(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> StringSettings:
    """The config's sampling settings with the user's on top; an unknown name is an error that
    lists the known ones."""
    known = [f.name for f in fields(StringSettings)]
    chosen = {**config.get("sampling", {}), **overrides}
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise ValueError(
            f"unknown sampling setting {unknown[0]!r}; expected one of {', '.join(known)}"
        )
    return StringSettings(**chosen)


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
class StringEngine:
    """A token network with its vocabulary and config: makes samplers, likelihoods and
    infillings."""

    network: TokenTransformer
    vocabulary: Vocabulary
    config: Mapping[str, Any]
    dtype: torch.dtype = torch.float32

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def block_causal(self) -> bool:
        """True for a network trained left to right (autoregressive or block); it writes its own
        end."""
        return self.config["process"]["kind"] != "masked"

    def sampler(self, canvas: Canvas | None = None, **overrides: Any) -> MaskedSampler:
        """Build the sampler of the config's settings, with any of StringSettings overridden.

        A masked model is told by its canvas where a row ends, so it writes symbols only.
        """
        s = settings(self.config, overrides)
        if self.block_causal and s.block_size is None:
            raise ScidiffError(
                "this model writes from left to right: block_size must be 1 or more, got None"
            )
        if not self.block_causal and s.block_size is not None:
            raise ScidiffError(
                "this model was trained on whole strings (masked diffusion): block_size must be "
                f"None, got {s.block_size}"
            )
        denoiser = TokenDenoiser(self.network, s.block_size, dtype=self.dtype)
        return MaskedSampler(
            denoiser if self.block_causal else BeforeTheEnd(denoiser),
            canvas or self.canvas(),
            order=ORDERS[s.order](),
            block_size=s.block_size,
            tokens_per_step=s.tokens_per_step,
            temperature=s.temperature,
        )

    def canvas(self) -> Canvas:
        """Blank rows: of the model's full length where it writes its own end, else of the training
        set's lengths."""
        length = self.network.config.max_length
        if self.block_causal:
            return FixedCanvas.blank(length, self.network.mask_id)
        return LengthLaw(self.config["length_counts"], self.network.mask_id, length)

    def typical_steps(self, sampler: MaskedSampler) -> int:
        """Steps after which 95 % of the rows are finished, judged by the training lengths."""
        if not self.block_causal:
            return sampler.num_steps
        counts = torch.tensor(self.config["length_counts"], dtype=torch.float64)
        longest = int((counts.cumsum(0) < 0.95 * counts.sum()).sum()) + 1
        share = longest / sampler.canvas.length
        return min(sampler.num_steps, math.ceil(sampler.num_steps * share))

    # ---- likelihood

    @torch.no_grad()
    def log_likelihood(
        self, strings: Sequence[str], draws: int, block_size: int | None, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Lower bound on log p(string) in nats and its standard error over `draws`, each (B,).

        With block_size 1 the value is exact up to rounding and the error 0; a masked model's is
        given the length.
        """
        process = self._likelihood_process(block_size)
        x0 = TokenState(
            encode_rows(self.vocabulary, strings, self.network.config.max_length).to(self.device)
        )
        exact = isinstance(process, BlockProcess) and process.block_size == 1
        runs = [self._loss(process, x0, seed, j) for j in range(1 if exact else draws)]
        values = -torch.stack(runs)
        error = torch.zeros(len(strings)) if exact else values.std(0) / math.sqrt(draws)
        return values.mean(0).cpu(), error.cpu()

    def _likelihood_process(self, block_size: int | None) -> MaskedProcess | BlockProcess:
        if self.block_causal:
            usual = settings(self.config, {}).block_size or 1
            return BlockProcess(self.network.mask_id, usual if block_size is None else block_size)
        if block_size is not None:
            raise ValueError(
                "this model was trained on whole strings (masked diffusion): block_size must be "
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
        self, pattern: str, n: int, gaps: Sequence[int], candidates: int, rng: torch.Generator
    ) -> TokenState:
        """Draw n strings of the form prefix + gap + suffix, the gap's length uniform over `gaps`.

        A masked network writes the gap seeing both sides, by its config's settings. A
        left-to-right one writes it seeing the prefix, one token at a time and at temperature 1,
        and n * candidates such rows are resampled by p(suffix | prefix, gap): self-normalised
        importance sampling, exact as `candidates` grows.
        """
        rows, start = self._gap_rows(pattern, gaps)
        total = n if not self.block_causal else n * candidates
        choice = (uniform((total,), rng) * len(gaps)).long()
        canvas = FixedCanvas(rows[choice], self.network.mask_id)
        # the weights below are those of drafts from the network's own law
        draft = {"block_size": 1, "temperature": 1.0} if self.block_causal else {}
        x = sample(self.sampler(canvas, **draft), total, rng)
        if not self.block_causal:
            return x
        ends = start + torch.tensor(gaps, device=x.ids.device)[choice]
        log_w = self._suffix_log_prob(x.ids, ends).masked_fill(
            _ended_before(x.ids, ends), float("-inf")
        )
        fit = int((log_w > float("-inf")).sum())
        if fit < n:
            raise ScidiffError(
                f"only {fit} of {total} drafts went on to the end of the gap, {n} are needed: "
                "ask for more candidates or a shorter gap"
            )
        return x[gumbel_top(log_w, n, rng)]

    def _gap_rows(self, pattern: str, gaps: Sequence[int]) -> tuple[Tensor, int]:
        """Rows prefix + g MASK + suffix + EOS, one a gap length (G, L), and where the gap
        begins."""
        prefix, suffix = (self.vocabulary.encode(part) for part in split_pattern(pattern))
        L = self.network.config.max_length
        longest = len(prefix) + max(gaps) + len(suffix) + 1
        if longest > L:
            raise ValueError(
                f"the pattern with a gap of {max(gaps)} tokens has {longest} tokens with its end, "
                f"the model takes at most {L}"
            )
        hide = [self.network.mask_id]
        rows = [[*prefix, *(hide * g), *suffix, EOS] for g in gaps]
        return torch.tensor([r + [PAD] * (L - len(r)) for r in rows], device=self.device), len(
            prefix
        )

    @torch.no_grad()
    def _suffix_log_prob(self, ids: Tensor, start: Tensor) -> Tensor:
        """log p(ids[start:end] | ids[:start]) of left-to-right writing (B,), float64."""
        hidden = torch.full_like(ids, self.network.mask_id)
        nll = torch.cat(
            [
                cross_entropy(self.network, self.network.two_copy(h, i, 1), i)
                for h, i in zip(hidden.split(256), ids.split(256), strict=True)
            ]
        )
        position = torch.arange(ids.shape[1], device=ids.device)
        return -(nll.double() * ((position >= start[:, None]) & (ids != PAD))).sum(1)


def _ended_before(ids: Tensor, ends: Tensor) -> Tensor:
    """Rows (B,) whose text ends before position `ends` (B,): no suffix can follow."""
    position = torch.arange(ids.shape[1], device=ids.device)
    return (((ids == EOS) | (ids == PAD)) & (position < ends[:, None])).any(1)


def gumbel_top(log_w: Tensor, n: int, rng: torch.Generator) -> Tensor:
    """Draw n different rows with probabilities proportional to exp(log_w) (Gumbel top-n; Kool et
    al. 2019)."""
    clock = torch.log(-torch.log1p(-uniform(log_w.shape, rng).double()))
    # a row without weight never wins, even where u = 0 makes its clock ring at once
    return torch.where(log_w == float("-inf"), log_w, log_w - clock).topk(n).indices


def split_pattern(pattern: str) -> tuple[str, str]:
    """Cut a pattern at its one [*]."""
    parts = pattern.split("[*]")
    if len(parts) != 2:
        raise ValueError(
            "an infill pattern has exactly one [*] where tokens are to be written, "
            f"got {len(parts) - 1} in {pattern!r}"
        )
    return parts[0], parts[1]
