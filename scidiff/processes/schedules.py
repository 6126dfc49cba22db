"""Noise schedules: how much signal and how much noise a linear SDE leaves at time t in [0, 1], 0 =
data, 1 = noise.

Every one is x_t = alpha(t) x0 + sigma(t) eps. From alpha and sigma alone follow lambda = log(alpha
/ sigma), the drift f = d log alpha / dt and the squared diffusion g^2 = -2 sigma^2 d lambda / dt
of dx = f x dt + g dw (Kingma et al. 2021). All values are float64 of the shape of t; convert after
the arithmetic, not before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Schedule(Protocol):
    """A map t -> (alpha, sigma) with the coefficients of its SDE."""

    @property
    def prior_std(self) -> float:
        """Standard deviation of the prior at t = 1."""
        ...

    def log_alpha(self, t: Tensor) -> Tensor: ...

    def sigma(self, t: Tensor) -> Tensor: ...

    def drift(self, t: Tensor) -> Tensor:
        """f(t) of dx = f x dt + g dw."""
        ...

    def diffusion(self, t: Tensor) -> Tensor:
        """g(t)^2 of dx = f x dt + g dw."""
        ...


def alpha(schedule: Schedule, t: Tensor) -> Tensor:
    """Signal level alpha(t)."""
    return schedule.log_alpha(t).exp()


def lam(schedule: Schedule, t: Tensor) -> Tensor:
    """Half the log signal-to-noise ratio, lambda(t) = log(alpha / sigma): decreasing in t."""
    return schedule.log_alpha(t) - schedule.sigma(t).log()


@dataclass(frozen=True)
class _LinearRates:
    """alpha = exp(-B / 2) with rates beta(t) = beta_min + t (beta_max - beta_min): what VP, SubVP
    and MeanReverting share."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 <= self.beta_min <= self.beta_max or self.beta_max <= 0:
            raise ValueError(
                f"{type(self).__name__} needs 0 <= beta_min <= beta_max, "
                f"got {self.beta_min} and {self.beta_max}"
            )

    def log_alpha(self, t: Tensor) -> Tensor:
        return -self._integral(t) / 2

    def drift(self, t: Tensor) -> Tensor:
        return -self._rate(t) / 2

    def _rate(self, t: Tensor) -> Tensor:
        return self.beta_min + t.double() * (self.beta_max - self.beta_min)

    def _integral(self, t: Tensor) -> Tensor:
        """B(t), the integral of beta from 0 to t."""
        t = t.double()
        return self.beta_min * t + (self.beta_max - self.beta_min) * t**2 / 2


@dataclass(frozen=True)
class VP(_LinearRates):
    """Variance preserving: f = -beta / 2, g^2 = beta(t) = beta_min + t (beta_max - beta_min) (Song
    et al. 2021).

    alpha = exp(-B / 2) and sigma^2 = 1 - exp(-B) with B the integral of beta. The prior is N(0,
    1), the stationary law.
    """

    @property
    def prior_std(self) -> float:
        return 1.0

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(-self._integral(t))).sqrt()

    def diffusion(self, t: Tensor) -> Tensor:
        return self._rate(t)


class _Exploding:
    """Noise that is added to data which keep their scale: alpha = 1, f = 0. The prior is N(0,
    sigma_max^2): right up to the variance of the data, which it leaves out."""

    sigma_max: float

    @property
    def prior_std(self) -> float:
        return self.sigma_max

    def log_alpha(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t, dtype=torch.float64)

    def drift(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t, dtype=torch.float64)


@dataclass(frozen=True)
class VE(_Exploding):
    """Variance exploding: alpha = 1, sigma = sigma_min (sigma_max / sigma_min)^t (Song et al.
    2021)."""

    sigma_min: float = 0.01
    sigma_max: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                f"VE needs 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}"
            )

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min * (t.double() * math.log(self.sigma_max / self.sigma_min)).exp()

    def diffusion(self, t: Tensor) -> Tensor:
        return 2 * self.sigma(t) ** 2 * math.log(self.sigma_max / self.sigma_min)


@dataclass(frozen=True)
class SubVP(_LinearRates):
    """Sub-variance preserving: alpha of VP with sigma = 1 - exp(-B), the square of VP's (Song et
    al. 2021, eq. 29); g^2 = beta (1 - exp(-2B)). The prior is N(0, 1)."""

    @property
    def prior_std(self) -> float:
        return 1.0

    def sigma(self, t: Tensor) -> Tensor:
        return -torch.expm1(-self._integral(t))

    def diffusion(self, t: Tensor) -> Tensor:
        left = -torch.expm1(-2 * self._integral(t))
        return self._rate(t) * left


@dataclass(frozen=True)
class EDM(_Exploding):
    """Noise that grows linearly: alpha = 1, sigma = sigma_max t (Karras et al. 2022).

    Choose the nodes by `edm_times`, and end them near t = 0.002 / 80.
    """

    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not self.sigma_max > 0:
            raise ValueError(f"EDM needs 0 < sigma_max, got {self.sigma_max}")

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_max * t.double()

    def diffusion(self, t: Tensor) -> Tensor:
        return 2 * self.sigma_max**2 * t.double()


@dataclass(frozen=True)
class Linear:
    """The straight path of flow matching: alpha = 1 - t, sigma = t (Lipman et al. 2023).

    No signal is left at t = 1, where lambda and f = -1 / (1 - t) are infinite, so samplers start
    just below it.
    """

    @property
    def prior_std(self) -> float:
        return 1.0

    def log_alpha(self, t: Tensor) -> Tensor:
        return torch.log1p(-t.double())

    def sigma(self, t: Tensor) -> Tensor:
        return t.double()

    def drift(self, t: Tensor) -> Tensor:
        return -1 / (1 - t.double())

    def diffusion(self, t: Tensor) -> Tensor:
        return 2 * t.double() / (1 - t.double())


@dataclass(frozen=True)
class MeanReverting(_LinearRates):
    """An Ornstein-Uhlenbeck process that settles at std: alpha of VP, sigma^2 = std^2 (1 -
    exp(-B)) (Luo et al. 2023, eq. 6).

    It is written for y = x - (1 - alpha) mu, with mu the point it returns to; `Centred` makes a
    denoiser of x one of y.
    """

    std: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.std > 0:
            raise ValueError(f"MeanReverting needs 0 < std, got {self.std}")

    @property
    def prior_std(self) -> float:
        return self.std

    def sigma(self, t: Tensor) -> Tensor:
        return self.std * (-torch.expm1(-self._integral(t))).sqrt()

    def diffusion(self, t: Tensor) -> Tensor:
        return self.std**2 * self._rate(t)


def time_of_lam(schedules: Sequence[Schedule], value: Tensor) -> Tensor:
    """Invert the sum of lambda(t) over `schedules` = value on [0, 1] by bisection, float64."""
    low, high = torch.zeros_like(value), torch.ones_like(value)
    for _ in range(80):
        middle = (low + high) / 2
        noisy = total_lam(schedules, middle) < value
        low, high = torch.where(noisy, low, middle), torch.where(noisy, middle, high)
    return (low + high) / 2


def total_lam(schedules: Sequence[Schedule], t: Tensor) -> Tensor:
    """Sum of lambda(t) over the components of a state."""
    return torch.stack([lam(schedule, t) for schedule in schedules]).sum(0)
