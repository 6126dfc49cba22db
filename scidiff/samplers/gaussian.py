"""The reverse chain of Gaussian components, one network evaluation a step, driven by solver
tables."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.processes.gaussian import Component, Continuous, Parts, per_row
from scidiff.processes.schedules import alpha
from scidiff.samplers.tables import EXPONENTIAL, SOLVERS, default_times, make_table

X = TypeVar("X", bound=Continuous)
X_in = TypeVar("X_in", bound=Continuous, contravariant=True)


class ContinuousDenoiser(Protocol[X_in]):
    """A network with its schedules: the clean guess D = E[x0 | x_t] of every component."""

    components: tuple[Component, ...]
    rows: int  # network rows evaluated so far

    def __call__(self, x: X_in, t: Tensor, /) -> Parts:
        """Guess the clean parts from x at time t, () or (B,)."""
        ...


class GaussianSampler(Generic[X]):
    """Solve dx~ = (1 + eta)(D - x~) dlambda + sqrt(2 eta) rho e^-lambda dw for every component of
    a state.

    canvas: (n, rng) -> blank states; their parts give the shapes, their masks what is free.
    solver: exp1, 2m, 3m (exponential rows of order 1, 2, 3), euler, reverse; by default 2m for eta
    <= 1, exp1 above (an extrapolated guess amplifies what is injected). eta: 0 is the ODE, 1 the
    reverse SDE, above 1 it also equilibrates. rho: noise temperature. times: the nodes (steps +
    1,), by default from 1 to 1e-4, see `default_times`. denoise: end on the clean guess at the
    last node instead of on the node itself.
    """

    def __init__(
        self,
        denoiser: ContinuousDenoiser[X],
        canvas: Callable[[int, Rng], X],
        *,
        steps: int,
        solver: str | None = None,
        eta: float = 1.0,
        rho: float = 1.0,
        times: Tensor | None = None,
        denoise: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        solver = ("2m" if eta <= 1 else "exp1") if solver is None else solver
        _check(solver, steps, eta, rho)
        if times is None:
            times = default_times(solver, [c.schedule for c in denoiser.components], steps)
        times = _checked_times(times.double().cpu(), steps)
        self.denoiser, self.canvas, self.denoise = denoiser, canvas, denoise
        self.num_steps, self.stochastic = steps, eta > 0 and rho > 0
        self.history = EXPONENTIAL.get(solver, 1)
        stay = torch.cat([times, times[-1:]])  # where a finished particle goes
        self.times = stay.to(device)
        self.tables = tuple(
            _checked_table(
                make_table(solver, c.schedule, times, eta, rho).finished().stacked(), solver, times
            ).to(device)
            for c in denoiser.components
        )

    def init(self, n: int, rng: Rng) -> X:
        """Draw n particles from the prior N(0, prior_std^2) of every component."""
        blank = self.canvas(n, rng)
        parts = tuple(
            c.schedule.prior_std * c.noise(part, blank.mask, rng)
            for c, part in zip(self.denoiser.components, blank.parts, strict=True)
        )
        return self.arrive(blank.moved(parts), 0)

    def step(self, x: X, k: int | Tensor, rng: Rng) -> X:
        """x <- a x + sum_j w_j D_j + b z from the stored guesses, then one network evaluation at
        the new place."""
        moved = tuple(self._row(x, c, k, rng) for c in range(len(self.tables)))
        x = self.arrive(x.moved(moved, x.guesses), k + 1)
        if not self.denoise:
            return x
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
        """alpha and sigma of component c at node k, float64."""
        schedule = self.denoiser.components[c].schedule
        return alpha(schedule, self.times[k]), schedule.sigma(self.times[k])

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


def _check(solver: str, steps: int, eta: float, rho: float) -> None:
    if solver not in SOLVERS:
        near = difflib.get_close_matches(solver, SOLVERS, 1)
        raise ValueError(
            f"unknown solver {solver!r}; expected one of {', '.join(SOLVERS)}"
            + (f" (did you mean {near[0]!r}?)" if near else "")
        )
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if eta < 0 or rho < 0:
        raise ValueError(f"eta and rho must not be negative, got eta={eta} and rho={rho}")
    if solver == "reverse" and eta != 1:
        raise ValueError(f"solver 'reverse' is the reverse SDE, eta must be 1, got {eta}")


def _checked_times(times: Tensor, steps: int) -> Tensor:
    if times.shape != (steps + 1,) or not bool((times.diff() < 0).all()):
        raise ValueError(f"times must be {steps + 1} decreasing nodes, got {times.tolist()}")
    if times[0] > 1 or times[-1] < 0:
        raise ValueError(f"times must lie in [0, 1], 1 = noise, got {times.tolist()}")
    return times


def _checked_table(table: Tensor, solver: str, times: Tensor) -> Tensor:
    if not bool(table.isfinite().all()):
        raise ValueError(
            f"solver {solver!r} cannot reach t = {float(times[-1])}, where this schedule leaves "
            "no noise; end the times above it (default 1e-4)"
        )
    return table
