"""The Frechet ChemNet distance of a sample that is read block by block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.evaluation.fcd import activations, bias_floor, frechet_distance
from scidiff.evaluation.intervals import SPREAD, SUBSETS, spread_of
from scidiff.evaluation.metric import Metric, absent

if TYPE_CHECKING:
    from scidiff.evaluation.reference import Reference

WIDTH = 512
FLOORS = {"test": 0.0, "testsf": 0.4755}  # FCD of all of MOSES Train (MOSES, its Train row)


class ChemNet:
    """Moments of ChemNet activations, apart for each of SUBSETS disjoint subsets, in float64.

    Only the first `most` molecules are taken where it is given.
    """

    def __init__(self, device: str = "cpu", most: int | None = None) -> None:
        self.device, self.most, self.seen = device, most, 0
        self.n = np.zeros(SUBSETS)
        self.sums: NDArray[np.float64] = np.zeros((SUBSETS, WIDTH))
        self.squares: NDArray[np.float64] = np.zeros((SUBSETS, WIDTH, WIDTH))

    def add(self, mols: Sequence[Mol], keys: Sequence[str]) -> None:
        room = len(keys) if self.most is None else max(self.most - self.seen, 0)
        found = activations(keys[:room], self.device).astype(np.float64)
        for s in range(SUBSETS):
            part = found[(s - self.seen) % SUBSETS::SUBSETS]
            self.n[s] += len(part)
            self.sums[s] += part.sum(0)
            self.squares[s] += part.T @ part
        self.seen += len(found)

    def moments(self, subset: int | None = None
                ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean (512,) and covariance (512, 512) of a subset, or of all rows."""
        chosen = slice(None) if subset is None else slice(subset, subset + 1)
        n, sums = self.n[chosen].sum(), self.sums[chosen].sum(0)
        mean = sums / n
        return mean, (self.squares[chosen].sum(0) - n * np.outer(mean, mean)) / (n - 1)


def fcd_metric(features: ChemNet, against: Reference) -> Metric:
    """Frechet ChemNet distance of the valid rows to the reference; NaN below two rows a subset.

    Its interval is the spread over disjoint subsets, so their larger bias does not enter.
    """
    name, what = f"fcd_{against.name}", "Frechet distance of 512 ChemNet activations"
    mean, cov, n = against.fcd_mean, against.fcd_cov, features.seen
    if n < 2 * SUBSETS or mean is None or cov is None:
        return absent(name, n, what, f"needs {2 * SUBSETS} valid rows")
    value = frechet_distance(*features.moments(), mean, cov)
    parts = [frechet_distance(*features.moments(s), mean, cov) for s in range(SUBSETS)]
    bounds = spread_of(value, parts)
    floor = FLOORS.get(against.name, math.nan) + bias_floor(n)
    note = "" if math.isnan(floor) else f"training molecules score {floor:.3f} at this n"
    return Metric(name, value, *bounds, n, what, note, SPREAD)
