"""Surrogates: a Gaussian process that learns a dear reward from the objects it was asked about.

    surrogate = Surrogate("molecule").fit(mols, scores)
    mean, sd = surrogate.predict(others)

Everything here is a function of what was fitted: nothing is drawn, so a surrogate is rebuilt from
its objects and need not be saved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scidiff.core import ScidiffError
from scidiff.rewards.minmax import Counts, counted, minmax

NOISES = (1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Noise variances that are tried, in units of the process's own."""
JUDGES = 500  # rows that choose the noise, at even ranks of their values
Numbers = NDArray[np.float64]


class NotFitted(ScidiffError):
    """A surrogate that is asked before it has seen anything."""


@dataclass(frozen=True)
class GaussianProcess:
    """y = m + f(x) + noise, f of covariance `scale` k with the min-max kernel k, noise of variance
    `scale` * `noise` (Rasmussen and Williams 2006, eq. 2.25, and 2.41 for the unknown m).

    m and the scale have closed-form maxima of the likelihood given the noise, which is the one of
    `NOISES` that makes it largest.
    """

    features: Counts
    mean: float
    scale: float
    noise: float
    factor: Tensor  # (N, N) lower Cholesky factor of k + noise
    weights: Tensor  # (N,) (k + noise)^-1 (y - m)

    @classmethod
    def fit(cls, features: Counts, values: Tensor) -> GaussianProcess:
        """Learn values (N,) float64 of N objects; float64 throughout."""
        gram = minmax(features, features)
        judges = _even(values, JUDGES)
        noise = max(NOISES, key=lambda v: _solved(gram[judges][:, judges], values[judges], v)[0])
        _, factor, mean, scale, weights = _solved(gram, values, noise)
        return cls(features, mean, scale, noise, factor, weights)

    def predict(self, features: Counts) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of m + f, without noise, (B,) each."""
        k = minmax(self.features, features)
        seen, unsure = self._seen(k)
        variance = 1 - seen.square().sum(0) + unsure.square()
        return self._mean(k), (self.scale * variance.clamp_min(0)).sqrt()  # rounding below 0

    def joint(self, features: Counts) -> tuple[Tensor, Tensor]:
        """Mean (B,) and covariance (B, B) of m + f, without noise."""
        k = minmax(self.features, features)
        seen, unsure = self._seen(k)
        left = minmax(features, features) - seen.T @ seen + unsure[:, None] * unsure
        return self._mean(k), self.scale * left

    def _mean(self, k: Tensor) -> Tensor:
        return self.mean + self.weights @ k

    def _seen(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """What the data say of objects with covariances k (N, B): (N, B), and how much is left
        unsure of m, (B,)."""
        seen = _forward(self.factor, k)
        one = _forward(self.factor, torch.ones(len(k), 1, dtype=k.dtype))
        return seen, (1 - (one * seen).sum(0)) / one.norm()


def _forward(factor: Tensor, right: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(factor, right, upper=False)


def _solved(gram: Tensor, y: Tensor, noise: float) -> tuple[float, Tensor, float, float, Tensor]:
    """Log likelihood but for a constant, factor, m, scale and weights:

    m = 1'A^-1 y / 1'A^-1 1 and scale = (y - m)'A^-1 (y - m) / N with A = k + noise.
    """
    N = len(y)
    factor = torch.linalg.cholesky(gram + noise * torch.eye(N, dtype=gram.dtype))
    one, seen = _forward(factor, torch.stack([torch.ones_like(y), y], 1)).unbind(1)
    mean = float(one @ seen / (one @ one))
    rest = seen - mean * one
    varies = float(y.max() - y.min()) > 0
    scale = float(rest @ rest) / N if varies else 1.0  # equal values tell no scale
    weights = torch.linalg.solve_triangular(factor.T, rest[:, None], upper=True)[:, 0]
    fit = -N / 2 * math.log(scale) if varies else 0.0
    return fit - float(factor.diagonal().log().sum()), factor, mean, scale, weights


def _even(values: Tensor, most: int) -> Tensor:
    """At most `most` rows, at even ranks of their values, in order."""
    order = values.argsort(stable=True)
    if len(order) <= most:
        return order.sort().values
    return order[torch.linspace(0, len(order) - 1, most).round().long()].sort().values


def _chosen(values: Tensor, most: int) -> Tensor:
    """At most `most` rows, in order: the better half of them the best, the others at even ranks of
    the rest, so that the whole range is seen."""
    if len(values) <= most:
        return torch.arange(len(values))
    order = values.argsort(descending=True, stable=True)
    best, rest = order[: most - most // 2], order[most - most // 2:]
    return torch.cat([best, rest[_even(values[rest], most // 2)]]).sort().values


@dataclass
class Surrogate:
    """A Gaussian process on objects of a kind (`minmax.counted`), fitted to at most `rows` of
    them: half of these the best, the others at even ranks of the rest.

    As a reward it is the mean; an invalid object scores the lowest value that was fitted.
    """

    kind: str
    rows: int = 2_000
    name: str = "surrogate"
    process: GaussianProcess | None = field(default=None, repr=False)
    floor: float | None = None

    def __post_init__(self) -> None:
        counted(self.kind, [])
        if self.rows < 2:
            raise ValueError(f"a surrogate needs at least 2 rows, got {self.rows}")

    def fit(self, objects: Sequence[Any], values: Sequence[float] | Tensor) -> Surrogate:
        """Forget what was known and learn these; returns itself.

        Raises ValueError for no objects, another number of values, or one that is not finite.
        """
        y = torch.as_tensor(values, dtype=torch.float64)
        if not len(objects) or y.shape != (len(objects),):
            raise ValueError(f"a surrogate learns one value of every object, at least one; got "
                             f"{len(objects)} objects and values {tuple(y.shape)}")
        if not y.isfinite().all():
            row = int((~y.isfinite()).nonzero()[0])
            raise ValueError(f"object {row} has the value {float(y[row])}; leave out objects "
                             "without a score")
        rows = _chosen(y, self.rows)
        features = counted(self.kind, [objects[row] for row in rows.tolist()])
        self.process, self.floor = GaussianProcess.fit(features, y[rows]), float(y.min())
        return self

    def predict(self, objects: Sequence[Any]) -> tuple[Numbers, Numbers]:
        """Mean and standard deviation of the value, without the noise of an answer: (B,) each.

        Raises NotFitted before `fit`.
        """
        mean, sd = self._fitted().predict(counted(self.kind, objects))
        return mean.numpy(), sd.numpy()

    def joint(self, objects: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Mean (B,) and covariance (B, B) of the values, without the noise of an answer."""
        return self._fitted().joint(counted(self.kind, objects))

    @property
    def noise(self) -> float:
        """Variance of an answer about the value."""
        process = self._fitted()
        return process.scale * process.noise

    def __call__(self, objects: Sequence[Any]) -> list[float]:
        mean: list[float] = self.predict(objects)[0].tolist()
        return mean

    def _fitted(self) -> GaussianProcess:
        if self.process is None:
            raise NotFitted("the surrogate has seen no object yet; call fit(objects, values)")
        return self.process


__all__ = ["GaussianProcess", "NotFitted", "Surrogate"]
