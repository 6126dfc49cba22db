"""How much of a token row is noise at time t: the schedules of discrete diffusion.

A schedule is rate(t) = 1 - alpha(t), the probability that a token is noise (for absorbing noise
hidden), going up from t = 0, data, to t = 1. Everything else follows from it. A schedule that goes
from 0 to 1 covers the whole bound on -log p; one that stops short leaves a part of it out, and
which one is used then changes only where training looks and how much its loss varies.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from scidiff.messages import nearest


class NoiseLevel(ABC):
    """A schedule; t is in [0, 1] and of any shape, as is what comes back."""

    @abstractmethod
    def rate(self, t: Tensor) -> Tensor:
        """1 - alpha(t), accurate where it is small."""

    @abstractmethod
    def slope(self, t: Tensor) -> Tensor:
        """d rate / dt = -alpha'(t)."""

    @abstractmethod
    def alpha_inv(self, a: Tensor) -> Tensor:
        """The time at which alpha is `a`, for a in [alpha(1), alpha(0)]."""

    def alpha(self, t: Tensor) -> Tensor:
        """P(a token is clean at t)."""
        return 1 - self.rate(t)

    def weight(self, t: Tensor) -> Tensor:
        """-alpha'(t) / (1 - alpha(t)), which the cross-entropy of hidden tokens is weighed by in
        the continuous-time bound (Sahoo et al. 2024, arXiv 2406.07524, eq. 10); t > 0."""
        return self.slope(t) / self.rate(t)

    def covers(self) -> tuple[float, float]:
        """The rates at t = 0 and at t = 1."""
        ends = self.rate(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
        return ends[0], ends[1]


@dataclass(frozen=True)
class LogLinear(NoiseLevel):
    """rate = (1 - eps) t, so that sigma = -log alpha is log-linear; its weight is 1 / t for any
    eps (Lou et al. 2024, arXiv 2310.16834; eps = 1e-3 is published)."""

    eps: float = 0.0

    def rate(self, t: Tensor) -> Tensor:
        return (1 - self.eps) * t

    def slope(self, t: Tensor) -> Tensor:
        return (1 - self.eps) * torch.ones_like(t)

    def alpha_inv(self, a: Tensor) -> Tensor:
        return (1 - a) / (1 - self.eps)


@dataclass(frozen=True)
class Cosine(NoiseLevel):
    """alpha = eps + (1 - eps) cos(pi t / 2) (Sahoo et al. 2024, appendix E)."""

    eps: float = 0.0

    def rate(self, t: Tensor) -> Tensor:
        return 2 * (1 - self.eps) * torch.sin(math.pi * t / 4) ** 2

    def slope(self, t: Tensor) -> Tensor:
        return (1 - self.eps) * math.pi / 2 * torch.sin(math.pi * t / 2)

    def alpha_inv(self, a: Tensor) -> Tensor:
        return torch.acos((a - self.eps) / (1 - self.eps)) * 2 / math.pi


@dataclass(frozen=True)
class CosineSquared(NoiseLevel):
    """alpha = eps + (1 - eps) cos^2(pi t / 2), small steps at both ends; with eps = 0 the "cos"
    distortion of Qin et al. 2024 (arXiv 2410.04263)."""

    eps: float = 0.0

    def rate(self, t: Tensor) -> Tensor:
        return (1 - self.eps) * torch.sin(math.pi * t / 2) ** 2

    def slope(self, t: Tensor) -> Tensor:
        return (1 - self.eps) * math.pi / 2 * torch.sin(math.pi * t)

    def alpha_inv(self, a: Tensor) -> Tensor:
        return torch.acos(((a - self.eps) / (1 - self.eps)).sqrt()) * 2 / math.pi


@dataclass(frozen=True)
class LinearSigma(NoiseLevel):
    """sigma = -log alpha goes linearly from `low` to `high`."""

    low: float = 0.0
    high: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise ValueError(f"sigma must rise from low >= 0, got {self.low} to {self.high}")

    def rate(self, t: Tensor) -> Tensor:
        return -torch.expm1(-self._sigma(t))

    def slope(self, t: Tensor) -> Tensor:
        return (self.high - self.low) * torch.exp(-self._sigma(t))

    def alpha_inv(self, a: Tensor) -> Tensor:
        return (-torch.log(a) - self.low) / (self.high - self.low)

    def _sigma(self, t: Tensor) -> Tensor:
        return self.low + t * (self.high - self.low)


@dataclass(frozen=True)
class Geometric(NoiseLevel):
    """sigma = -log alpha = low^(1 - t) high^t (Lou et al. 2024, section 5.1)."""

    low: float = 1e-3
    high: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"sigma must rise from low > 0, got {self.low} to {self.high}")

    def rate(self, t: Tensor) -> Tensor:
        return -torch.expm1(-self._sigma(t))

    def slope(self, t: Tensor) -> Tensor:
        sigma = self._sigma(t)
        return sigma * math.log(self.high / self.low) * torch.exp(-sigma)

    def alpha_inv(self, a: Tensor) -> Tensor:
        return torch.log(-torch.log(a) / self.low) / math.log(self.high / self.low)

    def _sigma(self, t: Tensor) -> Tensor:
        return self.low * torch.exp(t * math.log(self.high / self.low))


