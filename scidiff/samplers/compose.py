"""Denoisers made of denoisers: classifier-free guidance of token predictions; that of clean
guesses is a `tempered.Product` with exponents (w, 1 - w).

A bent token prediction also says what it was before it was normalised, so that the masked sampler
can report `log_ratio` and `guided_sample` can weigh its draws towards the product they mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scidiff.data.tokens import TokenState
from scidiff.processes.conditional import ConditionalNetwork
from scidiff.samplers.masked import BentPredictor, TokenPredictor
from scidiff.samplers.predictions import recalled_by

Weight = float | Callable[[TokenState, int | Tensor], Tensor]
"""A guidance weight: a number, or weight(x, k) -> (B,) for one that rows or steps differ in."""


class ConditionalDenoiser:
    """A conditional token network as the samplers see it; `shown` False hides every condition.

    `timed` networks read the time, which is then what a sampler calls with.
    """

    block_size: int | None = None

    def __init__(
        self,
        network: ConditionalNetwork,
        mask_id: int,
        *,
        shown: bool = True,
        timed: bool = False,
    ) -> None:
        self.network, self.shown, self.timed = network, shown, timed
        self.mask_id, self.vocab_size, self.rows = mask_id, mask_id + 1, 0

    @torch.no_grad()
    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        if x.condition is None:
            raise ValueError("the state has no condition; give the sampler condition=(R, C)")
        self.rows += len(x)
        shown = torch.full((len(x),), self.shown, device=x.ids.device)
        network = self.network.given(x.condition, shown)
        if not self.timed:
            return network.bidirectional(x.ids)
        t = torch.as_tensor(k, dtype=torch.float32, device=x.ids.device)
        return network.bidirectional(x.ids, t.expand(len(x)))

    @torch.no_grad()
    def log_probs(self, trunk: Tensor) -> Tensor:
        return self.network.log_probs(trunk)


class ClassifierFree:
    """Classifier-free guidance of tokens (Ho and Salimans 2022, arXiv 2207.12598; for discrete
    states Nisonoff et al. 2024, arXiv 2406.01572):

        log p_w = log p_u + w (log p_c - log p_u) - log Z.

    A row written by one token is p(x) p(y | x)^w / Z exactly. Longer rows are not: each token has
    a Z of its own, and their product is what `log_ratio` tells. With it the weights of
    `guided_sample` are exact for the whole row, p_u(x)^(1 - w) p_c(x)^w / Z. Weight 0 is the
    unconditional prediction, 1 the conditional one, above 1 more than asked. A token that either
    of the two excludes stays excluded for other weights.
    """

    def __init__(
        self, conditional: TokenPredictor, unconditional: TokenPredictor, weight: Weight
    ) -> None:
        for name in ("mask_id", "vocab_size", "block_size"):
            got = getattr(conditional, name), getattr(unconditional, name)
            if got[0] != got[1]:
                raise ValueError(f"both denoisers must have the same {name}, got {got}")
        self.conditional, self.unconditional, self.weight = conditional, unconditional, weight
        self.mask_id, self.vocab_size = conditional.mask_id, conditional.vocab_size
        self.block_size = conditional.block_size
        self._width = 0  # of the conditional trunk, known once it has spoken

    @property
    def rows(self) -> int:
        """Network rows evaluated so far, by both."""
        return self.conditional.rows + self.unconditional.rows

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """Both trunks side by side and the weight (B, L, D + D' + 1)."""
        return self._side_by_side([self.conditional(x, k), self.unconditional(x, k)], x, k)

    def recall(self, x: TokenState, k: int | Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        """The same, and what each of the two keeps of finished blocks."""
        trunks, caches = recalled_by((self.conditional, self.unconditional), x, k)
        return self._side_by_side(trunks, x, k), caches

    def _side_by_side(self, trunks: list[Tensor], x: TokenState, k: int | Tensor) -> Tensor:
        self._width = trunks[0].shape[-1]
        return torch.cat([*trunks, weight_channel(self.weight, x, k)], -1)

    def both(self, trunk: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Conditional and unconditional log weights (B, M, V) and the weight (B, M, 1)."""
        told = read_weights(self.conditional, trunk[..., : self._width])
        plain = read_weights(self.unconditional, trunk[..., self._width : -1])
        return told, plain, trunk[..., -1:]

    def log_weights(self, trunk: Tensor) -> Tensor:
        """log p_u + w (log p_c - log p_u), (B, M, V); a bent part is read before it is
        normalised."""
        return extrapolated(*self.both(trunk))

    def log_probs(self, trunk: Tensor) -> Tensor:
        return self.log_weights(trunk).log_softmax(-1)


def extrapolated(told: Tensor, plain: Tensor, weight: Tensor) -> Tensor:
    """plain + w (told - plain) of log weights; one of the two exactly at w = 0 and 1."""
    excluded = (told == float("-inf")) | (plain == float("-inf"))
    bent = torch.where(excluded, float("-inf"), plain + weight * (told - plain))
    return torch.where(weight == 1, told, torch.where(weight == 0, plain, bent))


def weight_channel(weight: Weight, x: TokenState, k: int | Tensor) -> Tensor:
    """The weight of every row as a channel of its trunk (B, L, 1) float32."""
    row = weight(x, k) if callable(weight) else torch.tensor(weight).expand(len(x))
    return row.to(x.ids.device, torch.float32)[:, None, None].expand(*x.ids.shape, 1)


def read_weights(denoiser: TokenPredictor, trunk: Tensor) -> Tensor:
    """What a denoiser means to draw from (B, M, V), before it is normalised if it is bent."""
    if isinstance(denoiser, BentPredictor):
        return denoiser.log_weights(trunk)
    return denoiser.log_probs(trunk)
