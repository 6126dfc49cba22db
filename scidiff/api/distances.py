"""How far rows that were drawn are from real ones, as `tune` ranks settings: one number with an
interval."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scidiff.data.records import Record
from scidiff.evaluation.description import molecules, property_values
from scidiff.evaluation.fcd import FcdMissing, activations, frechet_distance, moments
from scidiff.evaluation.graphs import graph_suite
from scidiff.evaluation.intervals import spread

_log = logging.getLogger("scidiff")
Interval = tuple[float, float, float]  # value, low, high


class Distance(Protocol):
    """Smaller is better; NaN where the rows are too few."""

    name: str

    def __call__(self, records: Sequence[Record]) -> Interval: ...


def find_distance(kind: str, reference: Sequence[Record]) -> Distance:
    """FCD of molecules, or without fcd_torch the distance of their properties; mean MMD of
    graphs. Raises ValueError for another kind of rows."""
    if kind == "graph":
        return GraphDistance(reference)
    if kind != "molecule":
        raise ValueError(f"settings are tuned by a distance of molecules or graphs, got {kind!r}")
    try:
        return FcdDistance(reference)
    except FcdMissing as missing:
        _log.info("settings are ranked by properties: %s", missing)
        return PropertyDistance(reference)


class FcdDistance:
    """Frechet ChemNet distance of the valid rows."""

    name = "fcd"

    def __init__(self, reference: Sequence[Record]) -> None:
        self.real = moments(activations(_smiles(reference)))

    def __call__(self, records: Sequence[Record]) -> Interval:
        features = activations(_smiles(records))
        return _with_spread(lambda rows: frechet_distance(*moments(rows), *self.real), features)


class PropertyDistance:
    """Mean Wasserstein distance of QED, SA, logP and weight, each in deviations of the reference
    (Ramdas et al. 2017, one dimension)."""

    name = "property_w1"

    def __init__(self, reference: Sequence[Record]) -> None:
        self.real = {k: np.sort(v) for k, v in property_values(molecules(reference)).items()}

    def __call__(self, records: Sequence[Record]) -> Interval:
        values = property_values(molecules(records))
        table = np.stack([values[name] for name in self.real], 1)
        return _with_spread(self._distance, table)

    def _distance(self, table: NDArray[np.float64]) -> float:
        grid = (np.arange(200) + 0.5) / 200
        gaps = [
            np.abs(np.quantile(own, grid) - np.quantile(real, grid)).mean() / real.std()
            for own, real in zip(table.T, self.real.values(), strict=True)
        ]
        return float(np.mean(gaps))


class GraphDistance:
    """Mean of the MMDs of degree, clustering, orbits and spectrum (kernels of GDSS)."""

    name = "mmd_emd"

    def __init__(self, reference: Sequence[Record]) -> None:
        self.real = [r.obj for r in reference]

    def __call__(self, records: Sequence[Record]) -> Interval:
        graphs = [r.obj for r in records if r.valid]
        rows = np.fromiter(graphs, object, len(graphs))  # a graph is a sequence of its nodes
        return _with_spread(partial(_mean_mmd, self.real), rows)


def _mean_mmd(real: Sequence[Any], graphs: NDArray[Any]) -> float:
    found = graph_suite(list(graphs), real, families=("emd",))
    return float(np.mean([m.value for m in found if m.name.startswith("mmd_")]))


def _with_spread(statistic: Any, rows: NDArray[Any]) -> Interval:
    if len(rows) < 2:
        return np.nan, np.nan, np.nan
    value = statistic(rows)
    return value, *spread(value, statistic, rows)


def _smiles(records: Sequence[Record]) -> list[str]:
    return [r.text for r in records if r.valid]
