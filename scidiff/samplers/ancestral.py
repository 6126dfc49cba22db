"""Ancestral sampling of masked diffusion over a time grid, with or without remasking."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.data.tokens import TokenState
from scidiff.samplers.canvas import Canvas
from scidiff.samplers.orders import Draw
from scidiff.samplers.predictions import (
    TokenPredictor,
    check_block,
    evaluate,
    everywhere,
    known,
    remembering,
    start,
)
from scidiff.samplers.remasking import Alpha, Remask, write_chance


class AncestralSampler:
    """Write every hidden position independently with the probability that its time has come
    (Sahoo et al. 2024, arXiv 2406.07524), and hide shown ones again if `remask` says so.

    From t to s one of the N = `steps` grid steps further, a hidden position is written with
    probability (alpha_s - alpha_t) / (1 - alpha_t), which is 1 / (N - k) in step k for the default
    alpha = 1 - t. Two-stage form: where first, then which token, so MASK never competes in the
    race. The law is O(1 / N) away from the one `MaskedSampler` draws exactly. The grid starts with
    everything hidden and ends with everything written, whatever `alpha` says of 1 and 0.

    `remask` (`remasking.py`) hides a shown position with probability sigma, and a hidden one is
    written with probability (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t): the share that is
    shown at s stays alpha_s. Tokens given by the canvas are never hidden.

    `compact`: rows in which nothing changed keep their stored prediction and cost no network row,
    nor do finished ones. The draws are the same; the network must not read the time. A row then
    costs N - sum_i (1 - q_i)^n rows in the mean, n positions being generated and q_i = alpha_s -
    alpha_t in step i, instead of N (without remasking; N (1 - (1 - 1 / N)^n) for the default).
    The host looks which rows changed, so leave it off where steps are compiled.
    """

    stochastic = True

    def __init__(
        self,
        denoiser: TokenPredictor,
        canvas: Canvas,
        *,
        steps: int,
        alpha: Alpha | None = None,
        remask: Remask | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        condition: Tensor | None = None,
        compact: bool = False,
    ) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        check_block(denoiser, None)
        self.denoiser, self.canvas, self.condition = denoiser, canvas, condition
        self.draw, self.remask, self.compact = Draw(temperature, top_p), remask, compact
        self.num_steps = steps
        own = remask.alpha if remask is not None else None
        if own is not None and alpha is not None:
            raise ValueError("this remasking has a schedule of its own: leave alpha out")
        self.levels = _levels(alpha or own, steps)

    def init(self, n: int, rng: Rng) -> TokenState:
        """Draw n rows of the canvas and evaluate the network there."""
        x = start(self.canvas, self.condition, n, rng)
        return self._arrive(self._remembering(x, self._hidden(x)), 0)

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Write and hide, each position by itself, then evaluate the network."""
        write, hide = self.chances(x, k)
        u, hidden = uniform(x.ids.shape, rng).double(), self._hidden(x)
        told = everywhere(self.denoiser, x)
        drawn = self.draw(told, rng)
        chosen = u < torch.where(hidden, write, hide)
        ids = torch.where(chosen, torch.where(hidden, drawn, self.denoiser.mask_id), x.ids)
        x = self._noted(replace(x, ids=ids), chosen & hidden, told)
        return self._arrive(x, k + 1, chosen.any(1))

    def _noted(self, x: TokenState, written: Tensor, told: Tensor) -> TokenState:
        """Note how sure the new tokens were, for rules that ask."""
        if self.remask is None:
            return x
        before = known(x, 1)
        sure = told.gather(-1, x.ids[..., None])[..., 0].exp().to(before.dtype)
        return remembering(x, known(x), torch.where(written, sure, before))

    def chances(self, x: TokenState, k: int | Tensor) -> tuple[Tensor | float, Tensor | float]:
        """With what probability hidden positions are written in step k, and shown ones hidden:
        numbers, (B, 1) or (B, L)."""
        now, then = self._level(x, k), self._level(x, k + 1)
        if self.remask is None:
            return write_chance(now, then, torch.zeros_like(now)), 0.0
        free = known(x) & ~self._hidden(x)
        sigma = self.remask(now, then, free, known(x, 1))
        return write_chance(now, then, sigma), torch.where(free, sigma, 0.0)

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw every hidden position independently from the stored prediction."""
        if isinstance(k, int) and k >= self.num_steps:
            return x
        drawn = self.draw(everywhere(self.denoiser, x), rng)
        return replace(x, ids=torch.where(self._hidden(x), drawn, x.ids), trunk=None)

    def renoise(self, clean: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Hide each generated position with probability 1 - alpha, the marginal of step k."""
        free = self.canvas.free(clean.ids)
        hide = free & (uniform(clean.ids.shape, rng).double() >= self._level(clean, k))
        ids = clean.ids.masked_fill(hide, self.denoiser.mask_id)
        return self._arrive(self._remembering(replace(clean, ids=ids), free), k)

    def _level(self, x: TokenState, k: int | Tensor) -> Tensor:
        """alpha at step k, () or (B, 1) float64."""
        if isinstance(k, int):
            return torch.full((), self.levels[k], dtype=torch.float64, device=x.ids.device)
        table = torch.tensor(self.levels, dtype=torch.float64, device=k.device)
        return table[k.clamp(max=self.num_steps)][:, None]

    def _hidden(self, x: TokenState) -> Tensor:
        return x.ids == self.denoiser.mask_id

    def _remembering(self, x: TokenState, generated: Tensor) -> TokenState:
        """Keep what the row generates and how sure each token was when written: nobody knows of
        those that were there before."""
        return remembering(x, generated, torch.ones(generated.shape, device=x.ids.device))

    def _arrive(self, x: TokenState, k: int | Tensor, changed: Tensor | None = None) -> TokenState:
        """Evaluate the network at x before step k, where there is anything new to say."""
        if isinstance(k, int) and k >= self.num_steps:
            return replace(x, trunk=None)
        if not self.compact or changed is None:
            return evaluate(self.denoiser, x, k)
        return evaluate(self.denoiser, x, k, changed & self._hidden(x).any(1))


def _levels(alpha: Alpha | None, steps: int) -> list[float]:
    """alpha at steps 0..N, and once more the end, with which a finished row stays."""
    t = 1 - torch.arange(steps + 1, dtype=torch.float64) / steps
    levels = (1 - t if alpha is None else alpha(t)).tolist()
    levels = [0.0, *levels[1:-1], 1.0, 1.0]
    if not all(0 <= a <= b <= 1 for a, b in zip(levels, levels[1:], strict=False)):
        raise ValueError(
            f"alpha(t) must go from 1 at t = 0 down to 0 at t = 1, got {levels[::-1]}"
        )
    return levels
