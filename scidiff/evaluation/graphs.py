"""The suite of plain graphs: MMD of descriptors in both published families, validity,
uniqueness and novelty up to isomorphism, each beside what training graphs score."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np

from scidiff.data.graphs import GraphState
from scidiff.data.records import Record
from scidiff.evaluation.adjacency import Adjacency, adjacencies, adjacency, without_isolated
from scidiff.evaluation.counts import proportion
from scidiff.evaluation.graph_descriptors import describe_graphs
from scidiff.evaluation.graph_validity import Predicate, predicate
from scidiff.evaluation.intervals import REPEATS, SPREAD, repeats_interval, spread
from scidiff.evaluation.isomorphism import GraphSet, isomorphism_classes, wl_key
from scidiff.evaluation.metric import Metric, Report, absent, versions
from scidiff.evaluation.mmd import FAMILIES, Discrepancy, Kernel, Rows, mmd
from scidiff.evaluation.rows import evenly
from scidiff.messages import nearest

Graphs = GraphState | Sequence[Any]  # see adjacencies
Table = Mapping[str, Rows]  # descriptor -> (B, width)
_NONE = "needs a generated graph"


def graph_suite(
    generated: Graphs, reference: Graphs, *, train: Graphs | None = None,
    families: Sequence[str] = ("emd", "tv"), valid: str | Predicate | None = None,
) -> Report:
    """Compare graphs with a reference (the test split): MMD, and V.U.N. where `valid` is given.

    With `train` every MMD has the floor beside it: what the same number of training graphs scores
    against the same reference; `ratio_*` divides by the MMD of the whole training set. `valid`
    is planar, tree, lobster, sbm, sbm_lrt or a function of an (n, n) bool array. A generated row
    that is None, or a record without an object, is not valid, novel or in any MMD, but counted.
    Raises ValueError for a set without rows, an unknown name, or a row that is no graph.
    """
    for family in families:
        if family not in FAMILIES:
            raise ValueError(f"unknown family {family!r}{nearest(family, list(FAMILIES))}; "
                             f"expected {' or '.join(FAMILIES)}")
    test = None if valid is None else predicate(valid)
    own, other = _present(generated), _graphs(reference, "reference")
    known = None if train is None else _graphs(train, "train")
    names = {d for family in families for d in FAMILIES[family]}
    tables, against = _tables(own, names), describe_graphs(other, names)
    trained = None if known is None else _tables(known, names)
    found = [m for family in families for m in mmd_metrics(
        family, tables[family], against, None if trained is None else trained[family])]
    found += vun(own, known, test, len(generated))
    return Report(tuple(found), {
        "suite": "graph", "rows": len(generated), "graphs": len(own), "reference_n": len(other),
        "reference_hash": fingerprint(other), "train_n": 0 if known is None else len(known),
        "networkx": nx.__version__, **versions()})


def mmd_metrics(
    family: str, own: Table, other: Table, train: Table | None = None
) -> list[Metric]:
    """MMD of every descriptor in one family, each followed by its floor, and their ratio."""
    found, parts = [], []
    for d, kernel in FAMILIES[family].items():
        name, note = f"mmd_{d}_{kernel.distance}", f"reference {len(other[d]):,}"
        what = f"MMD^2 (V-statistic) of {d} with {kernel}"
        if train is None:
            found.append(_metric(name, own[d], other[d], kernel, what, note))
            continue
        some = train[d][evenly(len(train[d]), len(own[d]))]
        floor = _metric(f"{name}_floor", some, other[d], kernel, f"{name} of training graphs")
        if floor.n:
            note += f"; {floor.n:,} training graphs score {floor.value:.4f}"
        metric = _metric(name, own[d], other[d], kernel, what, note)
        whole = mmd(train[d], other[d], kernel)
        # a training set that is the reference has no distance to divide by
        parts.append(metric.value / whole if whole > 0 else math.nan)
        found += [metric, floor]
    return found if train is None else [*found, _ratio(family, parts, found[0].n)]


def vun(
    generated: Sequence[Adjacency], train: Sequence[Adjacency] | None,
    test: tuple[str, Predicate] | None, rows: int | None = None,
) -> list[Metric]:
    """Valid, novel, and both and unique at once, of all `rows`; unique of the graphs among them.

    A graph is unique where no earlier one is isomorphic to it, novel where no training graph is.
    """
    classes = isomorphism_classes(generated)
    _, at, times = np.unique(classes, return_index=True, return_counts=True)
    first, n = np.isin(np.arange(len(generated)), at), rows or len(generated)
    what = "graphs not isomorphic to an earlier one / all graphs"
    found = [Metric("unique", len(at) / len(classes), *repeats_interval(times), len(classes),
                    what, method=REPEATS) if len(classes) else absent("unique", 0, what, _NONE)]
    good = first
    if train is not None:
        known = GraphSet(train)
        new = np.array([A not in known for A in generated], np.bool_)
        found.append(proportion("novel", int(new.sum()), n,
                                "graphs not isomorphic to a training graph / all rows",
                                f"{len(train):,} training graphs"))
        good = good & new
    if test is not None:
        name, obeys = test
        obeyed = np.array([obeys(A) for A in generated], np.bool_)
        what = (obeys.__doc__ or name).strip().split("\n")[0]
        found.append(proportion(f"valid_{name}", int(obeyed.sum()), n,
                                f"valid graphs / all rows: {what}"))
        if train is not None:
            found.append(proportion(f"vun_{name}", int((good & obeyed).sum()), n,
                                    "valid, unique and novel graphs / all rows"))
    return found


def fingerprint(graphs: Sequence[Adjacency]) -> str:
    """Name a set of graphs by what is in it, whatever the order of graphs and nodes."""
    keys = sorted((len(A), wl_key(A)) for A in graphs)
    return hashlib.sha256(repr(keys).encode()).hexdigest()[:12]


def _present(generated: Graphs) -> list[Adjacency]:
    """The graphs among generated rows, some of which may be lost; an error names the row."""
    if isinstance(generated, GraphState) or not len(generated):
        return _graphs(generated, "generated")
    lost = [row is None or (isinstance(row, Record) and row.obj is None) for row in generated]
    return [adjacency(row, f"generated graph {i}")
            for i, row in enumerate(generated) if not lost[i]]


def _graphs(graphs: Graphs, name: str) -> list[Adjacency]:
    found = adjacencies(graphs, f"{name} graph")
    if not found:
        raise ValueError(f"{name} must hold at least one graph, got none")
    return found


def _tables(graphs: Sequence[Adjacency], names: Collection[str]) -> dict[str, Table]:
    """Descriptors of graphs that are compared with a reference: the emd protocol takes isolated
    nodes out of these, never out of the reference."""
    whole = describe_graphs(graphs, names)
    if all(A.any(1).all() for A in graphs):
        return {"emd": whole, "tv": whole}
    return {"emd": describe_graphs([without_isolated(A) for A in graphs], names), "tv": whole}


def _metric(
    name: str, own: Rows, other: Rows, kernel: Kernel, what: str, note: str = ""
) -> Metric:
    n = len(own)
    if n == 0:
        return absent(name, n, what, _NONE)
    pair = Discrepancy.of(own, other, kernel)
    value = pair.value()
    low, high = spread(value, pair.value, np.arange(n))
    return Metric(name, value, low, high, n, what, note, "" if math.isnan(low) else SPREAD)


def _ratio(family: str, parts: Sequence[float], n: int) -> Metric:
    """Mean over descriptors of MMD(generated, reference) / MMD(train, reference)."""
    return Metric(f"ratio_{family}", float(np.mean(parts)), math.nan, math.nan, n,
                  f"mean over {', '.join(FAMILIES[family])} of MMD / MMD of the training set")
