"""How likely a written token is hidden again in a step of masked diffusion, so that mistakes can
be taken back.

From level alpha_t to alpha_s (shares of tokens that are shown), a shown position is hidden with
probability sigma and a hidden one written with `write_chance`. Then a position is shown at s with
probability alpha_s for any sigma up to sigma_max: with an exact joint prediction every choice has
the right marginals (ReMDM, Wang et al. 2025, arXiv 2503.00307).

What it can take back are mistakes of a network. The dependence that tokens of one step lose it
does not restore: with exact conditionals every rule is further from the joint law at equal steps
(table of 81 rows, 16 steps: .033 in total variation without, .036 to .081 with), and a row costs
more network calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Alpha = Callable[[Tensor], Tensor]
"""alpha(t): P(a token is shown at time t), from 1 at t = 0 down to 0 at t = 1."""


def write_chance(now: Tensor, then: Tensor, sigma: Tensor) -> Tensor:
    """(alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t): with what probability a hidden position is
    written on the way from level alpha_t = now to alpha_s = then; 1 where nothing can be
    hidden."""
    hidden = torch.where(now < 1, 1 - now, 1.0)
    return torch.where(now < 1, (then - (1 - sigma) * now) / hidden, 1.0)


def sigma_max(now: Tensor, then: Tensor) -> Tensor:
    """min(1, (1 - alpha_s) / alpha_t): above it more would have to be written than is hidden."""
    return ((1 - then) / torch.where(now > 0, now, 1.0)).clamp(max=1.0)


class Remask(Protocol):
    """A rule for sigma."""

    @property
    def alpha(self) -> Alpha | None:
        """The schedule the rule was made for, if it has one of its own."""
        ...

    def __call__(self, now: Tensor, then: Tensor, shown: Tensor, sure: Tensor) -> Tensor:
        """sigma in [0, sigma_max] for levels now and then, both () or (B, 1): like them or (B, L).

        `shown` (B, L) are the positions that may be hidden, `sure` (B, L) the probability that the
        network gave each token when it was written.
        """
        ...


@dataclass(frozen=True)
class Capped:
    """sigma = min(eta, sigma_max) (ReMDM-cap)."""

    eta: float = 0.04
    alpha: Alpha | None = None

    def __post_init__(self) -> None:
        _in_unit("eta", self.eta)

    def __call__(self, now: Tensor, then: Tensor, shown: Tensor, sure: Tensor) -> Tensor:
        return sigma_max(now, then).clamp(max=self.eta)


@dataclass(frozen=True)
class Rescaled:
    """sigma = eta sigma_max (ReMDM-rescale)."""

    eta: float = 0.04
    alpha: Alpha | None = None

    def __post_init__(self) -> None:
        _in_unit("eta", self.eta)

    def __call__(self, now: Tensor, then: Tensor, shown: Tensor, sure: Tensor) -> Tensor:
        return self.eta * sigma_max(now, then)


@dataclass(frozen=True)
class LeastSure:
    """sigma_l = sigma_max softmax_l(-p_l) over the shown positions, p_l being the probability of
    the token when it was written (ReMDM-conf): at most one position a step in the mean, and rather
    one the network was unsure of.

    Hidden positions are written as without remasking, so the share that is shown falls behind
    alpha by up to one token; the last step writes what is left.
    """

    alpha: Alpha | None = None

    def __call__(self, now: Tensor, then: Tensor, shown: Tensor, sure: Tensor) -> Tensor:
        keys = torch.where(shown, -sure.double(), -math.inf)
        none = ~shown.any(1, keepdim=True)
        return sigma_max(now, then) * torch.where(none, 0.0, keys).softmax(1) * shown


@dataclass(frozen=True)
class Loop:
    """Write to the level `plateau` by the time t_on, stay there until t_off while positions are
    hidden with probability eta a step and others written, then write the rest (ReMDM-loop)."""

    eta: float = 0.02
    t_on: float = 0.55
    t_off: float = 0.05
    plateau: float = 0.9

    def __post_init__(self) -> None:
        _in_unit("eta", self.eta)
        if not (0 < self.t_off < self.t_on < 1 and 0 < self.plateau < 1):
            raise ValueError(
                "expected 0 < t_off < t_on < 1 and 0 < plateau < 1, got "
                f"t_off={self.t_off}, t_on={self.t_on}, plateau={self.plateau}"
            )

    def alpha(self, t: Tensor) -> Tensor:
        """The three straight pieces of the schedule."""
        rising = (1 - t) * self.plateau / (1 - self.t_on)
        return torch.where(
            t > self.t_on,
            rising,
            torch.where(t > self.t_off, self.plateau, 1 - t * (1 - self.plateau) / self.t_off),
        )

    def __call__(self, now: Tensor, then: Tensor, shown: Tensor, sure: Tensor) -> Tensor:
        return torch.where(now == then, sigma_max(now, then).clamp(max=self.eta), 0.0)


@dataclass(frozen=True)
class Corrector:
    """sigma = b (alpha_s / alpha_t - 1), b = strength (alpha (1 - alpha))^(1/4), capped: the
    corrector steps of discrete flow matching (Gat et al. 2024, arXiv 2407.15595).

    There forward jumps are scaled by 1 + b and backward ones by b, which is this: with that sigma
    `write_chance` is (1 + b) (alpha_s - alpha_t) / (1 - alpha_t). Where a step would overshoot,
    sigma stops at sigma_max instead of the step being shortened.
    """

    strength: float = 10.0
    alpha: Alpha | None = None

    def __post_init__(self) -> None:
        if not (self.strength >= 0 and math.isfinite(self.strength)):
            raise ValueError(f"strength must be finite and not negative, got {self.strength}")

    def __call__(self, now: Tensor, then: Tensor, shown: Tensor, sure: Tensor) -> Tensor:
        b = self.strength * (now * (1 - now)) ** 0.25
        gain = then / torch.where(now > 0, now, 1.0) - 1  # nothing is shown where now = 0
        return torch.minimum(torch.where(now > 0, b * gain, 0.0), sigma_max(now, then))


def _in_unit(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")
