"""Rows whose end is given."""

from __future__ import annotations

import torch
from torch import Tensor

from scidiff.data.tokens import EOS, PAD
from scidiff.samplers.predictions import TokenPredictor
from scidiff.samplers.wrapped import Wrapped


class BeforeTheEnd(Wrapped):
    """A token denoiser for rows whose end is given: p(token | neither EOS nor PAD).

    What a row hides lies before its end, where a trained network leaves these two a little
    probability; drawn, they would cut off the rest of the row.
    """

    def __init__(self, inner: TokenPredictor, device: torch.device) -> None:
        super().__init__(inner)
        self.ends = torch.tensor([PAD, EOS], device=device)

    def log_probs(self, trunk: Tensor) -> Tensor:
        """(B, M, D) -> (B, M, V) float32, normalised over the symbols."""
        log_p = self.inner.log_probs(trunk)
        return log_p.index_fill(-1, self.ends, float("-inf")).log_softmax(-1)