@dataclass(frozen=True)
class Power(NoiseLevel):
    """rate = t^power (Arriola et al. 2025, arXiv 2503.09573, section 5.1); 2 is the "polydec"
    distortion of Qin et al. 2024, small steps near the data."""

    power: float = 2.0

    def __post_init__(self) -> None:
        if not self.power > 0:
            raise ValueError(f"power must be positive, got {self.power}")

    def rate(self, t: Tensor) -> Tensor:
        return t**self.power

    def slope(self, t: Tensor) -> Tensor:
        return self.power * t ** (self.power - 1)

    def alpha_inv(self, a: Tensor) -> Tensor:
        return (1 - a) ** (1 / self.power)


@dataclass(frozen=True)
class NearNoise(NoiseLevel):
    """alpha = (1 - t)^2, small steps near the noise: the "polyinc" distortion of Qin et al.
    2024."""

    def rate(self, t: Tensor) -> Tensor:
        return t * (2 - t)

    def slope(self, t: Tensor) -> Tensor:
        return 2 * (1 - t)

    def alpha_inv(self, a: Tensor) -> Tensor:
        return 1 - a.sqrt()


@dataclass(frozen=True)
class MiddleSteps(NoiseLevel):
    """rate = 2 t - sin^2(pi t / 2), small steps in the middle: the "revcos" distortion of Qin et
    al. 2024."""

    def rate(self, t: Tensor) -> Tensor:
        return 2 * t - torch.sin(math.pi * t / 2) ** 2

    def slope(self, t: Tensor) -> Tensor:
        return 2 - math.pi / 2 * torch.sin(math.pi * t)

    def alpha_inv(self, a: Tensor) -> Tensor:
        """By bisection: it has no closed form."""
        low, high = torch.zeros_like(a), torch.ones_like(a)
        for _ in range(60):
            middle = (low + high) / 2
            above = self.alpha(middle) > a
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return (low + high) / 2


@dataclass(frozen=True)
class Clipped(NoiseLevel):
    """Rates uniform in [low, high] only, which lowers the variance of training gradients (Arriola
    et al. 2025, section 5.2); the part of the bound outside is left out."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(
                f"rates must satisfy 0 <= low < high <= 1, got {self.low} and {self.high}"
            )

    def rate(self, t: Tensor) -> Tensor:
        return self.low + t * (self.high - self.low)

    def slope(self, t: Tensor) -> Tensor:
        return (self.high - self.low) * torch.ones_like(t)

    def alpha_inv(self, a: Tensor) -> Tensor:
        return (1 - a - self.low) / (self.high - self.low)


SCHEDULES: dict[str, NoiseLevel] = {
    "log-linear": LogLinear(),
    "cosine": Cosine(),
    "cosine2": CosineSquared(),
    "square": Power(2.0),
    "sqrt": Power(0.5),
    "linear": LinearSigma(),
    "geometric": Geometric(),
}
"""The schedules of masked diffusion by name."""


def named(name: str, known: Mapping[str, NoiseLevel], what: str) -> NoiseLevel:
    """The one of `known` that is called `name`; a ValueError says `what` it should have been."""
    if name not in known:
        raise ValueError(
            f"{what} must be one of {', '.join(known)}, got {name!r}{nearest(name, known)}"
        )
    return known[name]
