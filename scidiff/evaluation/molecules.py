"""The MOSES metrics (Polykovskiy et al. 2020), by their definitions, each with n and an interval.

Invalid rows stay in the denominator; a metric is NaN where there are fewer rows than it asks for.
The FCD carries the bias of its sample size beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import rdkit
from numpy.typing import NDArray
from rdkit.Chem import Mol
from scipy.stats import wasserstein_distance

from scidiff.chem.molecules import as_mol, canonical, fingerprints, tanimoto
from scidiff.data.records import Record
from scidiff.evaluation.fcd import activations, bias_floor, frechet_distance, moments
from scidiff.evaluation.intervals import SUBSETS, spread, wilson
from scidiff.evaluation.metric import Metric, Report
from scidiff.evaluation.novelty import NoveltyFilter
from scidiff.evaluation.reference import UNITS, Reference, property_table, shipped

KS = (1_000, 10_000)
_BLOCK = 2_000


def moses(
    molecules: Iterable[str | Mol | Record | None], *, train: NoveltyFilter | None = None,
    reference: str | Reference | None = None, fcd: bool = True, device: str = "cpu",
) -> Report:
    """Compute the MOSES suite of a sample, every row of it, valid or not.

    `train` is what novelty is measured against, `reference` what distributions are compared with
    (a shipped name or a fitted `Reference`). SNN, Frag, Scaf and Filters are not in this suite.
    """
    mols = [_molecule(m) for m in molecules]
    valid = [m for m in mols if m is not None]
    keys = [str(canonical(m)) for m in valid]
    reference = reference or "moses_test"
    against = shipped(reference) if isinstance(reference, str) else reference
    found = [validity(len(valid), len(mols)), *(unique(keys, k) for k in KS)]
    if train is not None:
        found.append(novelty(keys, train))
    found += [*diversity(valid), *wasserstein(property_table(valid), against)]
    if fcd and against.fcd_mean is not None:
        found.append(fcd_metric(keys, against, device))
    return Report(tuple(found), {"suite": "moses", "rows": len(mols), "reference": against.name,
                                 "reference_n": against.n, "rdkit": rdkit.__version__})


def _molecule(row: str | Mol | Record | None) -> Mol | None:
    if isinstance(row, Record):
        row = (row.obj if isinstance(row.obj, Mol) else row.text) if row.valid else None
    return None if row is None else as_mol(row)


def validity(valid: int, n: int) -> Metric:
    """Share of all rows that are valid."""
    share = valid / n if n else math.nan
    return Metric("valid", share, *wilson(valid, n), n, "valid rows / all rows")


def unique(keys: Sequence[str], k: int) -> Metric:
    """Distinct keys among the first k valid rows, over k; NaN where there are fewer."""
    what = f"distinct canonical forms among the first {k:,} valid rows / {k:,}"
    if len(keys) < k or k == 0:
        return Metric(f"unique@{k}", math.nan, math.nan, math.nan, len(keys), what,
                      f"needs {k:,} valid rows")
    distinct = len(set(keys[:k]))
    return Metric(f"unique@{k}", distinct / k, *wilson(distinct, k), k, what)


def novelty(keys: Sequence[str], train: NoveltyFilter) -> Metric:
    """Distinct valid objects outside the training set, over distinct valid objects.

    The filter takes a share f of new objects for known ones, so the count is divided by 1 - f.
    """
    what = "distinct valid rows not in the training set / distinct valid rows"
    distinct, rate = sorted(set(keys)), train.false_positive_rate
    n = len(distinct)
    if n == 0:
        return Metric("novelty", math.nan, math.nan, math.nan, 0, what)
    new = min(int((~train.contains(distinct)).sum()) / (1 - rate), n)
    return Metric("novelty", new / n, *wilson(round(new), n), n, what,
                  f"{train.size:,} training objects, {rate:.2%} false positives corrected")


def diversity(mols: Sequence[Mol]) -> tuple[Metric, Metric]:
    """IntDiv_p, p = 1, 2: 1 - mean_i (mean_j T_ij^p)^(1/p), j = i included.

    Morgan fingerprints of radius 2 and 1,024 bits. As in the MOSES code the root is taken for each
    molecule, not after both means: the published numbers come from that.
    """
    bits = fingerprints(list(mols))
    values = internal_diversity(bits)

    def metric(name: str, p: int) -> Metric:
        bounds = spread(values[p - 1], lambda some: internal_diversity(some)[p - 1], bits)
        return Metric(name, values[p - 1], *bounds, len(mols),
                      f"1 - mean (mean Tanimoto^{p})^(1/{p}), Morgan radius 2, 1,024 bits")

    return metric("int_div", 1), metric("int_div2", 2)


def internal_diversity(bits: NDArray[np.uint8]) -> tuple[float, float]:
    """IntDiv_1 and IntDiv_2 of packed fingerprints (B, W); NaN below two molecules."""
    if len(bits) < 2:
        return math.nan, math.nan
    first, second = np.zeros(len(bits)), np.zeros(len(bits))
    for start in range(0, len(bits), _BLOCK):
        for other in range(0, len(bits), _BLOCK):
            similar = tanimoto(bits[start:start + _BLOCK], bits[other:other + _BLOCK])
            first[start:start + _BLOCK] += similar.sum(1, dtype=np.float64)
            second[start:start + _BLOCK] += np.square(similar).sum(1, dtype=np.float64)
    n = len(bits)
    return 1 - float((first / n).mean()), 1 - float(np.sqrt(second / n).mean())


def wasserstein(table: dict[str, NDArray[np.float64]], against: Reference) -> list[Metric]:
    """1-Wasserstein distance of logP, SA, QED and weight to the reference, in their own units."""
    found = []
    for name, values in table.items():
        def distance(v: NDArray[np.float64], name: str = name) -> float:
            return float(wasserstein_distance(v, against.properties[name]))

        value = distance(values) if len(values) else math.nan
        found.append(Metric(f"{name}_w1_{against.name}", value, *spread(value, distance, values),
                            len(values), f"1-Wasserstein distance of {UNITS[name]}",
                            f"reference {against.n:,}"))
    return found


def fcd_metric(smiles: Sequence[str], against: Reference, device: str = "cpu") -> Metric:
    """Frechet ChemNet distance of the valid rows to the reference; NaN below two rows a subset.

    Its interval is the spread over disjoint subsets, so their larger bias does not enter.
    """
    name, what = f"fcd_{against.name}", "Frechet distance of 512 ChemNet activations"
    if len(smiles) < 2 * SUBSETS or against.fcd_mean is None or against.fcd_cov is None:
        return Metric(name, math.nan, math.nan, math.nan, len(smiles), what)
    mean, cov = against.fcd_mean, against.fcd_cov

    def distance(features: Any) -> float:
        return frechet_distance(*moments(features), mean, cov)

    features = activations(smiles, device)
    value = distance(features)
    return Metric(name, value, *spread(value, distance, features), len(smiles), what,
                  f"real molecules score {bias_floor(len(smiles)):.3f} at this n")
