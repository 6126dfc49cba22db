"""A surrogate cascade: a sampler that draws several next steps and goes on with one that a cheap
score likes, and says how much it chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from scidiff.core import Rng, Sampler
from scidiff.guidance.lookahead import PosteriorMean, Reward, Value, as_scores
from scidiff.guidance.particles import positive
from scidiff.guidance.selection import log_mean_exp
from scidiff.rewards.scoring import Scores
from scidiff.samplers.orders import race
from scidiff.samplers.weighed import Weighed


class Cascade:
    """Draw `candidates` C of the next step, score each by a surrogate s of the log target, keep
    j ~ softmax(s) and report

        log_ratio = log mean_c exp(s_c) - s_j,

    beside what the inner step itself reports. E[exp(log_ratio) f(x_j)] = E[f(x_1)] for every f and
    s (importance resampling, Rubin 1987), so `guided_sample` over a cascade has the law that it
    has over `inner`, with a dear reward that sees one candidate of C.

    `surrogate` is a value in the reward's units, by default `PosteriorMean` of `reward`; s is
    `strength` times it. Rows without a score count as the worst of their siblings.
    """

    same_ends = True  # a row is finished where it is for the inner sampler

    def __init__(
        self,
        inner: Sampler[Any],
        surrogate: Value,
        candidates: int = 4,
        strength: float = 1.0,
    ) -> None:
        if not inner.stochastic and candidates > 1:
            raise ValueError(
                "the candidates of a deterministic sampler would be copies; make it stochastic "
                "(eta > 0 for a continuous sampler, temperature > 0 for a discrete one)"
            )
        self.inner, self.surrogate = inner, surrogate
        self.candidates, self.strength = positive("candidates", candidates), strength
        self.num_steps, self.stochastic = inner.num_steps, inner.stochastic
        self.denoiser = getattr(inner, "denoiser", None)

    @classmethod
    def cheap(
        cls, inner: Sampler[Any], reward: Reward, candidates: int = 4, strength: float = 1.0
    ) -> Cascade:
        """The cascade of a cheap reward on clean guesses."""
        return cls(inner, PosteriorMean(inner, reward, strength=strength), candidates, strength)

    def init(self, n: int, rng: Rng) -> Any:
        return _weighed(self.inner.init(n, rng))

    def step(self, x: Any, k: int | Tensor, rng: Rng) -> Any:
        """One draw of the inner step among C; `log_ratio` (B,) float64 tells what that was
        worth."""
        # one candidate of every row at a time, so that row i of each draw is row i's own noise
        x, drawn, told = replace(x, log_ratio=None), [], []
        for _ in range(self.candidates):
            drawn.append(self.inner.step(x, k, rng))
            told.append(as_scores(self.surrogate(drawn[-1], k + 1, rng)))
        scores = self._scores(told)
        j = race(scores, rng)
        rows = torch.arange(len(x), device=rng.device)
        chosen = type(drawn[0]).cat(drawn)[j * len(x) + rows]
        ratio = log_mean_exp(scores) - scores.gather(1, j[:, None])[:, 0]
        before = chosen.log_ratio
        return replace(chosen, log_ratio=ratio if before is None else before.double() + ratio)

    def predict_clean(self, x: Any, k: int | Tensor, rng: Rng) -> Any:
        return self.inner.predict_clean(x, k, rng)

    def renoise(self, clean: Any, k: int, rng: Rng) -> Any:
        return _weighed(self.inner.renoise(clean, k, rng))  # type: ignore[attr-defined]

    def _scores(self, told: Sequence[Scores]) -> Tensor:
        """Log scores (B, C) of the candidates."""
        values = self.strength * torch.stack([scores.values for scores in told], 1)
        ok = torch.stack([scores.ok for scores in told], 1)
        worst = values.masked_fill(~ok, torch.inf).amin(1, keepdim=True)
        return torch.where(ok, values, torch.where(worst.isfinite(), worst, 0.0))


def _weighed(x: Any) -> Any:
    """The state, with room for a `log_ratio`."""
    return x if hasattr(x, "log_ratio") else Weighed(x)
