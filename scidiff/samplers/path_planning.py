"""Path planning: in every step the network's guess of the whole row is judged, the best positions
are kept and all others are hidden, also ones that were written before."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.data.tokens import TokenState
from scidiff.samplers.canvas import Canvas
from scidiff.samplers.orders import NEVER, Draw
from scidiff.samplers.paces import Scheduled
from scidiff.samplers.predictions import (
    TokenPredictor,
    check_block,
    evaluate,
    everywhere,
    known,
    remembering,
    start,
)

Planner = Callable[[TokenState], Tensor]
"""planner(x) -> (B, L): log-probabilities, at most 0, that the tokens of full rows x are right."""


class PathSampler:
    """Path planning of masked diffusion, P2 (Peng et al. 2025, arXiv 2502.03540).

    Step k draws a token at every hidden position, scores all positions that the row generates, and
    keeps the best n - floor(n f((k + 1) / N)) of n, f being the `curve` of `Scheduled`; the others
    are hidden. A new token's score is the log-probability it was drawn with. A token that was
    shown scores eta times the log-probability that the prediction at this place gives it: eta = 0
    never hides it again, a larger eta doubts it more. With a `planner`, any model of full rows,
    both scores are the planner's, read from the row with its hidden positions drawn.

    Without a planner the network judges tokens it sees, which a masked network was never trained
    for: what it says there is a guess. All choices but the tokens are deterministic, and the law
    is changed on purpose.
    """

    stochastic = True

    def __init__(
        self,
        denoiser: TokenPredictor,
        canvas: Canvas,
        *,
        steps: int,
        curve: str = "linear",
        eta: float = 1.0,
        planner: Planner | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        condition: Tensor | None = None,
    ) -> None:
        if not (eta >= 0 and math.isfinite(eta)):
            raise ValueError(f"eta must be finite and not negative, got {eta}")
        check_block(denoiser, None)
        self.denoiser, self.canvas, self.condition = denoiser, canvas, condition
        self.pace, self.num_steps = Scheduled(steps, curve), steps
        self.draw, self.eta, self.planner = Draw(temperature, top_p), eta, planner
        self.stochastic = temperature > 0

    @property
    def temperature(self) -> float:
        return self.draw.temperature

    def init(self, n: int, rng: Rng) -> TokenState:
        """Draw n rows of the canvas and evaluate the network there."""
        x = start(self.canvas, self.condition, n, rng)
        return self._arrive(remembering(x, x.ids == self.denoiser.mask_id), 0)

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw what is hidden, keep the best positions, then evaluate the network."""
        generated, told = known(x), everywhere(self.denoiser, x)
        hidden = x.ids == self.denoiser.mask_id
        ids = torch.where(hidden, self.draw(told, rng), x.ids)
        keys = self._scores(replace(x, ids=ids, trunk=None), hidden, told)
        best = keys.masked_fill(~generated, NEVER).argsort(dim=1, descending=True, stable=True)
        hide = generated & (best.argsort(1) >= self._shown(generated, k + 1)[:, None])
        return self._arrive(replace(x, ids=ids.masked_fill(hide, self.denoiser.mask_id)), k + 1)

    def _scores(self, full: TokenState, hidden: Tensor, told: Tensor) -> Tensor:
        """Keys (B, L) of the positions of rows whose hidden ones were drawn."""
        if self.planner is None:
            score = told.gather(-1, full.ids[..., None])[..., 0]
        else:
            score = self.planner(full)
        doubted = torch.where(score > NEVER, self.eta * score, score)
        return torch.where(hidden, score, math.inf if self.eta == 0 else doubted)

    def _shown(self, generated: Tensor, k: int | Tensor) -> Tensor:
        """How many positions (B,) are shown at step k."""
        total = generated.sum(1)
        step = k.clamp(max=self.num_steps) if isinstance(k, Tensor) else torch.full_like(total, k)
        return total - self.pace.rungs(total).gather(1, step[:, None])[:, 0]

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw every hidden position independently from the stored prediction."""
        if isinstance(k, int) and k >= self.num_steps:
            return x
        drawn = self.draw(everywhere(self.denoiser, x), rng)
        return replace(
            x, ids=torch.where(x.ids == self.denoiser.mask_id, drawn, x.ids), trunk=None
        )

    def renoise(self, clean: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Hide as many random positions as step k hides; evaluate."""
        free = self.canvas.free(clean.ids)
        keys = uniform(free.shape, rng).masked_fill(~free, NEVER)
        rank = keys.argsort(1, descending=True).argsort(1)
        hide = free & (rank >= self._shown(free, k)[:, None])
        ids = clean.ids.masked_fill(hide, self.denoiser.mask_id)
        return self._arrive(remembering(replace(clean, ids=ids), free), k)

    def _arrive(self, x: TokenState, k: int | Tensor) -> TokenState:
        if isinstance(k, int) and k >= self.num_steps:
            return replace(x, trunk=None)
        return evaluate(self.denoiser, x, k)


class FullRowPlanner:
    """A planner that is another token network: log p(x_l | row), read where the token stands."""

    def __init__(self, denoiser: TokenPredictor) -> None:
        self.denoiser = denoiser

    def __call__(self, x: TokenState) -> Tensor:
        """Scores (B, L); one network row a row."""
        told = everywhere(self.denoiser, evaluate(self.denoiser, x, 0))
        return told.gather(-1, x.ids[..., None])[..., 0]
