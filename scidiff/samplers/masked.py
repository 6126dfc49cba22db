"""Reverse chains of masked (absorbing) diffusion over token rows.

The networks are time-agnostic, so no time grid is needed: only the order in which positions are
written. A sampler is Order (`orders.py`: where next) x race (which token) x commit (here). Nothing
in a step waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from scidiff.core import Rng, Shared, uniform
from scidiff.data.tokens import PAD, TokenState
from scidiff.samplers.blocks import (
    end_rows,
    in_blocks,
    in_current_block,
    left_per_block,
    step_bound,
)
from scidiff.samplers.canvas import Canvas, FixedCanvas, LengthLaw
from scidiff.samplers.constraints import Constraint, draw_within
from scidiff.samplers.orders import NEVER, Confidence, Order, Random, Sequential, race

__all__ = [
    "AncestralSampler",
    "BentPredictor",
    "Canvas",
    "Confidence",
    "FixedCanvas",
    "LengthLaw",
    "MaskedSampler",
    "Order",
    "Random",
    "Sequential",
    "TokenPredictor",
    "race",
]


class TokenPredictor(Protocol):
    """What the samplers here ask of a network."""

    mask_id: int
    vocab_size: int
    block_size: int | None  # None: every position sees all; b: the blocks of b up to its own
    rows: int  # network rows evaluated so far

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """Trunk output (B, L, D) at x."""
        ...

    def log_probs(self, trunk: Tensor) -> Tensor:
        """(B, M, D) -> (B, M, V) normalised log-probabilities, MASK = -inf."""
        ...


@runtime_checkable
class BentPredictor(Protocol):
    """A TokenPredictor made of others: what it means to draw from is not normalised."""

    def log_weights(self, trunk: Tensor) -> Tensor:
        """(B, M, D) -> (B, M, V); `log_probs` is its softmax."""
        ...


class MaskedSampler:
    """Write hidden positions in random order: first hitting (Zheng et al. 2024, arXiv 2409.02908).

    The next `tokens_per_step` positions are chosen first, then their tokens are drawn from the
    stored prediction, and the network runs once at the new place. With one token a step and
    `Random` order this draws exactly from the joint law of the network's conditionals, in as many
    network calls as there are hidden positions; more tokens a step ignore their dependence (an
    O(tokens_per_step) error), `Confidence` order and `temperature` != 1 change the law on purpose.

    `block_size` b writes blocks of b positions from left to right, each row inside its own first
    block that still hides something: None (one block) is masked diffusion, 1 is autoregression.
    EOS and PAD are ordinary tokens there, and once a finished block holds EOS whatever is hidden
    in later blocks becomes PAD: the row has ended. A finished row is a fixed point of `step`.

    `constraints` hold by construction: a token is drawn among those that leave the row possible,
    one after the other also within a step. Where none does, the position stays MASK for good. The
    law of plain samples is then bent; `log_ratio` tells by how much, so that `guided_sample`
    weighs (and resamples) towards the sampler's own law restricted to rows that satisfy the
    constraints, and `log_z` estimates their share. It does the same for a bent denoiser
    (`compose`), towards the product of its unnormalised conditionals.

    `condition` (1, C) for all rows, or (R, C) for n / R consecutive rows each, travels with them.
    """

    def __init__(
        self,
        denoiser: TokenPredictor,
        canvas: Canvas,
        *,
        tokens_per_step: int = 1,
        order: Order | None = None,
        block_size: int | None = None,
        temperature: float = 1.0,
        constraints: Sequence[Constraint] = (),
        condition: Tensor | None = None,
    ) -> None:
        _check(denoiser, tokens_per_step, block_size, temperature)
        self.denoiser, self.canvas, self.order = denoiser, canvas, order or Random()
        self.constraints, self.condition = tuple(constraints), condition
        self._bent = isinstance(denoiser, BentPredictor)
        self.block_size = min(block_size or canvas.length, canvas.length)
        self.tokens_per_step = min(tokens_per_step, self.block_size)
        self.temperature = temperature
        self.num_steps = step_bound(canvas, self.block_size, self.tokens_per_step)
        self.stochastic = temperature > 0 or (
            self.order.stochastic and self.tokens_per_step < self.block_size
        )

    def init(self, n: int, rng: Rng) -> TokenState:
        """Draw n rows of the canvas and evaluate the network there."""
        x = start(self.canvas, self.condition, n, rng)
        return _evaluate(self, replace(x, ids=self._ended(x.ids)), -1)

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Write the next `tokens_per_step` positions of every row, then evaluate the network.

        The last step evaluates nothing: nobody would read it.
        """
        positions, live = self.choose(x, rng)
        law, log_ratio = self.token_law(x, positions), None
        if self.constraints or self._bent:
            tokens, live, log_ratio = draw_within(
                self._possible, law, x.ids, positions, live, rng, self.temperature, self._bent
            )
        else:
            tokens = race(law, rng, self.temperature)
        ids = self.commit(x.ids, positions, live, tokens)
        return _evaluate(self, replace(x, ids=ids, log_ratio=log_ratio), k)

    def choose(self, x: TokenState, rng: Rng) -> tuple[Tensor, Tensor]:
        """Choose positions (B, M) and say which are `live` (B, M): a row may have fewer to
        write."""
        open_here = in_current_block(x.ids == self.denoiser.mask_id, self.block_size)
        keys = self.order(x.ids.shape, lambda: everywhere(self.denoiser, x), rng)
        best = keys.masked_fill(~open_here, NEVER).topk(self.tokens_per_step, dim=1)
        return best.indices, best.values > NEVER

    def token_law(self, x: TokenState, positions: Tensor) -> Tensor:
        """Log-probabilities (B, M, V) at `positions` (B, M), not normalised where bent: the head
        runs there only."""
        there = _trunk(x).gather(positions)
        if isinstance(self.denoiser, BentPredictor):
            return self.denoiser.log_weights(there)
        return self.denoiser.log_probs(there)

    def commit(self, ids: Tensor, positions: Tensor, live: Tensor, tokens: Tensor) -> Tensor:
        """Write `tokens` (B, M) where `live`, then end the rows whose finished block holds EOS."""
        return self._ended(
            ids.scatter(1, positions, torch.where(live, tokens, ids.gather(1, positions)))
        )

    def _ended(self, ids: Tensor) -> Tensor:
        return end_rows(ids, self.block_size, self.denoiser.mask_id)

    def _possible(self, ids: Tensor) -> Tensor:
        """Which rows (B,) can still become rows that satisfy every constraint."""
        ids, fine = self._ended(ids), torch.ones_like(ids[:, 0], dtype=torch.bool)
        for constraint in self.constraints:
            fine = fine & constraint(ids)
        return fine

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw every hidden position of the current block independently from the stored
        prediction.

        With blocks the row is ended there (what is hidden later becomes PAD), because the network
        has said nothing about later blocks: score such a prefix only with rewards that read
        prefixes, else use `guidance.lookahead.Rollout`. Constraints are not asked: they bind what
        is written, and a guess that breaks one only says little.
        """
        if isinstance(k, int) and k >= self.num_steps:
            return x
        hidden = x.ids == self.denoiser.mask_id
        drawn = race(everywhere(self.denoiser, x), rng, self.temperature)
        guess = torch.where(in_current_block(hidden, self.block_size), drawn, x.ids)
        return replace(x, ids=torch.where(guess == self.denoiser.mask_id, PAD, guess), trunk=None)

    def renoise(self, clean: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Hide a random subset again, exactly as many as a canvas row hides at step k;
        evaluate."""
        free = self.canvas.free(clean.ids)
        keys = in_blocks(uniform(free.shape, rng).masked_fill(~free, -1.0), self.block_size, -1.0)
        left = left_per_block((keys >= 0).sum(-1), _column(k), self.tokens_per_step)
        rank = keys.argsort(-1, descending=True).argsort(-1)
        hide = (rank < left[..., None]).flatten(1)[:, : free.shape[1]]
        ids = self._ended(clean.ids.masked_fill(hide, self.denoiser.mask_id))
        return _evaluate(self, replace(clean, ids=ids, log_ratio=None), k - 1)


