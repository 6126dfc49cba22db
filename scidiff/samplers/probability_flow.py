"""The probability-flow ODE of a denoiser, dx~ / dlambda = D - x~, as an ordinary differential
equation on flat rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from scidiff.processes.gaussian import Component, Continuous, ContinuousDenoiser, Parts, per_row
from scidiff.processes.schedules import Schedule, alpha
from scidiff.samplers.runge_kutta import integrate

X = TypeVar("X", bound=Continuous)


class Flow(Generic[X]):
    """The flow of one batch: x~ = x / alpha of all components side by side, (B, n) float64,
    against r = log t.

    dx~_c / dr = (D_c - x~_c) t dlambda_c / dt (Song et al. 2021, eq. 13 in the frame x~). log t
    spreads the steps over a VP schedule, whose lambda runs like -log t near the data, and costs no
    inversion of lambda. `like` gives the shapes, the masks and the dtype the network sees.
    """

    def __init__(self, denoiser: ContinuousDenoiser[X], like: X) -> None:
        self.denoiser, self.like = denoiser, like
        self.components = denoiser.components
        self.sizes = [part[0].numel() for part in like.parts]
        self.free = [  # (B, n_c): the diagonal of the projection, > 0 on free coordinates
            free_share(c, part, like.mask)
            for c, part in zip(self.components, like.parts, strict=True)
        ]

    def pack(self, parts: Parts, t: float) -> Tensor:
        """x at time t -> x~ (B, n) float64."""
        now = torch.tensor(t, dtype=torch.float64)
        return torch.cat(
            [
                part.double().flatten(1) / alpha(c.schedule, now)
                for c, part in zip(self.components, parts, strict=True)
            ],
            1,
        )

    def unpack(self, y: Tensor, t: Tensor) -> Parts:
        """x~ (B, n) -> x at times t (B,), in the dtype of the state."""
        columns = y[:, : sum(self.sizes)].split(self.sizes, 1)
        return tuple(
            per_row(alpha(c.schedule, t), part) * column.reshape(part.shape).to(part)
            for c, column, part in zip(self.components, columns, self.like.parts, strict=True)
        )

    def rates(self, t: Tensor) -> list[Tensor]:
        """t dlambda_c / dt (B,) of every component."""
        return [t * slope(c.schedule, t) for c in self.components]

    def velocity(self, r: Tensor, y: Tensor) -> Tensor:
        """dx~ / dr (B, n)."""
        t = r.exp()
        x = self.unpack(y, t)
        guesses = self.denoiser(self.like.moved(x), t)
        drift = torch.cat([guess.double().flatten(1) for guess in guesses], 1) - y
        return drift * self.spread(self.rates(t))

    def spread(self, values: Sequence[Tensor]) -> Tensor:
        """One value (B,) a component -> (B, n)."""
        return torch.cat(
            [v[:, None].expand(-1, size) for v, size in zip(values, self.sizes, strict=True)], 1
        )

    def follow(self, x: X, times: Tensor, tol: float = 1e-8) -> list[Parts]:
        """Where the flow from x at times[0] passes at each of `times`, the first included."""
        y, path = self.pack(x.parts, float(times[0])), [x.parts]
        counts = torch.cat(self.free, 1) > 0
        for s, t in zip(times.tolist(), times.tolist()[1:], strict=False):
            y = integrate(
                self.velocity, y, math.log(s), math.log(t), tol=tol, counts=counts, share=0.5
            )
            path.append(self.unpack(y, torch.full_like(y[:, 0], t)))
        return path


def slope(schedule: Schedule, t: Tensor) -> Tensor:
    """dlambda / dt = -g^2 / (2 sigma^2)."""
    return -schedule.diffusion(t) / (2 * schedule.sigma(t) ** 2)


def free_share(component: Component, like: Tensor, mask: Tensor | None) -> Tensor:
    """Diagonal of the noise projection P (B, n) float64: its sum is the number of free
    coordinates, tr P.

    1 on present entries (iid), 1 above the diagonal (symmetric), 1 - 1 / n (centred).
    """
    flat = torch.zeros_like(like, dtype=torch.float64).flatten(1)
    diagonal = [_unit_image(component, flat, i, like, mask)[:, i] for i in range(flat.shape[1])]
    return torch.stack(diagonal, 1)


def _unit_image(
    component: Component, zeros: Tensor, i: int, like: Tensor, mask: Tensor | None
) -> Tensor:
    unit = zeros.clone()
    unit[:, i] = 1
    return component.project(unit.reshape(like.shape), mask).flatten(1)
