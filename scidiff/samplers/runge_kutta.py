"""An embedded Runge-Kutta method whose step size belongs to the row, not to the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scidiff.core import ScidiffError

# Dormand and Prince 1980: nodes, stages, and the weights of order 5 minus those of order
# 4. The last stage is the weights of order 5, so it is also the first stage of the next step.
_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 5.0

Velocity = Callable[[Tensor, Tensor], Tensor]  # (place (B,), y (B, n)) -> dy / dplace (B, n)


class StiffError(ScidiffError):
    """An integration that did not reach its end."""


def integrate(
    velocity: Velocity,
    y: Tensor,
    start: float,
    end: float,
    *,
    tol: float,
    counts: Tensor | None = None,
    share: float = 0.01,
    max_steps: int = 10_000,
) -> Tensor:
    """Solve dy/ds = velocity(s, y) from s = start to end by Dormand-Prince 5(4): y(end) (B, n).

    Each row keeps its own step, so it does not depend on its batch. A step is accepted where the
    root mean square of error / (tol (1 + |y|)), over the entries that `counts` (B, n) marks, is at
    most 1. The first step tried is `share` of the way. Raises StiffError when a row needs more
    than `max_steps` steps.
    """
    if not tol > 0:
        raise ValueError(f"tol must be positive, got {tol}")
    counts = torch.ones_like(y) if counts is None else counts.to(y)
    place, span = torch.full_like(y[:, 0], start), end - start
    step, first = torch.full_like(place, span * share), velocity(place, y)
    for _ in range(max_steps):
        remaining = end - place
        if not bool((remaining != 0).any()):
            return y
        last = step.abs() >= remaining.abs()
        step = torch.where(last, remaining, step)
        moved, after, error = _trial(velocity, place, y, step, first)
        size = _size(error, y, moved, tol, counts)
        taken = size <= 1  # False for NaN: a step out of the domain is tried again, shorter
        place = torch.where(taken, torch.where(last, end, place + step), place)
        y, first = (
            torch.where(taken[:, None], new, old) for new, old in ((moved, y), (after, first))
        )
        step = _next_step(step, size, span * share)
    raise StiffError(
        f"the ODE did not get from {start:.4g} to {end:.4g} in {max_steps} steps at tol {tol}; "
        "expected a smooth clean guess: raise tol, or run the network in float64"
    )


def _trial(
    velocity: Velocity, place: Tensor, y: Tensor, step: Tensor, first: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of order 5: the end, the velocity there, and the difference to order 4."""
    slopes, moved = [first], y
    for node, stage in zip(_NODES[1:], _STAGES[1:], strict=True):
        moved = y + step[:, None] * _mix(stage, slopes)
        slopes.append(velocity(place + node * step, moved))
    return moved, slopes[-1], step[:, None] * _mix(_ERROR, slopes)


def _mix(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    terms = [w * slope for w, slope in zip(weights, slopes, strict=True) if w]
    return torch.stack(terms).sum(0)


def _size(error: Tensor, y: Tensor, moved: Tensor, tol: float, counts: Tensor) -> Tensor:
    """Root mean square of the scaled error over the entries that count, (B,)."""
    scaled = error / (tol * (1 + torch.maximum(y.abs(), moved.abs())))
    return ((scaled**2 * counts).sum(1) / counts.sum(1).clamp(min=1)).sqrt()


def _next_step(step: Tensor, size: Tensor, fresh: float) -> Tensor:
    """Scale the step by size^(-1/5), within limits; a row that has arrived gets a fresh one."""
    factor = (_SAFETY * size.clamp(min=1e-10) ** -0.2).clamp(_SHRINK, _GROW)
    factor = torch.where(size.isfinite(), factor, _SHRINK)
    return torch.where(step == 0, fresh, step * factor)
