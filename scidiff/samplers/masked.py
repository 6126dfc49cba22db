"""Reverse chains of masked (absorbing) diffusion over token rows.

The networks are time-agnostic, so no time grid is needed: only the order in which positions are
written. A sampler is Order (`orders.py`: where next) x Pace (`paces.py`: how many) x Draw
(`orders.py`: which token) x commit (here). Nothing in a step waits for the device.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from scidiff.core import Rng, Shared, uniform
from scidiff.data.tokens import PAD, TokenState
from scidiff.samplers.ancestral import AncestralSampler
from scidiff.samplers.block_sizes import Sizes, inside
from scidiff.samplers.blocks import (
    cut_in_blocks,
    end_rows,
    in_current_block,
    left_per_block,
    step_bound,
)
from scidiff.samplers.canvas import Canvas, FixedCanvas, LengthLaw
from scidiff.samplers.constraints import Constraint, draw_within
from scidiff.samplers.orders import (
    NEVER,
    Confidence,
    Draw,
    Order,
    Place,
    Random,
    Sequential,
    race,
)
from scidiff.samplers.paces import Fixed, Pace
from scidiff.samplers.predictions import (
    BentPredictor,
    TokenPredictor,
    check_block,
    column,
    evaluate,
    everywhere,
    in_block,
    known,
    remembering,
    start,
    stored,
)
from scidiff.samplers.second_order import extrapolated, pair_weight

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
    "everywhere",
    "race",
    "start",
    "told_rows",
]


class MaskedSampler:
    """Write hidden positions in random order: first hitting (Zheng et al. 2024, arXiv 2409.02908).

    The next positions are chosen first, then their tokens are drawn from the stored prediction,
    and the network runs once at the new place. With one token a step and `Random` order this draws
    exactly from the joint law of the network's conditionals, in as many network calls as there are
    hidden positions. More tokens a step (`tokens_per_step` k, or any `Pace`) ignore their
    dependence, an error first-order in k; orders that read the prediction, `temperature` != 1 and
    `top_p` < 1 change the law on purpose.

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

    `sizes` cut a block (the whole row where there are none) into parts, sized by what the network
    says when it first sees them, which are written one after the other.

    `second_order` makes up for the dependence that several tokens a step lose, at no cost (see
    `second_order.py`).

    `condition` (1, C) for all rows, or (R, C) for n / R consecutive rows each, travels with them.
    """

    def __init__(
        self,
        denoiser: TokenPredictor,
        canvas: Canvas,
        *,
        tokens_per_step: int | Pace = 1,
        order: Order | None = None,
        block_size: int | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        constraints: Sequence[Constraint] = (),
        condition: Tensor | None = None,
        second_order: bool = False,
        sizes: Sizes | None = None,
    ) -> None:
        pace = Fixed(tokens_per_step) if isinstance(tokens_per_step, int) else tokens_per_step
        check_block(denoiser, block_size)
        self.denoiser, self.canvas, self.order = denoiser, canvas, order or Random()
        self.constraints, self.condition = tuple(constraints), condition
        self._bent = isinstance(denoiser, BentPredictor)
        self.block_size = min(block_size or canvas.length, canvas.length)
        self.pace, self.draw = pace, Draw(temperature, top_p)
        self.widest = pace.widest(self.block_size)  # most tokens of a step
        self.sizes = sizes.within(self.block_size) if sizes is not None else None
        self._grain = self.sizes.sizes[0] if self.sizes is not None else self.block_size
        self.num_steps = step_bound(canvas, self._grain, pace)
        self.second_order = second_order
        if second_order:
            self._check_second_order()
        at_once = int(pace.longest(torch.tensor(self.block_size))) == 1
        self.stochastic = temperature > 0 or (self.order.stochastic and not at_once)

    def _check_second_order(self) -> None:
        if self._bent or self._grain < self.canvas.length:
            raise ValueError(
                "second_order is for plain predictions of whole rows: leave out block_size and "
                "guidance inside the model"
            )
        if not isinstance(self.order, Random):
            raise ValueError("second_order averages over random orders, got another order")
        pair_weight(self.pace, torch.ones(1, dtype=torch.int64))  # refuses other paces

    @property
    def temperature(self) -> float:
        return self.draw.temperature

    def init(self, n: int, rng: Rng) -> TokenState:
        """Draw n rows of the canvas and evaluate the network there."""
        x = start(self.canvas, self.condition, n, rng)
        x = replace(x, ids=self._ended(x.ids))
        return self._begin(x, x.ids == self.denoiser.mask_id)

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Write the next positions of every row, then evaluate the network.

        The last step evaluates nothing: nobody would read it.
        """
        positions, live, law = self._next(x, rng)
        law, log_ratio = self.draw.law(law), None
        temperature = 1.0 if self.draw.temperature else 0.0
        if self.constraints or self._bent:
            tokens, live, log_ratio = draw_within(
                self._possible, law, x.ids, positions, live, rng, temperature, self._bent
            )
        else:
            tokens = race(law, rng, temperature)
        ids = self.commit(x.ids, positions, live, tokens)
        return self.arrive(replace(x, ids=ids, log_ratio=log_ratio), k + 1)

    def choose(self, x: TokenState, rng: Rng) -> tuple[Tensor, Tensor]:
        """Choose positions (B, M), and say which of them are `live` (B, M), that is, written:
        rows differ in how many."""
        return self._next(x, rng)[:2]

    def _next(self, x: TokenState, rng: Rng) -> tuple[Tensor, Tensor, Tensor]:
        """Positions (B, M) by rank, which of them are written (B, M), and their law (B, M, V)."""
        hidden = x.ids == self.denoiser.mask_id
        here = self._part(x, hidden, hidden)
        place = Place(x, hidden, lambda: in_block(self.denoiser, x, hidden, self.block_size))
        keys = self.order(place, rng).masked_fill(~here, NEVER)
        positions = keys.topk(self.widest, dim=1).indices
        law, total = self.token_law(x, positions), None
        if x.memory is not None:
            total = self._part(x, hidden, known(x)).sum(1)
        block = hidden.int().argmax(1) // self.block_size
        return positions, self.pace.take(law, here.sum(1), total, block), law

    def _part(self, x: TokenState, hidden: Tensor, among: Tensor) -> Tensor:
        """What of `among` (B, L) lies in the part of each row that is being written."""
        here = in_current_block(hidden, self.block_size, among)
        if self.sizes is None:
            return here
        part = inside(known(x, 1), here.shape[1])
        return here & (part | ~(hidden & part).any(1, keepdim=True))

    def token_law(self, x: TokenState, positions: Tensor) -> Tensor:
        """Log-probabilities (B, M, V) at `positions` (B, M), not normalised where bent: the head
        runs there only."""
        there = stored(x).gather(positions)
        if isinstance(self.denoiser, BentPredictor):
            return self.denoiser.log_weights(there)
        told = self.denoiser.log_probs(there)
        if not self.second_order:
            return told
        total = known(x).sum(1)
        first = self.denoiser.log_probs(first_prediction(x).gather(positions))
        return extrapolated(told, first, pair_weight(self.pace, total))

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
        drawn = self.draw(everywhere(self.denoiser, x), rng)
        guess = torch.where(in_current_block(hidden, self.block_size), drawn, x.ids)
        ids = torch.where(guess == self.denoiser.mask_id, PAD, guess)
        return replace(x, ids=ids, trunk=None, cache=None)

    def renoise(self, clean: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Hide again exactly as many positions as a canvas row hides at step k (the slowest one,
        where rows differ in pace), of each block the last ones where it is written from left to
        right, else a random subset; evaluate."""
        free = self.canvas.free(clean.ids)
        keys = self._late(free, rng).masked_fill(~free, -1.0)
        keys = cut_in_blocks(keys, self._grain, -1.0)
        left = left_per_block((keys >= 0).sum(-1), column(k), self.pace)
        rank = keys.argsort(-1, descending=True).argsort(-1)
        hide = (rank < left[..., None]).flatten(1)[:, : free.shape[1]]
        ids = self._ended(clean.ids.masked_fill(hide, self.denoiser.mask_id))
        x = remembering(replace(clean, ids=ids, log_ratio=None), free)
        if not self.second_order:
            return self.arrive(x, k)
        blank = replace(x, ids=clean.ids.masked_fill(free, self.denoiser.mask_id))
        return self.arrive(replace(x, memory=self._begin(blank, free).memory), k)

    def _late(self, free: Tensor, rng: Rng) -> Tensor:
        """Keys (B, L) from 0 on, the larger the later a position of `free` (B, L) was written."""
        if isinstance(self.order, Sequential):
            return torch.arange(float(free.shape[1]), device=free.device).expand(free.shape)
        return uniform(free.shape, rng)

    def _begin(self, x: TokenState, generated: Tensor) -> TokenState:
        """Evaluate the network at rows in which all that is `generated` (B, L) is hidden, and keep
        what the later steps ask for."""
        x = self.arrive(remembering(x, generated), 0)
        if self.second_order and x.trunk is not None:
            return remembering(x, generated, x.trunk)
        return x

    def arrive(self, x: TokenState, k: int | Tensor) -> TokenState:
        """Evaluate the network at x before step k; after the last nobody would read it."""
        if isinstance(k, int) and k >= self.num_steps:
            return replace(x, trunk=None, cache=None)
        x = evaluate(self.denoiser, x, k)
        if self.sizes is None:
            return x
        hidden = x.ids == self.denoiser.mask_id
        told = in_block(self.denoiser, x, hidden, self.block_size)
        return self.sizes.sized(x, in_current_block(hidden, self.block_size), told)


def first_prediction(x: TokenState) -> Shared:
    """What the network said of a row before anything was written."""
    if x.memory is None or len(x.memory) < 2 or not isinstance(x.memory[1], Shared):
        raise ValueError("the state has no first prediction; make it with init of this sampler")
    return x.memory[1]


def told_rows(sampler: MaskedSampler, condition: Tensor) -> MaskedSampler:
    """The same sampler over the same denoiser, whose rows are told `condition` (R, C)."""
    other = copy.copy(sampler)
    other.condition = condition
    return other
