"""Products and powers of token predictors: the discrete twin of Feynman-Kac correctors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scidiff.data.tokens import TokenState
from scidiff.samplers.compose import Weight, read_weights, weight_channel
from scidiff.samplers.masked import TokenPredictor
from scidiff.samplers.predictions import recalled_by


class TokenProduct:
    """prod_i p_i^b_i of token rows: an anneal is one predictor with b = 1 / temperature, a product
    of experts two with (1, 1), classifier-free guidance two with (w, 1 - w) (Hasan et al. 2026,
    arXiv 2601.10403).

    Every token is drawn from its own product, normalised; the normalisers are what `log_ratio`
    tells, so with one token a step the weights of `guided_sample` are exact for the product of
    the laws of whole rows, and `log_z` estimates its sum. Temperature of the sampler bends each
    token and is not a power of the whole row; this is.

    A token that any predictor excludes stays excluded, whatever its exponent, unless that is 0.
    MASK is never drawn: with all exponents 0 the law is uniform over the other tokens.
    Exponents are numbers, or functions (x, k) -> (B,) for rows that differ in them.
    """

    def __init__(self, predictors: Sequence[TokenPredictor], exponents: Sequence[Weight]) -> None:
        if len(predictors) != len(exponents) or not predictors:
            raise ValueError(
                "a product takes an exponent for each predictor, got "
                f"{len(predictors)} predictors and {len(exponents)} exponents"
            )
        first = predictors[0]
        for name in ("mask_id", "vocab_size", "block_size"):
            got = [getattr(p, name) for p in predictors]
            if any(value != got[0] for value in got):
                raise ValueError(f"all predictors must have the same {name}, got {got}")
        self.predictors, self.exponents = tuple(predictors), tuple(exponents)
        self.mask_id, self.vocab_size = first.mask_id, first.vocab_size
        self.block_size = first.block_size
        self._widths: list[int] = []  # of the trunks, known once they have spoken

    @property
    def rows(self) -> int:
        """Network rows evaluated so far, by all; a predictor that comes twice counts once."""
        return sum(p.rows for p in {id(p): p for p in self.predictors}.values())

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """The trunks side by side, then the exponents (B, L, D_1 + .. + D_n + n)."""
        return self._side_by_side([predictor(x, k) for predictor in self.predictors], x, k)

    def recall(self, x: TokenState, k: int | Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        """The same, and what each predictor keeps of finished blocks."""
        trunks, caches = recalled_by(self.predictors, x, k)
        return self._side_by_side(trunks, x, k), caches

    def _side_by_side(self, trunks: list[Tensor], x: TokenState, k: int | Tensor) -> Tensor:
        self._widths = [trunk.shape[-1] for trunk in trunks]
        return torch.cat([*trunks, *(weight_channel(b, x, k) for b in self.exponents)], -1)

    def log_weights(self, trunk: Tensor) -> Tensor:
        """sum_i b_i log p_i (B, M, V); a bent part is read before it is normalised."""
        n = len(self.predictors)
        trunks = trunk[..., :-n].split(self._widths, -1)
        terms = [
            powered(read_weights(predictor, part), trunk[..., [i - n]])
            for i, (predictor, part) in enumerate(zip(self.predictors, trunks, strict=True))
        ]
        masks = torch.arange(self.vocab_size, device=trunk.device) == self.mask_id
        return torch.stack(terms).sum(0).masked_fill(masks, float("-inf"))

    def log_probs(self, trunk: Tensor) -> Tensor:
        return self.log_weights(trunk).log_softmax(-1)


def powered(log_p: Tensor, exponent: Tensor) -> Tensor:
    """b log p of log weights (B, M, V) and exponents (B, M, 1); -inf stays, unless b is 0."""
    excluded = (log_p == float("-inf")) & (exponent != 0)
    product = exponent * log_p.masked_fill(log_p == float("-inf"), 0.0)
    return product.masked_fill(excluded, float("-inf"))
