"""Gaussian noise on a state made of components, each with its own schedule, noise projection and
mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from scidiff.core import Rng, State, normal, uniform
from scidiff.processes.schedules import Schedule, alpha

Parts = tuple[Tensor, ...]  # one tensor (B, ...) a component


class Continuous(State, Protocol):
    """A state of continuous components: what the Gaussian process and sampler ask of it."""

    @property
    def parts(self) -> Parts:
        """Where the particles are, one tensor (B, ...) a component."""
        ...

    @property
    def mask(self) -> Tensor | None:
        """(B, N) bool, True where there is a node; None where there is nothing to pad."""
        ...

    @property
    def guesses(self) -> tuple[Parts, ...]:
        """Clean guesses of the network, the newest first: at this place, at the place before,
        ..."""
        ...

    def moved(self, parts: Parts, guesses: tuple[Parts, ...] = ()) -> Self:
        """Copy the state to another place; masks and conditions stay."""
        ...


X = TypeVar("X", bound=Continuous)

# ---------------------------------------------------------------- projections on free coordinates

Projection = Callable[[Tensor, Tensor | None], Tensor]


def iid(z: Tensor, mask: Tensor | None) -> Tensor:
    """Independent noise on every entry (B, N, F) of a present node."""
    return z if mask is None else z * mask[..., None]


def symmetric(z: Tensor, mask: Tensor | None) -> Tensor:
    """Symmetric noise (B, N, N) with a zero diagonal: n (n - 1) / 2 free normals of variance 1."""
    z = z.triu(1)
    z = z + z.mT
    return z if mask is None else z * (mask[:, :, None] & mask[:, None, :])


def centred(z: Tensor, mask: Tensor | None) -> Tensor:
    """Noise (B, N, 3) whose mean over the present nodes is zero: 3 (n - 1) free normals (Hoogeboom
    et al. 2022)."""
    if mask is None:
        return z - z.mean(1, keepdim=True)
    present = mask[..., None]
    z = z * present
    return (z - z.sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp(min=1)) * present


# ---------------------------------------------------------------- components and the process


def per_row(coefficient: Tensor, like: Tensor) -> Tensor:
    """Shape a coefficient () or (B,) so that it multiplies `like` (B, ...) row by row, in its
    dtype."""
    return coefficient.to(like).reshape(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True)
class Component:
    """One part of a state: its schedule and what its noise looks like."""

    schedule: Schedule
    project: Projection = iid

    def noise(self, like: Tensor, mask: Tensor | None, rng: Rng) -> Tensor:
        """Draw standard noise of the shape, dtype and device of `like`."""
        return self.project(normal(like.shape, rng).to(like), mask)

    def perturb(self, x0: Tensor, t: Tensor, z: Tensor) -> Tensor:
        """x_t = alpha_t x0 + sigma_t z at times t () or (B,)."""
        return per_row(alpha(self.schedule, t), x0) * x0 + per_row(self.schedule.sigma(t), x0) * z


@dataclass(frozen=True)
class GaussianProcess:
    """Denoising score matching on every component at one common time.

    The loss of a row is 1/2 sum |sigma_t score + z|^2 over the entries of all components, t ~
    U(t_min, 1) (Song et al. 2021, eq. 7 with weight sigma^2), written with the clean guess:
    sigma_t score + z = alpha_t (D - x0) / sigma_t.
    """

    components: tuple[Component, ...]
    t_min: float = 1e-5

    def noise(self, x0: X, t: Tensor, rng: Rng) -> X:
        """Draw x_t given x0 at times t (B,)."""
        return x0.moved(
            tuple(
                c.perturb(part, t, c.noise(part, x0.mask, rng))
                for c, part in zip(self.components, x0.parts, strict=True)
            )
        )

    def losses(self, denoiser: Callable[[X, Tensor], Parts], x0: X, rng: Rng) -> Parts:
        """Unreduced loss (B,) of each component, for a denoiser (x_t, t) -> clean guesses."""
        first = x0.parts[0]
        t = self.t_min + (1 - self.t_min) * uniform((len(x0),), rng).to(first.device)
        guess = denoiser(self.noise(x0, t, rng), t)
        return tuple(
            _weighted_error(c.schedule, d, part, t)
            for c, d, part in zip(self.components, guess, x0.parts, strict=True)
        )

    def loss(self, denoiser: Callable[[X, Tensor], Parts], x0: X, rng: Rng) -> Tensor:
        """Unreduced loss (B,), summed over components."""
        return torch.stack(self.losses(denoiser, x0, rng)).sum(0)


def _weighted_error(schedule: Schedule, guess: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    weight = alpha(schedule, t) / schedule.sigma(t)
    return (per_row(weight, x0) * (guess - x0)).square().flatten(1).sum(1) / 2
