"""When the weights of a path of densities may be used: where their second moment is finite.

Far from the data q_t is nearly N(0, v), and the weight of q^B then is the exponential of a square
of an Ornstein-Uhlenbeck process. Its p-th moment stays bounded only where the process returns fast
enough; where it does not, one particle takes all, and it is better not to weigh.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scidiff.processes.schedules import Schedule, lam

_FINE = 400  # points of the way on which moments are followed


def active_interval(
    schedules: Sequence[Schedule],
    times: Tensor,
    total: float,
    eta: float,
    spreads: Sequence[float],
) -> tuple[float, float]:
    """The longest (end, hi) on which the second moment of the weight of a coordinate is finite,
    were the data N(0, spread^2), for the path q^total and a chain of this eta.

    times: the nodes, noise first; hi is one of them. Weights at total <= 1 are bounded from above,
    so they may be used all the way.
    """
    last = float(times[-1])
    if total <= 1:
        return last, float(times[0])
    fine, hi = _between(times), float(times[0])
    for schedule, spread in zip(schedules, spreads, strict=True):
        ratio = log_moment_ratio(schedule, fine, total, eta, spread)
        hi = min([hi, *(float(t) for t, r in zip(fine, ratio, strict=True) if r == math.inf)])
    return last, float(times[times <= hi][0])


def log_moment_ratio(
    schedule: Schedule, times: Tensor, total: float, eta: float, spread: float = 1.0
) -> np.ndarray:
    """log (E[w^2] / E[w]^2) of a coordinate for weights that begin at each of `times` (K,), noise
    first, on to the last; inf where the second moment is infinite.

    With y = x / sigma and m = sigma^2 / (alpha^2 spread^2 + sigma^2) the chain is dy = (1 - (1 +
    eta) B m) y dlambda + sqrt(2 eta) dw and the rate of log w is B (B - 1) m^2 y^2, so that
    E[w^p | y] = exp(A y^2 + C), where, from the end backwards,

        -dA/dlambda = p B (B - 1) m^2 + 2 (1 - (1 + eta) B m) A + 4 eta A^2, -dC/dlambda = 2 eta A.

    Chains begin at y ~ N(0, 1 / (B m)). Stationary (m = 1 / v) this is the rule 4 eta p B (B - 1)
    < ((1 + eta) B - v)^2.
    """
    value = lam(schedule, times).numpy()
    m = 1 / (1 + np.exp(2 * value) * spread**2)
    one, two = (log_moment(p, value, m, total, eta) for p in (1.0, 2.0))
    return np.where(np.isfinite(two), two - 2 * one, np.inf)


def log_moment(p: float, value: np.ndarray, m: np.ndarray, total: float, eta: float) -> np.ndarray:
    """log E[w^p] for weights from each place on; inf where it is infinite."""
    A, C, out = 0.0, 0.0, np.zeros(len(value))
    for k in range(len(value) - 2, -1, -1):
        h, middle = value[k + 1] - value[k], (m[k] + m[k + 1]) / 2
        before = A
        A = _riccati(A, h, p, middle, total, eta)
        C += eta * h * (before + A)
        room = 1 - 2 * A / (total * m[k])
        if not (math.isfinite(A) and room > 0):
            out[: k + 1] = math.inf
            break
        out[k] = C - math.log(room) / 2
    return out


def _riccati(A: float, h: float, p: float, m: float, total: float, eta: float) -> float:
    """A at the start of a piece of length h from A at its end, m held, by the linear system of
    which it is a ratio; inf beyond a pole."""
    source, pull, square = p * total * (total - 1) * m**2, 1 - (1 + eta) * total * m, 4 * eta
    # A = -u' / (square u) solves A' = source + 2 pull A + square A^2
    system = np.array([[0.0, -square], [source, 2 * pull]])
    values, vectors = np.linalg.eig(system.astype(complex))
    u, v = (vectors @ (np.exp(values * h) * np.linalg.solve(vectors, np.array([1.0, A])))).real
    return float(v / u) if u > 0 else math.inf


def _between(times: Tensor) -> Tensor:
    """The nodes, or about as many in between that moments can be followed."""
    pieces = max(1, math.ceil(_FINE / (len(times) - 1)))
    steps = torch.arange(pieces, dtype=torch.float64) / pieces
    inner = times[:-1, None] + times.diff()[:, None] * steps
    return torch.cat([inner.flatten(), times[-1:]])
