"""What a denoiser made of one other denoiser hands on to it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from scidiff.data.tokens import TokenState
from scidiff.samplers.predictions import TokenPredictor, recalled


class Wrapped:
    """The same prediction, cost and memory as the inner denoiser's; a subclass changes what is
    read of a row, what is said there, or what is counted."""

    def __init__(self, inner: TokenPredictor) -> None:
        self.inner = inner
        self.mask_id, self.vocab_size = inner.mask_id, inner.vocab_size
        self.block_size = inner.block_size

    @property
    def rows(self) -> int:
        """Network rows evaluated so far."""
        return self.inner.rows

    @property
    def micro_batch(self) -> int | None:
        """Rows of one network call at most, where the inner denoiser has such a bound."""
        return getattr(self.inner, "micro_batch", None)

    @micro_batch.setter
    def micro_batch(self, rows: int | None) -> None:
        self.inner.micro_batch = rows  # type: ignore[attr-defined]

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """Trunk output (B, L, D) at x."""
        return self.inner(self.read(x), k)

    def recall(self, x: TokenState, k: int | Tensor) -> tuple[Tensor, Any]:
        """The same, and what the inner denoiser keeps of finished blocks."""
        return recalled(self.inner, self.read(x), k)

    def read(self, x: TokenState) -> TokenState:
        """The rows as the inner denoiser sees them."""
        return x

    def log_probs(self, trunk: Tensor) -> Tensor:
        """(B, M, D) -> (B, M, V) float32 normalised log-probabilities, MASK = -inf."""
        return self.inner.log_probs(trunk)
