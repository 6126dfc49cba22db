"""The suite of plain graphs against a reference of the user's, such as the test split."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from scidiff.evaluation.graphs import graph_suite
from scidiff.evaluation.metric import Report
from scidiff.evaluation.suite import Suite, objects_of


def measure(
    rows: Iterable[Any], *, train: Any = None, reference: Any = None, fcd: bool = False,
    device: str = "cpu",
) -> Report:
    """Both MMD families, uniqueness and, with training graphs, novelty and floors.

    Raises ValueError without a reference: there is no default one.
    """
    if reference is None:
        raise ValueError("suite 'graph' needs a reference: graphs or a file of them, the test "
                         "split, got None")
    known = None if hasattr(train, "contains") else train  # a set of names knows no graphs
    return graph_suite(list(rows), reference, train=known)


_graphs = partial(objects_of, kind="graph")
SUITE = Suite(measure, kind="graph", known=_graphs, against=_graphs)
