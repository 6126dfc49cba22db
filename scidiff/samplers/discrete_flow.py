"""Reverse chains of discrete flow on token rows: every position may change in every step.

A step draws clean tokens x0 from the prediction, position by position, and then x_s from a kernel
that knows them. Positions are drawn independently, so for a finite number of steps the law is
O(1 / steps) away from the network's own; `MaskedSampler` has no such error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scidiff.core import Rng, Shared, uniform
from scidiff.data.tokens import TokenState
from scidiff.processes.discrete_flow import TimedTokenNetwork, TokenNoise, distorted
from scidiff.processes.flow_bounds import symbols_only
from scidiff.processes.reverse_laws import (
    evidence,
    jump_rates,
    one_hot,
    posterior,
    with_evidence,
)
from scidiff.samplers.canvas import Canvas
from scidiff.samplers.masked import TokenPredictor, everywhere, start
from scidiff.samplers.orders import race

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""kernel(x_t (B, L), x0 (B, L), t, s, law (L, V)) -> probabilities (B, L, V) of x_s; t > s are ()
or (B, 1, 1). At s = 0 it is certain of x0."""


class TimedDenoiser:
    """A network that reads the time, as the sampler sees it. Conditions of the state are told to
    the network unless `shown` is False.

    completed_by: the law of noise, for a network that tells p(x0 at i | x_t everywhere but at i)
    (see `processes.reverse_laws.with_evidence`); two more channels of the trunk then hold the
    token that is there and what it says of itself.
    """

    block_size: int | None = None

    def __init__(
        self,
        network: TimedTokenNetwork,
        mask_id: int,
        completed_by: TokenNoise | None = None,
        *,
        shown: bool = True,
    ) -> None:
        self.network, self.mask_id, self.vocab_size = network, mask_id, mask_id + 1
        self.completed_by, self.shown, self.rows = completed_by, shown, 0

    @torch.no_grad()
    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """Trunk output (B, L, D) at x, k being the time () or (B,)."""
        self.rows += len(x)
        t = torch.as_tensor(k, dtype=torch.float32, device=x.ids.device).expand(len(x))
        network: Any = self.network
        if self.shown and x.condition is not None:
            network = network.given(x.condition, torch.ones_like(t, dtype=torch.bool))
        trunk = network.bidirectional(x.ids, t)
        if self.completed_by is None:
            return trunk
        said = evidence(x.ids, t[:, None, None], self.completed_by.at(x.ids))
        return torch.cat([trunk, torch.stack([x.ids.to(trunk), said.to(trunk)], -1)], -1)

    @torch.no_grad()
    def log_probs(self, trunk: Tensor) -> Tensor:
        if self.completed_by is None:
            return self.network.log_probs(trunk)
        told = symbols_only(self.network.log_probs(trunk[..., :-2].contiguous()))
        return with_evidence(told, trunk[..., -2].long(), trunk[..., -1])


@dataclass(frozen=True)
class FlowRate:
    """Follow the jump rates of a flow for one step (Campbell et al. 2024, arXiv 2402.04997; Qin et
    al. 2024, arXiv 2410.04263), which in their time tau = 1 - t, with p = tau 1[x0] + (1 - tau)
    law and dp = 1[x0] - law, are

        R(x, j) = relu(dp_j - dp_x) / (Z p_x) + eta p_j + omega 1[j = x0] / (Z p_x),

    Z being how many tokens have p > 0. `eta` adds jumps in detailed balance with p, which leave
    the law of many steps as it is; `omega` adds jumps to x0 alone, which bias it towards likely
    tokens on purpose.

    The first and last term lead nowhere from x0, and elsewhere p_x = t law_x: their integral over
    the step is log(t / s) times a constant, and a token leaves with probability 1 - exp(-integral)
    (Euler steps R dt would meet the singular 1 / t at the end, and need a cut-off). The eta term
    redraws from p at rate eta, exactly. What is left out are second jumps inside a step: an error
    O(log(steps) / steps), and none for absorbing noise.
    """

    eta: float = 0.0
    omega: float = 0.0

    def __post_init__(self) -> None:
        if not (self.eta >= 0 and self.omega >= 0 and math.isfinite(self.eta + self.omega)):
            raise ValueError(
                f"eta and omega must be finite and not negative, got eta={self.eta} and "
                f"omega={self.omega}"
            )

    def __call__(self, x_t: Tensor, x0: Tensor, t: Tensor, s: Tensor, law: Tensor) -> Tensor:
        here, clean = one_hot(x_t, law), one_hot(x0, law)
        law_x = (law * here).sum(-1, keepdim=True)
        at_x0 = (clean * here).sum(-1, keepdim=True)
        jump = self._jump(here, clean, law, law_x * (1 - at_x0), t, s)
        redraw = -torch.expm1(-self.eta * (t - s))
        moved = (1 - redraw) * jump + redraw * ((1 - s) * clean + s * law)
        # a token that x0 could not have become (absorbing noise: any but x0 and MASK) stays
        moved = torch.where(law_x + at_x0 > 0, moved, here)
        return torch.where(s > 0, moved, clean)

    def _jump(
        self, here: Tensor, clean: Tensor, law: Tensor, away: Tensor, t: Tensor, s: Tensor
    ) -> Tensor:
        """Where a token stands after at most one jump (B, L, V); away is law_x, or 0 at x0."""
        reachable = (law > 0) | (clean > 0)
        pull = torch.relu(clean - law + away) * reachable + self.omega * clean
        pull = pull * (1 - here) / reachable.sum(-1, keepdim=True)
        total = pull.sum(-1, keepdim=True)
        clock = (t / torch.where(s > 0, s, t)).log() / torch.where(away > 0, away, 1.0)
        leave = torch.where(away > 0, -torch.expm1(-clock * total), 0.0)
        return leave * pull / torch.where(total > 0, total, 1.0) + (1 - leave) * here


