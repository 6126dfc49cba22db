"""Discrete flow trained by a bound on -log p, in nats: uniform diffusion in continuous time, D3PM
in discrete time, and both for any other law of noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scidiff.core import Rng, Stacked
from scidiff.data.tokens import FIRST_SYMBOL, TokenState
from scidiff.processes.discrete_flow import TimedTokenNetwork, TokenNoise, eligible, replace_tokens
from scidiff.processes.hiding import stratified
from scidiff.processes.noise_levels import LogLinear, NoiseLevel, Power
from scidiff.processes.reverse_laws import (
    evidence,
    jump_rates,
    one_hot,
    posterior,
    with_evidence,
)


@dataclass(frozen=True)
class Noisy(Stacked):
    """Rows with some tokens replaced by noise."""

    clean: Tensor  # (B, L) int64
    noisy: Tensor  # (B, L) int64
    t: Tensor  # (B,) how much is noise
    s: Tensor  # (B,) the time of the next step, t itself in continuous time
    weight: Tensor  # (B,) of the row's cost

    def cut(self, width: int) -> Noisy:
        """The first `width` positions: what is behind the end of every row says nothing."""
        return replace(self, clean=self.clean[:, :width], noisy=self.noisy[:, :width])

    def relative(self, true: Tensor, told: Tensor) -> Tensor:
        """sum of true log(true / told) over tokens, (B, L) of (B, L, V); 0 at the end of a row,
        of which the network says nothing."""
        asked = (true > 0) & eligible(self.clean)[..., None]
        ratio = torch.where(asked, true, 1.0) / torch.where(asked, told, 1.0)
        return (true * ratio.log()).sum(-1)

    def total(self, errors: Tensor) -> Tensor:
        """The weighted sum (B,) of errors (B, L) of symbols."""
        return torch.where(eligible(self.clean), errors, 0.0).sum(1) * self.weight


@dataclass(frozen=True)
class JumpBound:
    """The bound in continuous time: the jumps of the reversed noise against those that the network
    expects (Campbell et al. 2022, arXiv 2205.14987, proposition 2; with uniform noise this is the
    loss of UDLM, Schiff et al. 2024, arXiv 2412.10193),

        E_t,x_t sum over positions and y != x_t of  m - q + q log(q / m),

    q the `jump_rates` given x0 and m given the network's law of x0. With absorbing noise it is the
    weighted cross-entropy of masked diffusion.

    The network tells p(x0 at i | x_t elsewhere), which is completed by `with_evidence`: a law that
    were not sure of a clean token at t = 0 would cost infinitely much. A noisy token costs about
    1 / t, so times that are uniform (log-linear) have an infinite variance, times near the data
    (the default) a finite one.
    """

    law: TokenNoise
    schedule: NoiseLevel = Power(2.0)  # where training times lie; the mean is the same for all

    def noise(self, x0: TokenState, t: Tensor, rng: Rng) -> TokenState:
        """Replace each symbol by noise independently with probability t (B,)."""
        return TokenState(replace_tokens(self.law, x0.ids, t, rng))

    def corrupt(self, x0: TokenState, rng: Rng) -> Noisy:
        """Draw what the loss reads."""
        u = stratified(len(x0), rng, x0.ids.device)
        t = self.schedule.rate(u)
        noisy = replace_tokens(self.law, x0.ids, t, rng)
        return Noisy(x0.ids, noisy, t, t, self.schedule.slope(u))

    def cost(self, network: TimedTokenNetwork, x: Noisy) -> Tensor:
        """The loss (B,) of what was drawn."""
        law, t = self.law.at(x.clean).double(), x.t[:, None, None]
        guess = clean_law(network, x, self.law).exp()
        expected = jump_rates(x.noisy, guess, t, law)
        true = jump_rates(x.noisy, one_hot(x.clean, law), t, law)
        return x.total((expected - true).sum(-1) + x.relative(true, expected))

    def loss(self, network: TimedTokenNetwork, x0: TokenState, rng: Rng) -> Tensor:
        return self.cost(network, self.corrupt(x0, rng)).float()


@dataclass(frozen=True)
class StepBound:
    """The bound of a chain of `steps` steps (D3PM, Austin et al. 2021, arXiv 2107.03006, eq. 1):

        T E_t,x_t KL(q(x_s | x_t, x0) || sum over x0' of p(x0' | x_t) q(x_s | x_t, x0')),

    which at s = 0 is -log p(x0 | x_t). What it bounds is the law of `DiscreteFlowSampler` with
    `Posterior`, so many steps and the time grid of `schedule`. The network tells p(x0 | x_t), or
    what `with_evidence` completes to it.
    """

    law: TokenNoise
    steps: int
    schedule: NoiseLevel = LogLinear()
    leave_one_out: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def noise(self, x0: TokenState, t: Tensor, rng: Rng) -> TokenState:
        """Replace each symbol by noise independently with probability t (B,)."""
        return TokenState(replace_tokens(self.law, x0.ids, t, rng))

    def corrupt(self, x0: TokenState, rng: Rng) -> Noisy:
        """Draw what the loss reads."""
        step = (stratified(len(x0), rng, x0.ids.device) * self.steps).long() + 1
        t, s = (self.schedule.rate(k.double() / self.steps) for k in (step, step - 1))
        noisy = replace_tokens(self.law, x0.ids, t, rng)
        return Noisy(x0.ids, noisy, t, s, torch.full_like(t, self.steps))

    def cost(self, network: TimedTokenNetwork, x: Noisy) -> Tensor:
        """The loss (B,) of what was drawn."""
        law, t, s = self.law.at(x.clean).double(), x.t[:, None, None], x.s[:, None, None]
        guess = clean_law(network, x, self.law if self.leave_one_out else None).exp()
        true = posterior(x.noisy, one_hot(x.clean, law), t, s, law)
        told = posterior(x.noisy, guess, t, s, law)
        return x.total(x.relative(true, told))

    def loss(self, network: TimedTokenNetwork, x0: TokenState, rng: Rng) -> Tensor:
        return self.cost(network, self.corrupt(x0, rng)).float()


def clean_law(network: TimedTokenNetwork, x: Noisy, law: TokenNoise | None) -> Tensor:
    """log p(x0 | x_t) (B, L, V), float64, over symbols alone as samplers draw them; with `law` the
    network tells it from the other positions, and it is completed here."""
    told = symbols_only(network.log_probs(network.bidirectional(x.noisy, x.t.float()))).double()
    if law is None:
        return told.log_softmax(-1)
    said = evidence(x.noisy, x.t[:, None, None], law.at(x.clean).double())
    return with_evidence(told, x.noisy, said)


def symbols_only(told: Tensor) -> Tensor:
    """Log-weights (..., V) with none left for PAD and EOS: the end of a row is given."""
    ends = torch.arange(told.shape[-1], device=told.device) < FIRST_SYMBOL
    return told.masked_fill(ends, float("-inf"))
