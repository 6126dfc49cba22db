"""What a token sampler starts from: MASK where a token is to be generated, given tokens elsewhere,
PAD behind the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.data.tokens import EOS, PAD


class Canvas(Protocol):
    """The prior of a token sampler."""

    length: int  # L
    max_masked: int  # the most positions any row can have to generate

    def __call__(self, n: int, rng: Rng) -> Tensor:
        """Draw ids (n, L) int64 on the generator's device."""
        ...

    def free(self, clean: Tensor) -> Tensor:
        """Which positions of finished rows (B, L) this canvas generates, (B, L) bool."""
        ...


class FixedCanvas:
    """Given rows: ids (1, L) for every particle, or (R, L) rows taken in order, each for n / R
    consecutive particles.

    A row with some tokens given is infilling: they are kept as they are.
    """

    def __init__(self, ids: Tensor, mask_id: int) -> None:
        if ids.ndim != 2 or ids.dtype != torch.int64 or not ids.numel():
            raise ValueError(
                f"ids must be (R, L) int64, not empty, got {tuple(ids.shape)} {ids.dtype}"
            )
        self.ids, self.hidden = ids, ids == mask_id
        self.length, self.max_masked = ids.shape[1], int(self.hidden.sum(1).max())
        self._one_pattern = bool((self.hidden == self.hidden[:1]).all())

    @classmethod
    def blank(cls, length: int, mask_id: int) -> FixedCanvas:
        """Hide all `length` positions."""
        return cls(torch.full((1, length), mask_id), mask_id)

    def __call__(self, n: int, rng: Rng) -> Tensor:
        if n % len(self.ids):
            raise ValueError(f"n must be a multiple of the canvas's {len(self.ids)} rows, got {n}")
        return self.ids.to(rng.device).repeat_interleave(n // len(self.ids), 0)

    def free(self, clean: Tensor) -> Tensor:
        if not self._one_pattern:
            raise ValueError(
                f"the {len(self.ids)} canvas rows hide different positions, so which ones a row "
                "may regenerate is unknown; build one sampler per canvas row"
            )
        return self.hidden[:1].to(clean.device).expand(clean.shape)


class LengthLaw:
    """Draw a length n with probability counts[n] / sum(counts): n MASK, EOS, PAD to `length`."""

    def __init__(
        self, counts: Sequence[float] | Tensor, mask_id: int, length: int | None = None
    ) -> None:
        weights = torch.as_tensor(counts, dtype=torch.float64)
        finite = weights.ndim == 1 and bool((weights.isfinite() & (weights >= 0)).all())
        if not finite or weights.sum() <= 0:
            raise ValueError(f"counts must be non-negative, not all 0, got {weights.tolist()}")
        self.max_masked = int(weights.nonzero().max())
        self.length = self.max_masked + 1 if length is None else length
        if self.length <= self.max_masked:
            raise ValueError(
                f"length must be at least {self.max_masked + 1}, the longest row and its EOS, "
                f"got {self.length}"
            )
        self.mask_id = mask_id
        self._cdf = weights[: self.max_masked + 1].cumsum(0) / weights.sum()

    def __call__(self, n: int, rng: Rng) -> Tensor:
        u = uniform((n, 1), rng)
        drawn = torch.searchsorted(self._cdf.to(u.device), u.double(), right=True)
        size = drawn.clamp(max=self.max_masked)  # a cdf that sums to 1 - 1e-16 must not run over
        position = torch.arange(self.length, device=u.device)
        return torch.where(position < size, self.mask_id, torch.where(position == size, EOS, PAD))

    def free(self, clean: Tensor) -> Tensor:
        return (clean == EOS).cumsum(1) == 0
