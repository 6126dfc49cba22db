"""What a result says about itself in a few numbers, never an exception: shares, diversity,
properties and the reasons of invalid rows."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.chem.molecules import as_mol, canonical, fingerprints
from scidiff.data.records import Record
from scidiff.evaluation.intervals import mean_interval, wilson
from scidiff.evaluation.metric import Metric
from scidiff.evaluation.molecules import internal_diversity
from scidiff.evaluation.reference import PROPERTIES, UNITS

DIVERSITY_ROWS = 2_000  # pairs grow with the square
PROPERTY_ROWS = 1_000  # QED and SA take milliseconds a molecule
SHOWN = ("qed", "sa", "logp", "mw")


class Known(Protocol):
    """What `novel` is measured against."""

    def contains(self, keys: Sequence[str]) -> NDArray[np.bool_]: ...


@dataclass(frozen=True)
class Description:
    """Numbers about a set of rows; NaN where there is nothing to measure."""

    n: int
    valid: int
    distinct: int  # among the valid rows
    novel: float | None  # share of the distinct ones; None where no training set is known
    diversity: float | None  # 1 - mean Tanimoto similarity; None where rows are no molecules
    properties: Mapping[str, NDArray[np.float64]]  # name -> values of at most PROPERTY_ROWS rows
    reasons: Mapping[str, int]  # most frequent first, positions left out

    def to_dict(self) -> dict[str, Any]:
        """Names and plain numbers, in the order they are read."""
        found: dict[str, Any] = {"n": self.n, "valid": _share(self.valid, self.n),
                                 "unique": _share(self.distinct, self.valid)}
        if self.novel is not None:
            found["novel"] = self.novel
        if self.diversity is not None:
            found["internal_diversity"] = self.diversity
        for name, values in self.properties.items():
            label = "sa_score" if name == "sa" else name  # 1 easy .. 10 hard, not the reward
            found[f"{label}_mean"], found[f"{label}_sd"] = _moments(values)
        return {**found, "reasons": dict(self.reasons)}

    def metrics(self) -> list[Metric]:
        """The same with 95 % intervals where there is one."""
        nan = math.nan
        found = [
            Metric("valid", _share(self.valid, self.n), *wilson(self.valid, self.n), self.n,
                   "valid rows / all rows"),
            Metric("unique", _share(self.distinct, self.valid),
                   *wilson(self.distinct, self.valid), self.valid, "distinct / valid rows")]
        if self.novel is not None:
            new = 0 if math.isnan(self.novel) else round(self.novel * self.distinct)
            found.append(Metric("novel", self.novel, *wilson(new, self.distinct), self.distinct,
                                "not in the training set / distinct valid rows"))
        if self.diversity is not None:
            found.append(Metric("internal_diversity", self.diversity, nan, nan,
                                min(self.valid, DIVERSITY_ROWS),
                                "1 - mean Tanimoto similarity, Morgan radius 2"))
        return found + [_mean(name, values) for name, values in self.properties.items()]


def describe(records: Sequence[Record], kind: str, known: Known | None = None) -> Description:
    """Count and measure rows of one kind; properties and diversity of an evenly spaced part."""
    good = [r for r in records if r.valid]
    names = sorted({row_key(r, kind) for r in good})
    chemical = kind == "molecule"
    mols = molecules(good) if chemical else []
    return Description(
        len(records), len(good), len(names),
        None if known is None else _novel(names, known),
        _diversity(every(mols, DIVERSITY_ROWS)) if chemical else None,
        property_values(mols) if chemical else {"length": _lengths(good)},
        dict(Counter(_without_places(r.reason) for r in records if not r.valid).most_common()))


def row_key(record: Record, kind: str) -> str:
    """Canonical form of a valid row: the SMILES of a molecule, else its text."""
    if kind != "molecule":
        return record.text
    return canonical(record.obj if isinstance(record.obj, Mol) else record.text) or record.text


def molecules(records: Sequence[Record]) -> list[Mol]:
    """The molecules of the valid rows."""
    found = [r.obj if isinstance(r.obj, Mol) else as_mol(r.text) for r in records if r.valid]
    return [m for m in found if m is not None]


def property_values(mols: Sequence[Mol]) -> dict[str, NDArray[np.float64]]:
    """QED, SA score (1 easy to 10 hard), logP and weight (g/mol) of at most PROPERTY_ROWS."""
    some = every(mols, PROPERTY_ROWS)
    return {name: np.asarray(PROPERTIES[name](some), np.float64) for name in SHOWN}


def every(rows: Sequence[Any], most: int) -> list[Any]:
    """At most `most` rows, evenly spaced, in order."""
    if len(rows) <= most:
        return list(rows)
    return [rows[i] for i in np.linspace(0, len(rows) - 1, most).round().astype(int)]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _novel(names: Sequence[str], known: Known) -> float:
    if not names:
        return math.nan
    # a filter takes a share of the new for known
    wrong = float(getattr(known, "false_positive_rate", 0.0))
    new = float((~np.asarray(known.contains(names), np.bool_)).sum())
    return min(new / (1 - wrong) / len(names), 1.0)


def _diversity(mols: Sequence[Mol]) -> float:
    return internal_diversity(fingerprints(mols))[0] if mols else math.nan


def _lengths(records: Sequence[Record]) -> NDArray[np.float64]:
    return np.asarray([len(r.text) for r in records], np.float64)


def _moments(values: NDArray[np.float64]) -> tuple[float, float]:
    mean = float(values.mean()) if len(values) else math.nan
    return mean, float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _mean(name: str, values: NDArray[np.float64]) -> Metric:
    mean, sd = _moments(values)
    return Metric(name, mean, *mean_interval(list(values)), len(values),
                  f"mean {UNITS.get(name, name)}", "" if math.isnan(sd) else f"sd {sd:.3g}")


def _without_places(reason: str) -> str:
    """A reason without the numbers of atoms and positions, so that equal faults count together."""
    reason = re.sub(r"(\b[A-Za-z]{1,2}\d+\b[ ,]*){2,}", "… ", reason)
    reason = re.sub(r"\b([A-Z][a-z]?)\d+\b", r"\1", reason)
    return re.sub(r"\b(position|atom|ring|row) \d+", r"\1 …", reason)
