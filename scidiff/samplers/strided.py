"""A sampler whose step is several steps of another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from scidiff.core import Rng, Sampler


class StridedSampler:
    """Take `stride` steps of `inner` as one; the law of the result is inner's own.

    Candidates that branch from a parent then differ by a whole stretch of text or time before they
    are compared: for a chain that writes one token a step, a look-ahead tells stretches apart far
    better than single tokens (look-ahead at block ends). A `log_ratio` that the inner steps report
    is summed over the stretch.
    """

    def __init__(self, inner: Sampler[Any], stride: int) -> None:
        if stride < 1:
            raise ValueError(f"stride must be at least 1, got {stride}")
        self.inner, self.stride = inner, stride
        self.num_steps, self.stochastic = -(-inner.num_steps // stride), inner.stochastic
        self.denoiser = getattr(inner, "denoiser", None)

    def init(self, n: int, rng: Rng) -> Any:
        return self.inner.init(n, rng)

    def step(self, x: Any, k: int | Tensor, rng: Rng) -> Any:
        """Steps k * stride .. (k + 1) * stride of the inner sampler, or up to its end."""
        ratios = []
        for j in range(self.stride):
            place = k * self.stride + j
            if isinstance(place, int) and place >= self.inner.num_steps:
                break
            x = self.inner.step(x, place, rng)
            ratios.append(getattr(x, "log_ratio", None))
        told = [ratio for ratio in ratios if ratio is not None]
        return replace(x, log_ratio=torch.stack(told).sum(0)) if told else x

    def predict_clean(self, x: Any, k: int | Tensor, rng: Rng) -> Any:
        return self.inner.predict_clean(x, self._place(k), rng)

    def renoise(self, clean: Any, k: int, rng: Rng) -> Any:
        return self.inner.renoise(clean, self._place(k), rng)  # type: ignore[attr-defined]

    def _place(self, k: int | Tensor) -> int | Tensor:
        """The inner step that k stands for."""
        if isinstance(k, int):
            return min(k * self.stride, self.inner.num_steps)
        return (k * self.stride).clamp(max=self.inner.num_steps)
