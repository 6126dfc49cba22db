"""What a sampler made of a masked sampler hands on to it."""

from __future__ import annotations

from torch import Tensor

from scidiff.core import Rng
from scidiff.data.tokens import TokenState
from scidiff.samplers.canvas import Canvas
from scidiff.samplers.masked import MaskedSampler, told_rows
from scidiff.samplers.predictions import TokenPredictor


class Around:
    """The start, the steps to go and what is hidden again are the inner sampler's; a subclass
    changes `step`, `predict_clean` or both."""

    def __init__(self, inner: MaskedSampler) -> None:
        self.inner = inner
        self.num_steps, self.stochastic = inner.num_steps, inner.stochastic

    @property
    def denoiser(self) -> TokenPredictor:
        return self.inner.denoiser

    @property
    def canvas(self) -> Canvas:
        return self.inner.canvas

    @property
    def condition(self) -> Tensor | None:
        return self.inner.condition

    @condition.setter
    def condition(self, rows: Tensor) -> None:
        self.inner = told_rows(self.inner, rows)

    def init(self, n: int, rng: Rng) -> TokenState:
        """Draw n rows of the canvas and evaluate the network there."""
        return self.inner.init(n, rng)

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Step as the inner sampler does."""
        return self.inner.step(x, k, rng)

    def renoise(self, clean: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Hide again as the inner sampler does."""
        return self.inner.renoise(clean, k, rng)
