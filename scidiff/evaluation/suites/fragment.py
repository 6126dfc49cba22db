"""The quality suite of fragment-based generators (SAFE-GPT, GenMol: Lee et al. 2025).

Quality rewards low diversity, so diversity always stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scidiff.chem.molecules import fingerprints
from scidiff.evaluation.counts import novelty, proportion, uniqueness, validity
from scidiff.evaluation.features import Column, collect
from scidiff.evaluation.intervals import SPREAD, spread
from scidiff.evaluation.metric import Metric, Report, versions
from scidiff.evaluation.neighbours import internal_diversity
from scidiff.evaluation.novelty import Known
from scidiff.evaluation.properties import PROPERTIES
from scidiff.evaluation.rows import as_record, evenly, first_of_kind
from scidiff.evaluation.suite import Suite, known_molecules

LEAST_QED, MOST_SA = 0.6, 4.0
PAIR_ROWS = 50_000
BITS = 2_048


def fragment(
    rows: Iterable[Any], *, train: Known | None = None, reference: Any = None, fcd: bool = False,
    device: str = "cpu",
) -> Report:
    """Compute the fragment suite: valid, unique, quality, diversity, and novelty with `train`."""
    bits = Column(lambda mols: fingerprints(mols, bits=BITS))
    qed, sa = Column(PROPERTIES["qed"]), Column(PROPERTIES["sa"])
    sample = collect(map(as_record, rows), bits, qed, sa)
    first = first_of_kind(sample.keys)
    good = (qed.values()[first] >= LEAST_QED) & (sa.values()[first] <= MOST_SA)
    found = [validity(len(sample.keys), sample.n), uniqueness(sample.keys),
             quality(int(good.sum()), sample.n), diversity(bits.values()[first], device)]
    if train is not None:
        found.append(novelty(sample.keys, train))
    return Report(tuple(found), {"suite": "fragment", "rows": sample.n,
                                 "valid": len(sample.keys), **versions()})


def quality(good: int, n: int) -> Metric:
    """Share of all rows that are valid, the first of their kind, drug-like and easy to make."""
    return proportion("quality", good, n, f"distinct valid rows of QED >= {LEAST_QED} and SA <= "
                      f"{MOST_SA:g} / all rows")


def diversity(bits: NDArray[np.uint8], device: str = "cpu") -> Metric:
    """1 - mean T_ij over pairs i < j of distinct molecules, Morgan radius 2, 2,048 bits.

    IntDiv_1 counts the n pairs i = j, where T is 1; without them it is n / (n - 1) as large.
    """
    def of_pairs(some: NDArray[np.uint8]) -> float:
        n = len(some)
        return internal_diversity(some, device)[0] * n / (n - 1) if n > 1 else math.nan

    some = bits[evenly(len(bits), PAIR_ROWS)]
    value = of_pairs(some)
    bounds = spread(value, of_pairs, some)
    return Metric("diversity", value, *bounds, len(some),
                  f"1 - mean Tanimoto of pairs of distinct molecules, Morgan radius 2, {BITS:,} "
                  "bits", method="" if math.isnan(bounds[0]) else SPREAD)


SUITE = Suite(fragment, known=known_molecules)
