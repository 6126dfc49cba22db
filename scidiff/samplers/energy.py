"""Parallel importance sampling: write several tokens a step that agree with each other.

A masked sampler draws the tokens of one step independently. With an energy E of whole rows
(`networks.energy`) they are read off one row of the residual model p_diff(x0 | x_t) exp(-E) / Z
instead (EDLM, Xu et al. 2024, arXiv 2410.21357, algorithm 1).
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.data.tokens import TokenState
from scidiff.networks.energy import Energy
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import race
from scidiff.samplers.predictions import TokenPredictor, evaluate, everywhere


def draw_candidates(law: Tensor, ids: Tensor, hidden: Tensor, count: int, rng: Rng) -> Tensor:
    """Draw `count` clean rows (B, K, L) of each row of ids (B, L): what is `hidden` (B, L) from
    its own law, log-probabilities (B, L, V), the rest kept."""
    drawn = [torch.where(hidden, race(law, rng), ids) for _ in range(count)]
    return torch.stack(drawn, 1)


def log_drawn(law: Tensor, hidden: Tensor, clean: Tensor) -> Tensor:
    """Log-probability (B, K) of clean rows (B, K, L), float64: the sum over `hidden` (B, L)
    positions of their law (B, L, V)."""
    each = law.gather(-1, clean.transpose(1, 2)).double()  # (B, L, K)
    return torch.where(hidden[..., None], each, 0.0).sum(1)


class EnergySampler:
    """A masked sampler whose steps are read off one of K candidates, chosen by its energy.

    In the first `window` of the steps, `candidates` full rows are drawn from the stored
    prediction, one is taken with probability proportional to exp(-E / energy_temperature), and the
    next `tokens_per_step` positions are copied from it; later steps are the inner sampler's own.
    K = 1 is the inner law. As K grows the steps draw from the joint law of the residual model, so
    that with the right energy any number of tokens a step is exact; the error falls as 1 / K.
    Where no candidate has a finite energy the first is taken, a plain draw.

    A step costs one row of the network and K of the energy. There is no `log_ratio`: the chance
    that a row is chosen among K random ones has no closed form, and the law drawn is changed on
    purpose. A guided run is exact for the law of this sampler.
    """

    stochastic = True

    def __init__(
        self,
        inner: MaskedSampler,
        energy: Energy,
        *,
        candidates: int = 8,
        window: float = 1.0,
        energy_temperature: float = 1.0,
    ) -> None:
        _check(inner, candidates, window, energy_temperature)
        self.inner, self.energy, self.candidates = inner, energy, candidates
        self.energy_temperature = energy_temperature
        self.denoiser, self.canvas, self.num_steps = inner.denoiser, inner.canvas, inner.num_steps
        self.window = math.ceil(window * inner.num_steps)  # steps

    @property
    def condition(self) -> Tensor | None:
        """What the rows are asked to be like, the inner sampler's."""
        return self.inner.condition

    @condition.setter
    def condition(self, asked: Tensor | None) -> None:
        self.inner = copy.copy(self.inner)  # which others may hold too
        self.inner.condition = asked

    def init(self, n: int, rng: Rng) -> TokenState:
        """Draw n rows of the canvas and evaluate the network there."""
        return self.inner.init(n, rng)

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Choose a candidate, write the next positions of it, then evaluate the network."""
        if isinstance(k, int) and k >= self.window:
            return self.inner.step(x, k, rng)
        positions, live = self.inner.choose(x, rng)
        chosen = self.choose_clean(x, k, rng)
        ids = self.inner.commit(x.ids, positions, live, chosen.gather(1, positions))
        x = replace(x, ids=ids, trunk=None, log_ratio=None)
        if isinstance(k, int) and k + 1 >= self.num_steps:
            return x
        return evaluate(self.denoiser, x, k + 1)

    def choose_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> Tensor:
        """One of K candidates of every row (B, L)."""
        law, hidden = self.law(x), x.ids == self.denoiser.mask_id
        clean = draw_candidates(law, x.ids, hidden, self.candidates, rng)
        log_w = self.log_weights(x, clean, log_drawn(law, hidden, clean))
        if isinstance(k, Tensor):
            log_w = torch.where(k[:, None] < self.window, log_w, 0.0)
        row = torch.arange(len(x), device=clean.device)
        return clean[row, race(log_w, rng)]

    def law(self, x: TokenState) -> Tensor:
        """What the tokens of candidates are drawn from: log-probabilities (B, L, V)."""
        return self.inner.draw.law(everywhere(self.denoiser, x)).log_softmax(-1)

    def log_weights(self, x: TokenState, clean: Tensor, drawn: Tensor) -> Tensor:
        """-E / energy_temperature (B, K) of candidates (B, K, L): the lower the energy, the
        larger."""
        return -self.energy(x, clean, drawn) / self.energy_temperature

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Guess the end: one of K candidates by its energy. Costs K rows of the energy inside
        `window`, none of the network."""
        if isinstance(k, int) and k >= self.window:
            return self.inner.predict_clean(x, k, rng)
        return replace(x, ids=self.choose_clean(x, k, rng), trunk=None)

    def renoise(self, clean: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Hide again as many positions as step k has; evaluate."""
        return self.inner.renoise(clean, k, rng)


class Negatives:
    """What a masked model takes for the clean row, drawn position by position (B, L)."""

    def __init__(self, denoiser: TokenPredictor) -> None:
        self.denoiser = denoiser

    @torch.no_grad()
    def __call__(self, x: TokenState, rng: Rng) -> Tensor:
        drawn = race(everywhere(self.denoiser, evaluate(self.denoiser, x, 0)), rng)
        return torch.where(x.ids == self.denoiser.mask_id, drawn, x.ids)


def _check(
    inner: MaskedSampler, candidates: int, window: float, energy_temperature: float
) -> None:
    if candidates < 1:
        raise ValueError(f"candidates must be at least 1, got {candidates}")
    if not 0 < window <= 1:
        raise ValueError(f"window must be a share of the steps in (0, 1], got {window}")
    if not (energy_temperature > 0 and math.isfinite(energy_temperature)):
        raise ValueError(
            f"energy_temperature must be finite and above 0, got {energy_temperature}"
        )
    if inner.block_size < inner.canvas.length:
        raise ValueError(
            "an energy reads whole rows, so block_size must be None or the row's length "
            f"{inner.canvas.length}, got {inner.block_size}"
        )
    if inner.temperature == 0:
        raise ValueError("at temperature 0 all candidates are the same row; got temperature=0")
    if inner.constraints:
        raise ValueError(
            "constraints are asked token by token, which candidates are not: got "
            f"{len(inner.constraints)} of them with an energy, expected none"
        )