@dataclass(frozen=True)
class Posterior:
    """Draw from q(x_s | x_t, x0) of the Markov chain with the same marginals: ancestral sampling
    of DiGress (Vignac et al. 2023, arXiv 2209.14734), with any noise law and time grid:

        q(x_s | x_t, x0) ~ q(x_t | x_s) q(x_s | x0),
        q(x_t | x_s) = r 1[x_t = x_s] + (1 - r) law(x_t), r = (1 - t) / (1 - s).

    With absorbing noise this is `AncestralSampler`.
    """

    def __call__(self, x_t: Tensor, x0: Tensor, t: Tensor, s: Tensor, law: Tensor) -> Tensor:
        return posterior(x_t, one_hot(x0, law), t, s, law)


@dataclass(frozen=True)
class EulerJumps:
    """One Euler step of the reversed noise's jump rates (tau-leaping; Campbell et al. 2022,
    arXiv 2205.14987; Lou et al. 2024, arXiv 2310.16834, eq. 18): a token leaves with probability
    (t - s) x its total rate, which is cut at 1. For comparison: `Posterior` costs the same, has no
    such error and never needs the cut. With absorbing noise they agree."""

    def __call__(self, x_t: Tensor, x0: Tensor, t: Tensor, s: Tensor, law: Tensor) -> Tensor:
        here, clean = one_hot(x_t, law), one_hot(x0, law)
        rates = jump_rates(x_t, clean, t.clamp(max=1 - 1e-6), law)  # infinite at t = 1
        total = rates.sum(-1, keepdim=True)
        leave = ((t - s) * total).clamp(max=1.0)
        moved = leave * rates / torch.where(total > 0, total, 1.0) + (1 - leave) * here
        return torch.where(s > 0, moved, clean)


class DiscreteFlowSampler:
    """Go from noise to data in `steps` steps, from t = 1 to t = 0 (our time: 0 is data).

    denoiser: called with (x, t). canvas: MASK where a token is to be generated; given tokens, EOS
    and PAD stay. law: what noise is, as in training. kernel: `FlowRate` or `Posterior`.
    distortion: where the steps lie, see `DISTORTIONS`. condition: (R, C), see `MaskedSampler`. The
    last step draws from the prediction itself.
    """

    stochastic = True

    def __init__(
        self,
        denoiser: TokenPredictor,
        canvas: Canvas,
        law: TokenNoise,
        *,
        steps: int,
        kernel: Kernel | None = None,
        distortion: str = "identity",
        condition: Tensor | None = None,
    ) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if law.laws.shape[1] != denoiser.vocab_size:
            raise ValueError(
                f"law must be over the denoiser's {denoiser.vocab_size} tokens, "
                f"got {law.laws.shape[1]}"
            )
        self.denoiser, self.canvas, self.law = denoiser, canvas, law
        self.condition = condition
        self.kernel, self.num_steps = FlowRate() if kernel is None else kernel, steps
        times = distorted(distortion, torch.arange(steps + 1).double() / steps)
        self.times = torch.cat([times[:-1], times.new_zeros(2)])  # the end stays where it is

    def init(self, n: int, rng: Rng) -> TokenState:
        """Draw noise where the canvas is hidden and evaluate the network there."""
        x = start(self.canvas, self.condition, n, rng)
        hidden = x.ids == self.denoiser.mask_id
        return self.arrive(
            replace(x, ids=torch.where(hidden, self.law.draw(x.ids, rng), x.ids)), 0
        )

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw x0 from the stored prediction and x_s from the kernel, then evaluate the
        network."""
        t, s = self.time(k, x.ids), self.time(k + 1, x.ids)
        law = self.kernel(x.ids, self._clean(x, rng), t, s, self.law.at(x.ids))
        drawn = race(law.log(), rng)
        free = self.canvas.free(x.ids) & (t > 0)[..., 0]
        return self.arrive(replace(x, ids=torch.where(free, drawn, x.ids)), k + 1)

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw every generated position independently from the stored prediction."""
        if isinstance(k, int) and k >= self.num_steps:
            return x
        free = self.canvas.free(x.ids) & (self.time(k, x.ids) > 0)[..., 0]
        return replace(x, ids=torch.where(free, self._clean(x, rng), x.ids), trunk=None)

    def renoise(self, clean: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw x_k given clean rows and evaluate the network there."""
        t = self.time(k, clean.ids)[..., 0]
        noisy = self.canvas.free(clean.ids) & (uniform(clean.ids.shape, rng) < t)
        ids = torch.where(noisy, self.law.draw(clean.ids, rng), clean.ids)
        return self.arrive(replace(clean, ids=ids), k)

    def _clean(self, x: TokenState, rng: Rng) -> Tensor:
        """Clean tokens (B, L); the end of a row is given, so it is not drawn."""
        told = everywhere(self.denoiser, x)
        return race(symbols_only(told), rng)

    def time(self, k: int | Tensor, ids: Tensor) -> Tensor:
        """The time of step k, (1, 1, 1) or (B, 1, 1)."""
        return self.times.to(ids.device, self.law.laws.dtype)[k].reshape(-1, 1, 1)

    def arrive(self, x: TokenState, k: int | Tensor) -> TokenState:
        """Store the network's output at x, at step k; at the end nobody would read it."""
        if isinstance(k, int) and k >= self.num_steps:
            return replace(x, trunk=None)
        t = self.times.to(x.ids.device, torch.float32)[k]
        return replace(x, trunk=Shared(self.denoiser(replace(x, trunk=None), t)))
