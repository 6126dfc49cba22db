"""Ensemble Kalman guidance: particles that agree with a measurement y = G(x0) + noise of any G,
by what they say together and without a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from scidiff.guidance.particles import positive
from scidiff.processes.gaussian import Component, Continuous, ContinuousDenoiser, Parts
from scidiff.processes.schedules import alpha
from scidiff.samplers.probability_flow import free_share

X = TypeVar("X", bound=Continuous)

Observe = Callable[[Any], Tensor]
"""G: clean states -> (B, m); NaN in a row that cannot be measured."""


class EnsembleKalman(Generic[X]):
    """Clean guesses given y = G(x0) + N(0, noise^2), from the cross-covariances of populations of
    `particles` consecutive rows (after ensemble Kalman diffusion guidance, Zheng et al. 2024,
    arXiv 2409.20175).

    With primes for differences from the population's mean, D for the clean guesses and h = G(D),

        D_y = D + D'^T Q h' (h'^T Q h' + noise^2)^-1 (y - h),  Q = (D' x'^T alpha / sigma^2)^+.

    D'^T Q D' is the covariance S of x0 given x_t: by Tweedie's formula dD/dx = S alpha / sigma^2,
    of which a population shows the part that it spans (Nystroem), never more. So no covariance of
    the data is guessed and nothing is tuned, and the correction is a mixture of what particles of
    the population differ in.

    Exact for Gaussian data and linear G once a population has more particles than data have
    directions: the guess is then E[x0 | x_t, y], and any Gaussian sampler draws from p(x0 | y).
    Otherwise an approximation, with no weight that makes up for it: use `guided_sample` with the
    log-likelihood as the reward where the law must be right. Rows are no longer independent, so
    rules that resample or branch do not belong around it, and a population should be of one size.

    y: (m,). noise: its standard deviation, one or (m,). A row whose G is NaN is left as it is and
    out of the others' covariances. ValueError: noise that is not positive, shapes that differ,
    rows that are no whole number of populations, particles at different times.
    """

    def __init__(
        self,
        denoiser: ContinuousDenoiser[X],
        observe: Observe,
        y: Sequence[float] | Tensor,
        noise: float | Sequence[float] | Tensor,
        particles: int,
    ) -> None:
        self.denoiser, self.observe = denoiser, observe
        self.y = torch.as_tensor(y, dtype=torch.float64)
        self.noise = torch.as_tensor(noise, dtype=torch.float64)
        if self.y.ndim != 1 or self.noise.shape not in ((), self.y.shape):
            raise ValueError(
                "y must be (m,) and noise a number or (m,), got "
                f"{tuple(self.y.shape)} and {tuple(self.noise.shape)}"
            )
        if not (self.noise > 0).all():
            raise ValueError(f"noise must be positive, got {self.noise.tolist()}")
        self.particles = positive("particles", particles)
        self.components = denoiser.components
        self._free: dict[tuple[torch.Size, ...], Tensor] = {}

    @property
    def rows(self) -> int:
        """Network rows evaluated so far."""
        return self.denoiser.rows

    def __call__(self, x: X, t: Tensor) -> Parts:
        """Guess the clean parts from x and y at time t ()."""
        if t.ndim:
            raise ValueError(f"a population is at one time, got times of shape {tuple(t.shape)}")
        if len(x) % self.particles:
            raise ValueError(
                f"rows must be whole populations of {self.particles} particles, got {len(x)}"
            )
        guess = self.denoiser(x, t)
        told, ok = self._told(x.moved(guess))
        shares = self._shares(x, guess, told, ok, t)
        return tuple(
            d + c.project(_mixed(shares, d, ok), x.mask)
            for c, d in zip(self.components, guess, strict=True)
        )

    def _told(self, clean: X) -> tuple[Tensor, Tensor]:
        """G of the guesses (P, K, m), 0 where there is none, and which rows have it (P, K, 1)."""
        told = self.observe(clean)
        if told.shape != (len(clean), len(self.y)):
            raise ValueError(
                f"observe must return {(len(clean), len(self.y))}, got {tuple(told.shape)}"
            )
        told = told.detach().double().view(-1, self.particles, len(self.y))
        ok = told.isfinite().all(-1, keepdim=True)
        return torch.where(ok, told, 0.0), ok

    def _shares(self, x: X, guess: Parts, told: Tensor, ok: Tensor, t: Tensor) -> Tensor:
        """How much of particle i's difference goes into the guess of particle j: (P, K, K)."""
        free = self._entries(guess).to(told.device)
        pulls = [
            part.double() * (alpha(c.schedule, t) / c.schedule.sigma(t) ** 2)
            for c, part in zip(self.components, x.parts, strict=True)
        ]
        places, guesses = (
            _apart(torch.cat([v.double().flatten(1) for v in parts], 1), ok)
            for parts in (tuple(pulls), guess)
        )
        inverse = _inverse((places * free) @ guesses.mT, 100 * torch.finfo(guess[0].dtype).eps)
        seen = _apart(told.flatten(0, 1), ok)
        spread = inverse @ seen  # (P, K, m)
        noise = self.noise.to(told).expand(len(self.y)).square().diag()
        missing = torch.where(ok, self.y.to(told) - told, 0.0)
        return spread @ torch.linalg.solve(seen.mT @ spread + noise, missing.mT)

    def _entries(self, parts: Parts) -> Tensor:
        """Which entries of the parts, side by side, are coordinates of their own (n,)."""
        shapes = tuple(part.shape[1:] for part in parts)
        if shapes not in self._free:
            each = [_own(c, part) for c, part in zip(self.components, parts, strict=True)]
            self._free[shapes] = torch.cat(each)
        return self._free[shapes]


def _own(component: Component, part: Tensor) -> Tensor:
    """1 for the entries (n,) that are coordinates of their own, else 0; float64."""
    return (free_share(component, part[:1], None)[0] > 0).double()


def _apart(rows: Tensor, ok: Tensor) -> Tensor:
    """Differences (P, K, n) of rows (P K, n) from the mean of their population's `ok` ones."""
    grouped = rows.view(*ok.shape[:2], -1)
    mean = (grouped * ok).sum(1, keepdim=True) / ok.sum(1, keepdim=True).clamp(min=1)
    return torch.where(ok, grouped - mean, 0.0)


def _mixed(shares: Tensor, guess: Tensor, ok: Tensor) -> Tensor:
    """sum_i shares_ij D'_i of every particle j, as a part (B, ...)."""
    apart = _apart(guess.double().flatten(1), ok)
    return (shares.mT @ apart).view(guess.shape).to(guess)


def _inverse(product: Tensor, tolerance: float) -> Tensor:
    """Pseudo-inverse (P, K, K) of the positive part of a product that would be symmetric and
    positive, were guesses linear; what is below `tolerance` of the largest is rounding."""
    values, vectors = torch.linalg.eigh((product + product.mT) / 2)
    held = (values > tolerance * values[:, -1:]) & (values > 0)
    inverse = torch.where(held, 1 / torch.where(held, values, 1.0), 0.0)
    return (vectors * inverse[:, None]) @ vectors.mT
