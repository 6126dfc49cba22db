"""Twisted proposals: token rows drawn towards where a value is high, weighed back to the sampler's
own law."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.data.tokens import TokenState
from scidiff.guidance.lookahead import Value, as_scores
from scidiff.samplers.classifier import ClassifierGuided
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.predictions import stored


class Potential:
    """A value of rows as `samplers.classifier` asks for one: log_prob(ids) = strength * value, a
    log probability up to a constant, which no difference sees.

    The step that the value is told is num_steps less the hidden tokens: one token a step. Raises
    ValueError for a row without a score.
    """

    def __init__(self, value: Value, strength: float, num_steps: int, mask_id: int) -> None:
        self.value, self.strength = value, strength
        self.num_steps, self.mask_id = num_steps, mask_id

    def log_prob(self, ids: Tensor) -> Tensor:
        """Rows (B, L), MASK where hidden -> (B,)."""
        k = (self.num_steps - (ids == self.mask_id).sum(1)).clamp(min=0)
        scores = as_scores(self.value(TokenState(ids), k, torch.Generator(ids.device)))
        if not scores.ok.all():
            row = int((~scores.ok).nonzero()[0])
            raise ValueError(f"a potential needs a value of every row, and row {row} has none")
        return self.strength * scores.values


class Twisted:
    """A masked sampler of `ClassifierGuided` whose draws are bent and whose law is not (the
    twisted proposals of Wu et al. 2023, arXiv 2306.17775, for tokens).

    `log_ratio` is log p(x_s | x_t) - log q(x_s | x_t) of the tokens written, with p the step of
    the denoiser inside: the weights of `guided_sample` with a reward r are exact for p(x)
    exp(strength r), whatever the potential: learned, differentiated (`FirstOrderChange`) or
    wrong. With the exact soft value of r every weight is Z. (A `ClassifierGuided`
    sampler by itself has the potential in its law.) Any number of tokens a step; a token that the
    potential excludes is never drawn, so potentials must be finite.
    """

    stochastic = True

    def __init__(self, inner: MaskedSampler) -> None:
        if not isinstance(inner.denoiser, ClassifierGuided):
            raise ValueError(
                "Twisted takes a sampler of a ClassifierGuided denoiser, got one of "
                f"{type(inner.denoiser).__name__}"
            )
        if inner.temperature != 1 or inner.block_size < inner.canvas.length or inner.constraints:
            raise ValueError(
                "Twisted weighs whole rows drawn at temperature 1 without constraints, got "
                f"temperature {inner.temperature}, block_size {inner.block_size} and "
                f"{len(inner.constraints)} constraints"
            )
        self.inner, self.guided = inner, inner.denoiser
        self.denoiser, self.canvas, self.num_steps = inner.denoiser, inner.canvas, inner.num_steps

    def init(self, n: int, rng: Rng) -> TokenState:
        return self.inner.init(n, rng)

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw a bent step; what it bent is taken back from `log_ratio`."""
        y = self.inner.step(x, k, rng)
        wrote = x.ids != y.ids
        bends = self.guided.bend(stored(x).dense()).gather(2, y.ids[..., None])[..., 0]
        bent = torch.where(wrote, bends, 0.0).double().sum(1)
        return replace(y, log_ratio=(0.0 if y.log_ratio is None else y.log_ratio.double()) - bent)

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> Any:
        return self.inner.predict_clean(x, k, rng)

    def renoise(self, clean: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        return self.inner.renoise(clean, k, rng)
