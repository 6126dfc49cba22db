"""A noise schedule of one's own, given as numbers at some times."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Tabulated:
    """alpha and sigma by monotone cubic interpolation of log alpha and of lambda = log(alpha /
    sigma) (Fritsch and Butland 1984), in float64.

    t: increasing from 0 to 1. alpha, sigma: positive, alpha / sigma decreasing in t (a table that
    starts at sigma = 0 has no lambda there: give it a small one). f and g^2 are the derivatives of
    the interpolants, so they belong to the same SDE; g^2 > 0 because lambda stays monotone.
    """

    def __init__(
        self,
        t: Tensor | Sequence[float],
        alpha: Tensor | Sequence[float],
        sigma: Tensor | Sequence[float],
    ) -> None:
        nodes, level, noise = (torch.as_tensor(v, dtype=torch.float64) for v in (t, alpha, sigma))
        _check(nodes, level, noise)
        self._prior_std = float(noise[-1])
        self._log_alpha = _Cubic(nodes, level.log())
        self._lam = _Cubic(nodes, (level / noise).log())

    @property
    def prior_std(self) -> float:
        return self._prior_std

    def log_alpha(self, t: Tensor) -> Tensor:
        return self._log_alpha(t)

    def sigma(self, t: Tensor) -> Tensor:
        return (self._log_alpha(t) - self._lam(t)).exp()

    def drift(self, t: Tensor) -> Tensor:
        return self._log_alpha.slope(t)

    def diffusion(self, t: Tensor) -> Tensor:
        return -2 * self.sigma(t) ** 2 * self._lam.slope(t)


class _Cubic:
    """Piecewise cubic Hermite interpolant that is monotone where its values are."""

    def __init__(self, t: Tensor, y: Tensor) -> None:
        self.t, self.y, self.d = t, y, _slopes(t, y)

    def __call__(self, t: Tensor) -> Tensor:
        u, h, y0, y1, d0, d1 = self._piece(t)
        rise = y1 - y0
        return y0 + u * (
            h * d0 + u * (3 * rise - h * (2 * d0 + d1) + u * self._bend(h, rise, d0, d1))
        )

    def slope(self, t: Tensor) -> Tensor:
        u, h, y0, y1, d0, d1 = self._piece(t)
        rise = y1 - y0
        return d0 + u * (
            2 * (3 * rise / h - 2 * d0 - d1) + 3 * u * self._bend(h, rise, d0, d1) / h
        )

    @staticmethod
    def _bend(h: Tensor, rise: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
        return h * (d0 + d1) - 2 * rise

    def _piece(self, t: Tensor) -> tuple[Tensor, ...]:
        """Position u in [0, 1] within the interval of t, its length, values and slopes at its
        ends."""
        nodes, y, d = (v.to(t.device) for v in (self.t, self.y, self.d))
        t = t.double().contiguous()
        i = torch.searchsorted(nodes, t.detach(), right=True).clamp(1, len(nodes) - 1)
        h = nodes[i] - nodes[i - 1]
        return (t - nodes[i - 1]) / h, h, y[i - 1], y[i], d[i - 1], d[i]


def _slopes(t: Tensor, y: Tensor) -> Tensor:
    """Slopes (M,) at the nodes: inside, the harmonic mean of the two secants, weighted by the
    lengths (zero where they differ in sign); at the ends the secant."""
    h, secant = t.diff(), y.diff() / t.diff()
    left, right = secant[:-1], secant[1:]
    w = (h[:-1] + 2 * h[1:]) / (3 * (h[:-1] + h[1:]))
    below = w * right + (1 - w) * left
    same_sign = left * right > 0
    inner = torch.where(same_sign, left * right / torch.where(same_sign, below, 1.0), 0.0)
    return torch.cat([secant[:1], inner, secant[-1:]])


def _check(t: Tensor, alpha: Tensor, sigma: Tensor) -> None:
    if t.ndim != 1 or len(t) < 2 or alpha.shape != t.shape or sigma.shape != t.shape:
        raise ValueError(
            "t, alpha and sigma must be equally many numbers, at least 2, got shapes "
            f"{tuple(t.shape)}, {tuple(alpha.shape)} and {tuple(sigma.shape)}"
        )
    if t[0] != 0 or t[-1] != 1 or not bool((t.diff() > 0).all()):
        raise ValueError(f"t must increase from 0 to 1, got {t.tolist()}")
    for name, value in (("alpha", alpha), ("sigma", sigma)):
        if not bool((value.isfinite() & (value > 0)).all()):
            raise ValueError(f"{name} must be positive and finite, got {value.tolist()}")
    if not bool(((alpha / sigma).diff() < 0).all()):
        raise ValueError(f"alpha / sigma must decrease with t, got {(alpha / sigma).tolist()}")
