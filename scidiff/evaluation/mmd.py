"""Maximum mean discrepancy of graph descriptors, in the two families that papers print.

`emd` (You et al. 2018, Liao et al. 2019, Jo et al. 2022): kernels of the earth mover's distance,
orbits by a Gaussian. `tv` (Martinkus et al. 2022, Vignac et al. 2023): kernels of the total
variation. A value of one family says nothing beside a value of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Rows = NDArray[np.float64]  # (B, width)


@dataclass(frozen=True)
class Kernel:
    """exp(-d^2 / 2 sigma^2) for a distance d of two descriptors."""

    distance: str  # emd, tv or rbf
    sigma: float
    scale: float = 1.0  # bins per unit of the earth mover's distance

    def __call__(self, a: Rows, b: Rows) -> Rows:
        """Gram matrix of (B, W) and (C, V) -> (B, C); the narrower side is padded with zeros."""
        d = _DISTANCES[self.distance](*_same_width(a, b)) / self.scale
        return np.exp(-d**2 / (2 * self.sigma**2))

    def __str__(self) -> str:
        per = f", {self.scale:g} bins a unit" if self.scale != 1 else ""
        return f"exp(-{self.distance}^2 / 2 sigma^2), sigma = {self.sigma:g}{per}"


FAMILIES = {
    "emd": {"degree": Kernel("emd", 1.0), "clustering": Kernel("emd", 0.1, 100.0),
            "orbit": Kernel("rbf", 30.0), "spectral": Kernel("emd", 1.0)},  # spectral: in bins
    "tv": {"degree": Kernel("tv", 1.0), "clustering": Kernel("tv", 0.1),
           "orbit": Kernel("tv", 30.0), "spectral": Kernel("tv", 1.0),
           "wavelet": Kernel("tv", 1.0)},
}


@dataclass(frozen=True)
class Discrepancy:
    """MMD^2 of samples a and b, Gram matrices kept, so that parts of a cost nothing more."""

    aa: Rows  # (B, B)
    ab: Rows  # (B, C)
    bb: float  # mean of the (C, C) Gram matrix

    @classmethod
    def of(cls, a: Rows, b: Rows, kernel: Kernel) -> Discrepancy:
        """Compare descriptors a (B, W) with b (C, V)."""
        return cls(kernel(a, a), kernel(a, b), float(kernel(b, b).mean()))

    def value(self, rows: Any = slice(None)) -> float:
        """V-statistic of the given rows of a: mean k(a, a) + mean k(b, b) - 2 mean k(a, b), the
        diagonal included, no root."""
        inside = self.aa[rows][:, rows].mean()
        return float(inside + self.bb - 2 * self.ab[rows].mean())


def mmd(a: Rows, b: Rows, kernel: Kernel) -> float:
    """MMD^2 of descriptors a (B, W) and b (C, V), V-statistic (Gretton et al. 2012, eq. 5)."""
    return Discrepancy.of(a, b, kernel).value()


def _emd(a: Rows, b: Rows) -> Rows:
    """Earth mover's distance of histograms on one grid: sum_i |CDF_a(i) - CDF_b(i)|, in bins."""
    return cdist(a.cumsum(1), b.cumsum(1), "cityblock")


def _tv(a: Rows, b: Rows) -> Rows:
    return cdist(a, b, "cityblock") / 2


def _rbf(a: Rows, b: Rows) -> Rows:
    return cdist(a, b)


_DISTANCES = {"emd": _emd, "tv": _tv, "rbf": _rbf}


def _same_width(a: Rows, b: Rows) -> tuple[Rows, Rows]:
    wide = max(a.shape[1], b.shape[1])
    return (np.pad(a, ((0, 0), (0, wide - a.shape[1]))),
            np.pad(b, ((0, 0), (0, wide - b.shape[1]))))
