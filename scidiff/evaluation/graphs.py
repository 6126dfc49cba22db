"""The suite of plain graphs: MMD of four descriptors in both published families, validity,
uniqueness and novelty up to isomorphism, each beside what training graphs score."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from scidiff.data.graphs import GraphState
from scidiff.evaluation.adjacency import Adjacency, adjacencies, without_isolated
from scidiff.evaluation.graph_descriptors import describe_graphs
from scidiff.evaluation.graph_validity import Predicate, predicate
from scidiff.evaluation.intervals import spread, wilson
from scidiff.evaluation.isomorphism import GraphSet, first_of_its_kind, wl_key
from scidiff.evaluation.metric import Metric, Report
from scidiff.evaluation.mmd import FAMILIES, Discrepancy, Kernel, Rows, mmd
from scidiff.rewards.registry import nearest

Graphs = GraphState | Sequence[Any]  # see adjacencies
Table = Mapping[str, Rows]  # descriptor -> (B, width)


def graph_suite(
    generated: Graphs, reference: Graphs, *, train: Graphs | None = None,
    families: Sequence[str] = ("emd", "tv"), valid: str | Predicate | None = None,
) -> Report:
    """Compare graphs with a reference (the test split): MMD, and V.U.N. where `valid` is given.

    With `train` every MMD has the floor beside it: what the same number of training graphs scores
    against the same reference; `ratio_*` divides by the MMD of the whole training set. `valid`
    is planar, tree, lobster, sbm, sbm_lrt or a function of an (n, n) bool array.
    Raises ValueError for an empty set, an unknown name, or a row that is no graph.
    """
    for family in families:
        if family not in FAMILIES:
            raise ValueError(f"unknown family {family!r}{nearest(family, list(FAMILIES))}; "
                             f"expected {' or '.join(FAMILIES)}")
    test = None if valid is None else predicate(valid)
    own, other = _graphs(generated, "generated"), _graphs(reference, "reference")
    known = None if train is None else _graphs(train, "train")
    found = [m for family in families for m in mmd_metrics(own, other, family, known)]
    found += vun(own, known, test)
    return Report(tuple(found), {
        "suite": "graph", "rows": len(own), "reference_n": len(other),
        "reference_hash": fingerprint(other), "train_n": 0 if known is None else len(known),
        "networkx": nx.__version__, "numpy": np.__version__})


def mmd_metrics(
    generated: Sequence[Adjacency], reference: Sequence[Adjacency], family: str,
    train: Sequence[Adjacency] | None = None,
) -> list[Metric]:
    """MMD of the four descriptors in one family, each followed by its floor, and their ratio."""
    own, other = _described(generated, family), describe_graphs(reference)
    if train is None:
        return [_mmd_metric(own[d], other[d], d, kernel, None)
                for d, kernel in FAMILIES[family].items()]
    whole = _described(train, family)
    rows = np.linspace(0, len(train) - 1, min(len(train), len(generated))).round().astype(int)
    found = [_mmd_metric(own[d], other[d], d, kernel, whole[d][rows])
             for d, kernel in FAMILIES[family].items()]
    floors = [_floor(metric, whole[d][rows], other[d], kernel)
              for metric, (d, kernel) in zip(found, FAMILIES[family].items(), strict=True)]
    paired = [m for pair in zip(found, floors, strict=True) for m in pair]
    return [*paired, _ratio(found, whole, other, family)]


def vun(
    generated: Sequence[Adjacency], train: Sequence[Adjacency] | None,
    test: tuple[str, Predicate] | None,
) -> list[Metric]:
    """Valid, unique, novel, and all three at once; every generated graph is in each denominator.

    A graph is unique where no earlier one is isomorphic to it, novel where no training graph is.
    """
    n, rows = len(generated), np.arange(len(generated))
    first = first_of_its_kind(generated)

    def distinct(some: NDArray[np.int64]) -> float:
        return float(first_of_its_kind([generated[i] for i in some]).mean())

    found = [Metric("unique", float(first.mean()), *spread(float(first.mean()), distinct, rows),
                    n, "graphs not isomorphic to an earlier one / all graphs")]
    good = first
    if train is not None:
        known = GraphSet(train)
        new = np.array([A not in known for A in generated])
        found.append(_share("novel", new, "graphs not isomorphic to a training graph / all graphs",
                            f"{len(train):,} training graphs"))
        good = good & new
    if test is not None:
        name, obeys = test
        obeyed = np.array([obeys(A) for A in generated])
        what = (obeys.__doc__ or name).strip().split("\n")[0]
        found.append(_share(f"valid_{name}", obeyed, f"valid graphs / all graphs: {what}"))
        if train is not None:
            found.append(_share(f"vun_{name}", good & obeyed,
                                "valid, unique and novel graphs / all graphs"))
    return found


def fingerprint(graphs: Sequence[Adjacency]) -> str:
    """Name a set of graphs by what is in it, whatever the order of graphs and nodes."""
    keys = sorted((len(A), wl_key(A)) for A in graphs)
    return hashlib.sha256(repr(keys).encode()).hexdigest()[:12]


def _graphs(graphs: Graphs, name: str) -> list[Adjacency]:
    found = adjacencies(graphs)
    if not found:
        raise ValueError(f"{name} must hold at least one graph, got none")
    return found


def _described(graphs: Sequence[Adjacency], family: str) -> Table:
    """Descriptors of graphs that are compared with a reference: the emd protocol takes isolated
    nodes out of these, never out of the reference."""
    return describe_graphs([without_isolated(A) for A in graphs] if family == "emd" else graphs)


def _mmd_metric(own: Rows, other: Rows, name: str, kernel: Kernel, floor: Rows | None) -> Metric:
    pair = Discrepancy.of(own, other, kernel)
    value = pair.value()
    note = f"reference {len(other):,}"
    if floor is not None:
        note += f"; {len(floor):,} training graphs score {mmd(floor, other, kernel):.4f}"
    return Metric(f"mmd_{name}_{kernel.distance}", value,
                  *spread(value, pair.value, np.arange(len(own))), len(own),
                  f"MMD^2 (V-statistic) of {name} with {kernel}", note)


def _floor(metric: Metric, floor: Rows, other: Rows, kernel: Kernel) -> Metric:
    pair = Discrepancy.of(floor, other, kernel)
    value = pair.value()
    return Metric(f"{metric.name}_floor", value, *spread(value, pair.value, np.arange(len(floor))),
                  len(floor), f"{metric.name} of training graphs, evenly spaced")


def _ratio(found: Sequence[Metric], whole: Table, other: Table, family: str) -> Metric:
    """Mean over descriptors of MMD(generated, reference) / MMD(train, reference)."""
    kernels = FAMILIES[family]
    below = [mmd(whole[d], other[d], kernel) for d, kernel in kernels.items()]
    # a training set that is the reference has no floor to divide by
    parts = [m.value / b if b > 0 else math.nan for m, b in zip(found, below, strict=True)]
    return Metric(f"ratio_{family}", float(np.mean(parts)), math.nan, math.nan, found[0].n,
                  "mean over degree, clustering, orbit and spectral of MMD / MMD of the train set",
                  "published ratios also average a wavelet descriptor")


def _share(name: str, rows: NDArray[np.bool_], what: str, note: str = "") -> Metric:
    hits, n = int(rows.sum()), len(rows)
    return Metric(name, hits / n, *wilson(hits, n), n, what, note)
