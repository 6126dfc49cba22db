"""How far the bond lengths, angles and dihedrals of molecules are from those of a reference.

The distance of two laws is the mean over types of their 1-Wasserstein distance, weighted by the
reference's share of each type (Vignac et al. 2023, MiDi, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wasserstein_distance

from scidiff.evaluation.geometry_laws import KINDS, Law
from scidiff.evaluation.intervals import SPREAD, spread_of
from scidiff.evaluation.metric import Metric, absent

QUANTILES = 256
FEWEST = 100  # values of a type that a reference keeps
_SHIPPED = Path(__file__).parent / "_data" / "qm9_geometry.npz"

Values = Mapping[str, Mapping[str, Sequence[float]]]  # kind -> type -> values


class GeometryReference:
    """Quantiles of each type of a reference set, and how often each occurs.

    `floors` (kind -> w) says what real molecules score by sample size alone: w / sqrt(n).
    """

    def __init__(
        self, name: str, n: int, quantiles: Values, counts: Mapping[str, Mapping[str, int]],
        floors: Mapping[str, float] | None = None,
    ) -> None:
        self.name, self.n, self.quantiles, self.counts = name, n, quantiles, counts
        self.floors = dict(floors or {})

    @classmethod
    def fit(cls, name: str, law: Law, fewest: int = FEWEST) -> GeometryReference:
        """Keep QUANTILES of every type with at least `fewest` values, or in a small set one value
        for ten molecules.

        Raises ValueError for a law of no molecule."""
        if not law.n:
            raise ValueError("a reference needs at least one molecule in space, got 0")
        fewest = min(fewest, max(1, law.n // 10))
        kept = {kind: {t: v for t, v in sorted(types.items()) if len(v) >= fewest}
                for kind, types in law.total().items()}
        at = (np.arange(QUANTILES) + 0.5) / QUANTILES
        quantiles = {kind: {t: np.quantile(v, at, method="inverted_cdf").tolist()
                            for t, v in types.items()} for kind, types in kept.items()}
        return cls(name, law.n, quantiles,
                   {kind: {t: len(v) for t, v in types.items()} for kind, types in kept.items()})

    def distance(self, kind: str, types: Mapping[str, Sequence[float]]) -> float:
        """sum_t p_t W1_t / sum_t p_t over the types of the reference that are in the sample; NaN
        where there is none."""
        counts = self.counts[kind]
        shared = [t for t in counts if types.get(t)]
        if not shared:
            return math.nan
        weights = np.array([counts[t] for t in shared], np.float64)
        found = [wasserstein_distance(types[t], self.quantiles[kind][t]) for t in shared]
        return float(weights @ found / weights.sum())

    def save(self, path: str | Path) -> None:
        """Write an .npz of whole 1e-4 units, which a law of real molecules cannot tell apart."""
        arrays: dict[str, Any] = {"name": np.str_(self.name), "n": np.int64(self.n)}
        for kind, types in self.quantiles.items():
            arrays[f"{kind}_types"] = np.array(list(types))
            arrays[f"{kind}_counts"] = np.array([self.counts[kind][t] for t in types])
            rows = np.array(list(types.values())).reshape(-1, QUANTILES)
            arrays[f"{kind}_quantiles"] = np.rint(rows * 1e4).astype(np.uint16)
            arrays[f"{kind}_floor"] = np.float64(self.floors.get(kind, math.nan))
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> GeometryReference:
        """Read what `save` wrote. Raises ValueError for another file."""
        with np.load(path, allow_pickle=False) as file:
            if not {f"{kind}_quantiles" for kind in KINDS} <= set(file.files):
                raise ValueError(f"{path} is no reference of lengths, angles and dihedrals: it "
                                 f"holds {', '.join(file.files[:6])}")
            names = {kind: file[f"{kind}_types"].tolist() for kind in KINDS}
            rows = {kind: (file[f"{kind}_quantiles"] / 1e4).tolist() for kind in KINDS}
            counts = {kind: file[f"{kind}_counts"].tolist() for kind in KINDS}
            floors = {kind: float(file[f"{kind}_floor"]) for kind in KINDS}
            return cls(str(file["name"]), int(file["n"]),
                       {k: dict(zip(names[k], rows[k], strict=True)) for k in KINDS},
                       {k: dict(zip(names[k], counts[k], strict=True)) for k in KINDS}, floors)


@cache
def qm9_geometry() -> GeometryReference:
    """The reference that ships: molecules of QM9, bonds by the rule rdkit."""
    return GeometryReference.load(_SHIPPED)


def law_metrics(law: Law, reference: GeometryReference) -> list[Metric]:
    """bond_length_w1, bond_angle_w1 and dihedral_w1 with their intervals."""
    total, found = law.total(), []
    for kind, unit in KINDS.items():
        name = f"{kind}_w1"
        what = (f"1-Wasserstein distance of {kind.replace('_', ' ')}s ({unit}) by type to "
                f"{reference.n:,} molecules of {reference.name}")
        value = reference.distance(kind, total[kind])
        if math.isnan(value):
            found.append(absent(name, law.n, what, "no type of the reference occurs"))
            continue
        low, high = spread_of(value, [reference.distance(kind, part[kind]) for part in law.parts])
        found.append(Metric(name, value, low, high, law.n, what, _note(kind, total[kind], law.n,
                                                                       reference),
                            "" if math.isnan(low) else SPREAD))
    return found


def _note(
    kind: str, types: Mapping[str, Sequence[float]], n: int, reference: GeometryReference
) -> str:
    seen = sum(len(v) for v in types.values())
    foreign = sum(len(v) for t, v in types.items() if t not in reference.counts[kind])
    said = [f"{foreign / seen:.1%} of types that the reference lacks"] if foreign else []
    floor = reference.floors.get(kind, math.nan)
    if not math.isnan(floor) and n:
        said = [f"real molecules: {floor / math.sqrt(n):.2g}", *said]
    return ", ".join(said)
