"""Gaussian noise on a state made of components, each with its own schedule, noise projection and
mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

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


X_in = TypeVar("X_in", bound=Continuous, contravariant=True)


class ContinuousDenoiser(Protocol[X_in]):
    """A network with its schedules: the clean guess D = E[x0 | x_t] of every component."""

    components: tuple[Component, ...]
    rows: int  # network rows evaluated so far

    def __call__(self, x: X_in, t: Tensor, /) -> Parts:
        """Guess the clean parts from x at time t, () or (B,)."""
        ...


class Centred(Generic[X]):
    """Noise that returns to mu, x_t = alpha x0 + (1 - alpha) mu + sigma z, seen through y_t =
    x_t - (1 - alpha) mu.

    `denoiser` guesses x0 from x; this one guesses it from y, whose process is the plain one with
    the same schedule. So train and sample this one: GaussianProcess, solvers and correctors stay
    as they are, and y is x where no noise is left. centres: mu of each component, of a shape that
    broadcasts to its part; None where there is none.
    """

    def __init__(self, denoiser: ContinuousDenoiser[X], centres: Sequence[Tensor | None]) -> None:
        if len(centres) != len(denoiser.components):
            raise ValueError(
                f"centres must be one tensor or None a component, {len(denoiser.components)} in "
                f"all, got {len(centres)}"
            )
        self.denoiser, self.centres = denoiser, tuple(centres)
        self.components = denoiser.components

    @property
    def rows(self) -> int:
        return self.denoiser.rows

    @rows.setter
    def rows(self, value: int) -> None:
        self.denoiser.rows = value

    def __call__(self, y: X, t: Tensor) -> Parts:
        """Guess the clean parts from y at time t, () or (B,)."""
        return self.denoiser(y.moved(self.places(y, t), y.guesses), t)

    def places(self, y: X, t: Tensor) -> Parts:
        """x = y + (1 - alpha_t) mu of every component; padding stays zero."""
        return tuple(
            part if mu is None else part + _pull(c, mu, part, y.mask, t)
            for c, mu, part in zip(self.components, self.centres, y.parts, strict=True)
        )


def _pull(
    component: Component, mu: Tensor, part: Tensor, mask: Tensor | None, t: Tensor
) -> Tensor:
    away = per_row(-torch.expm1(component.schedule.log_alpha(t)), part)
    return away * component.project(mu.to(part).expand_as(part), mask)


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
