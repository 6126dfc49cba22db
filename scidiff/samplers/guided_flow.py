"""Classifier-free guidance of discrete flow with noise that is no mask.

With absorbing noise a step draws from the prediction itself, so bending predictions
(`compose.ClassifierFree`) bends the step. With uniform noise a step mixes the prediction with what
the noise allows; there the one-step laws themselves are extrapolated (D-CFG, Schiff et al. 2024,
arXiv 2412.10193, eq. 7).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.data.tokens import FIRST_SYMBOL, TokenState
from scidiff.processes.flow_bounds import symbols_only
from scidiff.samplers.compose import ClassifierFree, extrapolated
from scidiff.samplers.discrete_flow import DiscreteFlowSampler
from scidiff.samplers.orders import race


class GuidedFlow:
    """A discrete flow that draws x_s, position by position, from

        q_u(x_s | x_t)^(1 - w) q_c(x_s | x_t)^w / Z,
        q(x_s | x_t) = sum_x0 p(x0 | x_t) K(x_s; x_t, x0),

    with K the kernel of the flow inside, whose denoiser is a `ClassifierFree`. Weight 0 and 1 draw
    what the flow draws unasked and asked. `log_ratio` is the sum of log Z over what was drawn:
    weights of `guided_sample` are exact for the product of the bent kernels along the path, as
    they are before normalising. A step costs a kernel a symbol, and no more network rows than
    bending the prediction does.
    """

    stochastic = True

    def __init__(self, inner: DiscreteFlowSampler) -> None:
        if not isinstance(inner.denoiser, ClassifierFree):
            raise ValueError(
                "GuidedFlow takes a flow whose denoiser is ClassifierFree, got "
                f"{type(inner.denoiser).__name__}"
            )
        self.inner, self.denoiser, self.guided = inner, inner.denoiser, inner.denoiser
        self.canvas, self.num_steps = inner.canvas, inner.num_steps

    def init(self, n: int, rng: Rng) -> TokenState:
        """Draw noise where the canvas is hidden."""
        return self.inner.init(n, rng)

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw x_s from the bent one-step law, then evaluate the networks."""
        bent = self.log_kernel(x, k)
        free = self.canvas.free(x.ids) & (self.inner.time(k, x.ids) > 0)[..., 0]
        ids = torch.where(free, race(bent, rng), x.ids)
        total = torch.where(free, bent.double().logsumexp(-1), 0.0)
        return self.inner.arrive(replace(x, ids=ids, log_ratio=total.sum(1)), k + 1)

    def log_kernel(self, x: TokenState, k: int | Tensor) -> Tensor:
        """log q_u + w (log q_c - log q_u) of every position, before it is normalised
        (B, L, V)."""
        if x.trunk is None:
            raise ValueError("the state stores no prediction; make it with init or step")
        told, plain, weight = self.guided.both(x.trunk.dense())
        return extrapolated(self._one_step(x, told, k), self._one_step(x, plain, k), weight)

    def _one_step(self, x: TokenState, log_p: Tensor, k: int | Tensor) -> Tensor:
        """log sum_x0 p(x0 | x_t) K(x_s; x_t, x0), (B, L, V); the end of a row is given."""
        t, s = self.inner.time(k, x.ids), self.inner.time(k + 1, x.ids)
        p, law = symbols_only(log_p).softmax(-1), self.inner.law.at(x.ids)
        out = torch.zeros_like(p)
        for symbol in range(FIRST_SYMBOL, self.denoiser.mask_id):
            x0 = torch.full_like(x.ids, symbol)
            out = out + p[..., [symbol]] * self.inner.kernel(x.ids, x0, t, s, law)
        return out.log()

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw from the bent prediction."""
        return self.inner.predict_clean(x, k, rng)

    def renoise(self, clean: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Noise as the flow inside does."""
        return self.inner.renoise(clean, k, rng)