class AncestralSampler:
    """Ancestral sampler of masked diffusion (Sahoo et al. 2024), log-linear, for comparison.

    Step i of N writes each hidden position independently with probability 1 / (N - i). Two-stage
    form: where first, then which token, so MASK never competes in the race. Its law is O(1/N) away
    from the one `MaskedSampler` draws exactly.
    """

    stochastic = True

    def __init__(
        self, denoiser: TokenPredictor, canvas: Canvas, *, steps: int, temperature: float = 1.0
    ) -> None:
        _check(denoiser, steps, None, temperature)
        self.denoiser, self.canvas = denoiser, canvas
        self.temperature, self.num_steps = temperature, steps

    def init(self, n: int, rng: Rng) -> TokenState:
        """Draw n rows of the canvas and evaluate the network there."""
        return _evaluate(self, TokenState(self.canvas(n, rng)), -1)

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Write each hidden position with probability 1 / (N - k), then evaluate the network."""
        chosen = self.choose(x, k, rng)
        drawn = race(everywhere(self.denoiser, x), rng, self.temperature)
        return _evaluate(self, replace(x, ids=torch.where(chosen, drawn, x.ids)), k)

    def choose(self, x: TokenState, k: int | Tensor, rng: Rng) -> Tensor:
        """Which positions (B, L) are written in step k."""
        left = self.num_steps - _column(k)
        return (uniform(x.ids.shape, rng) * left < 1) & (x.ids == self.denoiser.mask_id)

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw every hidden position independently from the stored prediction."""
        if isinstance(k, int) and k >= self.num_steps:
            return x
        drawn = race(everywhere(self.denoiser, x), rng, self.temperature)
        guess = torch.where(x.ids == self.denoiser.mask_id, drawn, x.ids)
        return replace(x, ids=guess, trunk=None)

    def renoise(self, clean: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Hide each generated position with probability 1 - k / N, the marginal of step k."""
        hide = uniform(clean.ids.shape, rng) * self.num_steps < self.num_steps - _column(k)
        ids = clean.ids.masked_fill(hide & self.canvas.free(clean.ids), self.denoiser.mask_id)
        return _evaluate(self, replace(clean, ids=ids), k - 1)


def start(canvas: Canvas, condition: Tensor | None, n: int, rng: Rng) -> TokenState:
    """Draw n rows of the canvas and hand the rows of `condition` (R, C) out to n / R each."""
    if condition is None:
        return TokenState(canvas(n, rng))
    if condition.ndim != 2 or n % len(condition):
        raise ValueError(
            f"condition must be (R, C) with R a divisor of the {n} rows, "
            f"got {tuple(condition.shape)}"
        )
    given = condition.to(rng.device).repeat_interleave(n // len(condition), 0)
    return TokenState(canvas(n, rng), condition=given)


def _column(k: int | Tensor) -> int | Tensor:
    return k[:, None] if isinstance(k, Tensor) else k


def _trunk(x: TokenState) -> Shared:
    if x.trunk is None:
        raise ValueError(
            "the state stores no prediction; make it with init, step or renoise of this sampler"
        )
    return x.trunk


def everywhere(denoiser: TokenPredictor, x: TokenState) -> Tensor:
    """Log-probabilities everywhere (B, L, V); the head runs once on what particles share."""
    trunk = _trunk(x)
    if len(trunk.values) < len(trunk):
        return denoiser.log_probs(trunk.values)[trunk.rows]
    return denoiser.log_probs(trunk.dense())


def _evaluate(
    sampler: MaskedSampler | AncestralSampler, x: TokenState, k: int | Tensor
) -> TokenState:
    """Store the network's output at x, reached by step k; after the last nobody would read it."""
    if isinstance(k, int) and k + 1 >= sampler.num_steps:
        return replace(x, trunk=None)
    return replace(x, trunk=Shared(sampler.denoiser(replace(x, trunk=None), k + 1)))


def _check(
    denoiser: TokenPredictor, positive: int, block_size: int | None, temperature: float
) -> None:
    if positive < 1:
        raise ValueError(f"tokens_per_step and steps must be at least 1, got {positive}")
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size must be at least 1 or None, got {block_size}")
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be finite and not negative, got {temperature}")
    seen = denoiser.block_size
    if seen is not None and (block_size is None or seen % block_size):
        raise ValueError(
            f"block_size must divide the network's block_size {seen}, got {block_size}"
        )
