"""The MOSES suite (Polykovskiy et al. 2020), by its definitions, against Test and TestSF.

Names are definitions: `snn_testsf` is the similarity to the nearest neighbour of scaffold Test.
Memory is bounded by blocks: about 1.2 GB in all, and .5 GB more for a million rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from scidiff.chem.molecules import fingerprints
from scidiff.evaluation.chemnet import ChemNet, fcd_metric
from scidiff.evaluation.counts import novelty, proportion, uniqueness, validity
from scidiff.evaluation.features import Column, Counts, collect
from scidiff.evaluation.filters import passes_filters
from scidiff.evaluation.fitted import COMMAND, moses_references, moses_train
from scidiff.evaluation.fragments import brics_fragments, cosine_metric, ring_scaffold
from scidiff.evaluation.intervals import SPREAD, STUDENT, mean_interval, spread
from scidiff.evaluation.metric import Metric, Report, absent, versions
from scidiff.evaluation.neighbours import internal_diversity, nearest_similarity
from scidiff.evaluation.novelty import Known
from scidiff.evaluation.properties import PROPERTIES, UNITS
from scidiff.evaluation.reference import Reference, as_reference
from scidiff.evaluation.rows import as_record, evenly
from scidiff.evaluation.suite import Suite, known_molecules

KS = (1_000, 10_000)
PAIR_ROWS = 50_000  # beyond it similarities are those of so many rows, evenly spaced
MORGAN = "Morgan radius 2, 1,024 bits"


def moses(
    rows: Iterable[Any], *, train: Known | None = None, reference: Any = None,
    fcd: bool = True, device: str = "cpu",
) -> Report:
    """Compute the MOSES suite of a sample, every row of it, valid or not.

    `train` is what novelty is measured against; `reference` (see `as_reference`) replaces Test and
    TestSF.
    """
    references = moses_references() if reference is None else (
        as_reference(reference, fcd=fcd, device=device),)
    bits, passes = Column(fingerprints), Column(lambda mols: [passes_filters(m) for m in mols])
    fragments, scaffolds = Counts(brics_fragments), Counts(ring_scaffold)
    columns = {name: Column(f) for name, f in PROPERTIES.items()}
    chemnet = ChemNet(device) if fcd and any(r.fcd_mean is not None for r in references) else None
    sample = collect(map(as_record, rows), bits, passes, fragments, scaffolds, *columns.values(),
                     *([] if chemnet is None else [chemnet]))
    packed, table = bits.values(), {name: c.values() for name, c in columns.items()}
    found = [validity(len(sample.keys), sample.n), *(uniqueness(sample.keys, k) for k in KS)]
    if train is not None:
        found.append(novelty(sample.keys, train))
    found += [*diversity(packed, device), filters(passes.values())]
    for against in references:
        if chemnet is not None and against.fcd_mean is not None:
            found.append(fcd_metric(chemnet, against))
        found += [nearest_metric(packed, against, device),
                  counted("frag", fragments, against, "BRICS fragments"),
                  counted("scaf", scaffolds, against, "scaffolds of two rings or more"),
                  *wasserstein(table, against)]
    return Report(tuple(found), {"suite": "moses", "rows": sample.n, "valid": len(sample.keys),
                                 "references": [r.facts() for r in references], **versions()})


def filters(passed: NDArray[np.bool_]) -> Metric:
    """Share of the valid rows that pass the filters of `passes_filters`."""
    return proportion("filters", int(passed.sum()), len(passed),
                      "no MCF or PAINS pattern, C N S O F Cl Br H, no charge, rings below 8 atoms "
                      "/ valid rows")


def diversity(bits: NDArray[np.uint8], device: str = "cpu") -> tuple[Metric, Metric]:
    """IntDiv_p, p = 1, 2, of `internal_diversity`."""
    some = bits[evenly(len(bits), PAIR_ROWS)]
    values = internal_diversity(some, device)

    def metric(name: str, p: int) -> Metric:
        bounds = spread(values[p - 1], lambda part: internal_diversity(part, device)[p - 1], some)
        return Metric(name, values[p - 1], *bounds, len(some),
                      f"1 - mean (mean Tanimoto^{p})^(1/{p}), {MORGAN}",
                      method="" if math.isnan(bounds[0]) else SPREAD)

    return metric("int_div", 1), metric("int_div2", 2)


def nearest_metric(bits: NDArray[np.uint8], against: Reference, device: str = "cpu") -> Metric:
    """SNN: mean Tanimoto similarity of a row to its nearest neighbour in the reference."""
    name, what = f"snn_{against.name}", f"mean of max Tanimoto to {against.n:,} rows, {MORGAN}"
    if against.bits is None or not len(bits):
        return absent(name, len(bits), what, needs(against))
    some = bits[evenly(len(bits), PAIR_ROWS)]
    found = nearest_similarity(some, against.bits, device)
    bounds = mean_interval(found.tolist())
    return Metric(name, float(found.mean()), *bounds, len(some), what,
                  method="" if math.isnan(bounds[0]) else STUDENT)


def counted(kind: str, counts: Counts, against: Reference, what: str) -> Metric:
    """Frag or Scaf: cosine of counts to those of the reference."""
    name = f"{kind}_cos_{against.name}"
    of = against.fragments if kind == "frag" else against.scaffolds
    if of is None:
        return absent(name, counts.seen, f"cosine of counts of {what}", needs(against))
    return cosine_metric(name, counts.parts, of, counts.seen, what)


def needs(against: Reference) -> str:
    """What to do about a reference without its molecules."""
    return f"needs the molecules of the reference: {COMMAND}" if against.bits is None else ""


def wasserstein(table: dict[str, NDArray[np.float64]], against: Reference) -> list[Metric]:
    """1-Wasserstein distance of logP, SA, QED and weight to the reference, in their own units."""
    found = []
    for name, values in table.items():
        def distance(v: NDArray[np.float64], name: str = name) -> float:
            return float(wasserstein_distance(v, against.properties[name]))

        value = distance(values) if len(values) else math.nan
        bounds = spread(value, distance, values)
        found.append(Metric(f"{name}_w1_{against.name}", value, *bounds, len(values),
                            f"1-Wasserstein distance of {UNITS[name]}",
                            method="" if math.isnan(bounds[0]) else SPREAD))
    return found


SUITE = Suite(moses, fcd=True, known=known_molecules, against=lambda given: given,
              at_hand=moses_train, train="moses-smiles", n=30_000)
