"""Where rows lie on a shared map, and what is measured of each: the columns a report adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.chem.molecules import parse
from scidiff.data.graph_exchange import to_networkx
from scidiff.data.graph_text import parse as parse_graph
from scidiff.data.records import Record
from scidiff.evaluation.description import PROPERTY_ROWS, SHOWN, graph_values, property_values
from scidiff.evaluation.likeness import alphabet_of, features, principal_axes
from scidiff.evaluation.metric import LABELS
from scidiff.evaluation.plots import TITLES
from scidiff.rewards.sequences import gc

LEAST = 3  # rows of a map
AXES = ("map 1", "map 2")
Columns = dict[str, list[float]]  # one value a row, NaN where there is none


def objects(records: Sequence[Record], kind: str) -> list[Any]:
    """Molecule, graph or text of every row; None where a row is invalid."""
    return [_object(r, kind) if r.valid else None for r in records]


def _object(record: Record, kind: str) -> Any:
    if kind == "molecule":
        return record.obj if isinstance(record.obj, Mol) else parse(record.text)
    if kind == "graph" and not isinstance(record.obj, nx.Graph):
        return to_networkx(*parse_graph(record.text))
    return record.obj if kind == "graph" else record.text


def measured(rows: Sequence[Any], kind: str) -> Columns:
    """Properties of molecules, sizes and clustering of graphs, length (and GC) of sequences."""
    good = [row for row in rows if row is not None]
    if kind == "sequence":
        found = {"length": [float(len(s)) for s in good]}
        if good and alphabet_of(good).name != "peptide":
            found["GC"] = [float(v) for v in gc(good)]
    else:
        found = _in_parts(good, kind)
    return {name: _spread(values, rows) for name, values in found.items()}


def _in_parts(good: Sequence[Any], kind: str) -> Columns:
    """The measures of a description, which takes a bounded number of rows at once."""
    names = {n: LABELS[n] for n in SHOWN} if kind == "molecule" else {
        n: TITLES[n] for n in ("nodes", "edges", "degree", "clustering")}
    found: Columns = {label: [] for label in names.values()}
    for start in range(0, len(good), PROPERTY_ROWS):
        part = good[start:start + PROPERTY_ROWS]
        told = property_values(part) if kind == "molecule" else graph_values(
            [Record("", graph, True) for graph in part])
        for name, label in names.items():
            found[label] += told[name].tolist()
    return found


def _spread(values: Sequence[float], rows: Sequence[object | None]) -> list[float]:
    left = iter(values)
    return [math.nan if row is None else next(left) for row in rows]


def mapped(rows: Sequence[Any], kind: str) -> tuple[NDArray[np.float64], str]:
    """Places (B, 2) of all rows on the two main axes of their features, NaN for invalid rows, and
    what these are; "" and NaN everywhere for fewer than three valid rows."""
    there = [i for i, row in enumerate(rows) if row is not None]
    places = np.full((len(rows), 2), np.nan)
    if len(there) < LEAST:
        return places, ""
    vectors, what = features([rows[i] for i in there], kind)
    places[there], shares = principal_axes(vectors)
    return places, (f"principal axes of {what}: {100 * shares[0]:.0f} % and "
                    f"{100 * shares[1]:.0f} % of the variance")
