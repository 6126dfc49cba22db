"""Rows whose end is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.networks.approximate_cache import ApproximateDenoiser
from scidiff.networks.token_denoiser import TokenDenoiser


class BeforeTheEnd:
    """A token denoiser for rows whose end is given: p(token | neither EOS nor PAD).

    What a row hides lies before its end, where a trained network leaves these two a little
    probability; drawn, they would cut off the rest of the row.
    """

    def __init__(self, inner: TokenDenoiser | ApproximateDenoiser, device: torch.device) -> None:
        self.inner, self.mask_id, self.vocab_size = inner, inner.mask_id, inner.vocab_size
        self.block_size, self.ends = inner.block_size, torch.tensor([PAD, EOS], device=device)

    @property
    def rows(self) -> int:
        return self.inner.rows

    @property
    def micro_batch(self) -> int | None:
        return self.inner.micro_batch

    @micro_batch.setter
    def micro_batch(self, rows: int | None) -> None:
        self.inner.micro_batch = rows

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """Trunk output (B, L, D) at x."""
        return self.inner(x, k)

    def recall(self, x: TokenState, k: int | Tensor) -> tuple[Tensor, Any]:
        """The same, and what the network keeps."""
        return self.inner.recall(x, k)

    def log_probs(self, trunk: Tensor) -> Tensor:
        """(B, M, D) -> (B, M, V) float32, normalised over the symbols."""
        log_p = self.inner.log_probs(trunk)
        return log_p.index_fill(-1, self.ends, float("-inf")).log_softmax(-1)
