"""What a result says about itself in a few numbers, never an exception: shares, diversity,
properties and the reasons of invalid rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.chem.molecules import as_mol, canonical, fingerprints
from scidiff.data.records import Record
from scidiff.evaluation.counts import novelty, uniqueness, validity
from scidiff.evaluation.intervals import STUDENT, mean_interval
from scidiff.evaluation.metric import Metric
from scidiff.evaluation.neighbours import internal_diversity
from scidiff.evaluation.novelty import Known as Known
from scidiff.evaluation.properties import PROPERTIES, UNITS
from scidiff.evaluation.rows import evenly, without_places

DIVERSITY_ROWS = 2_000  # pairs grow with the square
PROPERTY_ROWS = 1_000  # QED and SA take milliseconds a molecule
SHOWN = ("qed", "sa", "logp", "mw")


@dataclass(frozen=True)
class Description:
    """Numbers about a set of rows; NaN where there is nothing to measure."""

    shares: tuple[Metric, ...]  # valid, unique, novel where a training set is known, diversity
    properties: Mapping[str, NDArray[np.float64]]  # name -> values of at most PROPERTY_ROWS rows
    reasons: Mapping[str, int]  # most frequent first, positions left out

    def to_dict(self) -> dict[str, Any]:
        """Names and plain numbers, in the order they are read."""
        found: dict[str, Any] = {"n": self.shares[0].n, **{m.name: m.value for m in self.shares}}
        for name, values in self.properties.items():
            label = "sa_score" if name == "sa" else name  # 1 easy .. 10 hard, not the reward
            found[f"{label}_mean"], found[f"{label}_sd"] = _moments(values)
        return {**found, "reasons": dict(self.reasons)}

    def metrics(self) -> list[Metric]:
        """The same with 95 % intervals where there is one."""
        return [*self.shares, *(_mean(name, values) for name, values in self.properties.items())]


def describe(records: Sequence[Record], kind: str, known: Known | None = None) -> Description:
    """Count and measure rows of one kind; properties and diversity of an evenly spaced part."""
    good = [r for r in records if r.valid]
    names = [row_key(r, kind) for r in good]
    mols = molecules(good) if kind == "molecule" else []
    shares = [validity(len(good), len(records)), uniqueness(names),
              *([] if known is None else [novelty(names, known, "novel")]),
              *([_diversity(mols)] if kind == "molecule" else [])]
    return Description(
        tuple(shares), measured(good, kind),
        dict(Counter(without_places(r.reason) for r in records if not r.valid).most_common()))


def row_key(record: Record, kind: str) -> str:
    """Canonical form of a valid row: the SMILES of a molecule, else its text."""
    if kind != "molecule":
        return record.text
    return canonical(record.obj if isinstance(record.obj, Mol) else record.text) or record.text


def molecules(records: Sequence[Record]) -> list[Mol]:
    """The molecules of the valid rows."""
    found = [r.obj if isinstance(r.obj, Mol) else as_mol(r.text) for r in records if r.valid]
    return [m for m in found if m is not None]


def measured(records: Sequence[Record], kind: str) -> dict[str, NDArray[np.float64]]:
    """Properties of valid rows: of molecules, of graphs, or the length of a text."""
    if kind == "molecule":
        return property_values(molecules(records))
    return graph_values(records) if kind == "graph" else {"length": _lengths(records)}


def graph_values(records: Sequence[Record]) -> dict[str, NDArray[np.float64]]:
    """Nodes, edges, mean degree and mean clustering of at most PROPERTY_ROWS graphs."""
    graphs = [r.obj for r in every(records, PROPERTY_ROWS)]
    sizes = np.array([(len(g), g.number_of_edges()) for g in graphs], np.float64).reshape(-1, 2)
    nodes, edges = sizes.T
    clustering = np.array([nx.average_clustering(g) for g in graphs], np.float64)
    return {"nodes": nodes, "edges": edges, "degree": 2 * edges / nodes, "clustering": clustering}


def property_values(mols: Sequence[Mol]) -> dict[str, NDArray[np.float64]]:
    """QED, SA score (1 easy to 10 hard), logP and weight (g/mol) of at most PROPERTY_ROWS."""
    some = every(mols, PROPERTY_ROWS)
    return {name: np.asarray(PROPERTIES[name](some), np.float64) for name in SHOWN}


def every(rows: Sequence[Any], most: int) -> list[Any]:
    """At most `most` rows, evenly spaced, in order."""
    return [rows[i] for i in evenly(len(rows), most)]


def _diversity(mols: Sequence[Mol]) -> Metric:
    some = every(mols, DIVERSITY_ROWS)
    return Metric("internal_diversity", internal_diversity(fingerprints(some))[0], math.nan,
                  math.nan, len(some), "1 - mean Tanimoto similarity, Morgan radius 2")


def _lengths(records: Sequence[Record]) -> NDArray[np.float64]:
    return np.asarray([len(r.text) for r in records], np.float64)


def _moments(values: NDArray[np.float64]) -> tuple[float, float]:
    mean = float(values.mean()) if len(values) else math.nan
    return mean, float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _mean(name: str, values: NDArray[np.float64]) -> Metric:
    mean, sd = _moments(values)
    return Metric(name, mean, *mean_interval(list(values)), len(values),
                  f"mean {UNITS.get(name, name)}", "" if math.isnan(sd) else f"sd {sd:.3g}",
                  "" if math.isnan(sd) else STUDENT)
