"""The reverse chain of Gaussian components, one network evaluation a step, driven by solver
tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.processes.gaussian import Continuous, ContinuousDenoiser, Parts, per_row
from scidiff.processes.schedules import alpha
from scidiff.samplers.predictions import handed_out
from scidiff.samplers.schemes import make_scheme
from scidiff.samplers.tables import Scheme

X = TypeVar("X", bound=Continuous)


class GaussianSampler(Generic[X]):
    """Solve dx~ = (1 + eta)(D - x~) dlambda + sqrt(2 eta) rho e^-lambda dw for every component of
    a state.

    canvas: (n, rng) -> blank states; their parts give the shapes, their masks what is free.
    solver: a name in `schemes.SOLVERS`; by default 2m for eta <= 1, exp1 above. eta: 0 is the ODE,
    1 the reverse SDE, above 1 it also equilibrates. rho: noise temperature. times: the nodes
    (steps + 1,) or the name of a grid, by default the solver's own. scheme: ready rows, instead of
    all these. denoise: end on the clean guess at the last node instead of on the node itself. A
    solver that asks the network twice a step (2s, heun) makes two of this protocol's steps of one.
    `condition` (R, C), where it is set, is what n / R rows each are asked to be like; the canvas
    then draws its rows by `asked`.

    ValueError: steps and a scheme, neither, or what `make_scheme` refuses.
    """

    def __init__(
        self,
        denoiser: ContinuousDenoiser[X],
        canvas: Callable[[int, Rng], X],
        *,
        steps: int | None = None,
        solver: str | None = None,
        eta: float = 1.0,
        rho: float = 1.0,
        times: str | Tensor | Sequence[float] | None = None,
        scheme: Scheme | None = None,
        denoise: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        schedules = [c.schedule for c in denoiser.components]
        if steps is not None and scheme is None:
            scheme = make_scheme(solver, schedules, steps, eta, rho, times)
        elif steps is not None or scheme is None:
            raise ValueError(f"give steps or a scheme, got steps={steps} and scheme={scheme}")
        self.denoiser, self.canvas, self.denoise = denoiser, canvas, denoise
        self.condition: Tensor | None = None
        self.num_steps, self.stochastic = len(scheme.times) - 1, scheme.stochastic
        self.history = scheme.tables[0].w.shape[1]
        stay = torch.cat([scheme.times, scheme.times[-1:]])  # where a finished particle goes
        self.times = stay.to(device)
        self._levels = [(alpha(s, self.times), s.sigma(self.times)) for s in schedules]
        self.tables = tuple(t.finished().stacked().to(device) for t in scheme.tables)

    @property
    def evaluations(self) -> int:
        """Network calls of a whole run."""
        return self.num_steps + self.denoise

    def init(self, n: int, rng: Rng) -> X:
        """Draw n particles from the prior N(0, prior_std^2) of every component."""
        canvas: Any = self.canvas
        told = handed_out(self.condition, n, rng.device)
        blank = canvas(n, rng) if told is None else canvas.asked(told, rng)
        parts = tuple(
            c.schedule.prior_std * c.noise(part, blank.mask, rng)
            for c, part in zip(self.denoiser.components, blank.parts, strict=True)
        )
        return self.arrive(blank.moved(parts), 0)

    def step(self, x: X, k: int | Tensor, rng: Rng) -> X:
        """x <- a x + sum_j w_j D_j + b z from the stored guesses, then one network evaluation at
        the new place."""
        moved = tuple(self._row(x, c, k, rng) for c in range(len(self.tables)))
        x = x.moved(moved, x.guesses)
        if not self.denoise:
            ended = isinstance(k, int) and k + 1 == self.num_steps
            return x if ended else self.arrive(x, k + 1)
        x = self.arrive(x, k + 1)
        return x.moved(_where(k + 1 == self.num_steps, x.guesses[0], x.parts), x.guesses)

    def predict_clean(self, x: X, k: int | Tensor, rng: Rng) -> X:
        """Put the particles on their stored clean guess; at k = num_steps return x. Draws
        nothing."""
        if isinstance(k, int) and k == self.num_steps:
            return x
        return x.moved(_where(k != self.num_steps, x.guesses[0], x.parts), x.guesses)

    def renoise(self, clean: X, k: int, rng: Rng) -> X:
        """Draw x_k given clean parts, x = alpha_k x0 + sigma_k z, and evaluate the network
        there."""
        if k == self.num_steps:
            return clean
        parts = tuple(
            c.perturb(part, self.times[k], c.noise(part, clean.mask, rng))
            for c, part in zip(self.denoiser.components, clean.parts, strict=True)
        )
        return self.arrive(clean.moved(parts), k)

    def arrive(self, x: X, k: int | Tensor) -> X:
        """Evaluate the network at node k and store the guess; a chain without a past repeats it
        (first order)."""
        guess = self.denoiser(x, self.times[k])
        past = x.guesses if x.guesses else (guess,) * self.history
        return x.moved(x.parts, (guess, *past[: self.history - 1]))

    def levels(self, k: int | Tensor, c: int) -> tuple[Tensor, Tensor]:
        """alpha and sigma of component c at node k, each () or (B,) as k is, float64."""
        level, sigma = self._levels[c]
        return level[k], sigma[k]

    def _row(self, x: X, c: int, k: int | Tensor, rng: Rng) -> Tensor:
        part = x.parts[c]
        a, *weights, b = (per_row(column, part) for column in self.tables[c][k].unbind(-1))
        moved = a * part
        for weight, guess in zip(weights, x.guesses, strict=True):
            moved = moved + weight * guess[c]
        if not self.stochastic:
            return moved
        return moved + b * self.denoiser.components[c].noise(part, x.mask, rng)


def _where(condition: bool | Tensor, yes: Parts, no: Parts) -> Parts:
    if isinstance(condition, bool):
        return yes if condition else no
    return tuple(
        torch.where(condition.reshape(-1, *[1] * (y.ndim - 1)), y, n)
        for y, n in zip(yes, no, strict=True)
    )
