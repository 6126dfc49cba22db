"""Guidance against a worse view of the same row: part of what is written is hidden again.

The contrast of a prediction with one that saw less sharpens it without a condition or a
classifier. It is `ClassifierFree` whose unconditional part is the same network on a degraded row,
so its weights, its stacking and its `log_ratio` are those of classifier-free guidance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from scidiff.core import Rng, uniform
from scidiff.data.tokens import FIRST_SYMBOL, TokenState
from scidiff.samplers.blocks import in_current_block
from scidiff.samplers.compose import ClassifierFree, Weight
from scidiff.samplers.masked import TokenPredictor
from scidiff.samplers.wrapped import Wrapped

Fraction = float | Callable[[TokenState], Tensor]
"""How much of a row's context is hidden: a number, or fraction(x) -> (B,)."""


class Degraded(Wrapped):
    """A denoiser that sees every row with a fraction of its written symbols hidden again.

    Which ones is a function of the row itself: position l has the key sum_j table[j, x_j, l] mod
    1, and the smallest ceil(fraction * number of written symbols) keys are hidden. Every row
    therefore has its own context (a published sampler hides the positions of its first row in all
    of them), the prediction is a law of the row alone, whatever its company, and weights stay
    exact. `table` is drawn once from `rng`: over its draws the hidden set is uniform. EOS and PAD
    are never hidden. Of a denoiser that writes in blocks the context is what is written of the
    current one: finished blocks are given, and what was said of them stays right.
    """

    def __init__(
        self, inner: TokenPredictor, length: int, rng: Rng, *, fraction: Fraction = 0.5
    ) -> None:
        if not callable(fraction) and not 0 <= fraction <= 1:
            raise ValueError(f"fraction must be in [0, 1], got {fraction}")
        super().__init__(inner)
        self.fraction, self.length = fraction, length
        self.table = uniform((length * inner.vocab_size, length), rng)

    def read(self, x: TokenState) -> TokenState:
        """The degraded rows; finished ones are left as they are."""
        return replace(x, ids=self.degrade(x))

    def degrade(self, x: TokenState) -> Tensor:
        """Ids (B, L) with part of the context hidden."""
        hidden = x.ids == self.mask_id
        context = (x.ids >= FIRST_SYMBOL) & ~hidden & hidden.any(1, keepdim=True)
        if self.block_size is not None:
            context = in_current_block(hidden, self.block_size, context)
        rank = self._keys(x.ids).masked_fill(~context, 2.0).argsort(1).argsort(1)
        share = self.fraction(x) if callable(self.fraction) else self.fraction
        wanted = torch.as_tensor(share, device=x.ids.device) * context.sum(1)
        return x.ids.masked_fill(context & (rank < wanted[:, None]), self.mask_id)

    def _keys(self, ids: Tensor) -> Tensor:
        """Sums of uniforms mod 1 (B, L): uniform, and independent for rows that differ."""
        if ids.shape[1] > self.length:
            raise ValueError(f"rows must have at most {self.length} positions, got {ids.shape[1]}")
        table = self.table.to(ids.device)
        place = torch.arange(ids.shape[1], device=ids.device) * self.vocab_size + ids
        return F.embedding_bag(place, table, mode="sum")[:, : ids.shape[1]] % 1


def context_guided(
    denoiser: TokenPredictor,
    length: int,
    rng: Rng,
    *,
    weight: Weight = 2.0,
    fraction: Fraction = 0.5,
) -> ClassifierFree:
    """Molecular context guidance (GenMol, Lee et al. 2025, arXiv 2501.06158, section 4.3):

        log p_w = w log p(x | context) + (1 - w) log p(x | context with a fraction hidden).

    Weight 1 is the denoiser itself; `length` is the longest row. Both may be functions of the
    state, so that rows and steps differ in them.
    """
    return ClassifierFree(denoiser, Degraded(denoiser, length, rng, fraction=fraction), weight)
