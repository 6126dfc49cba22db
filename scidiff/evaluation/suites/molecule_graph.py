"""The suite of molecular graphs against a reference of the user's, such as the test split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scidiff.evaluation.metric import Report
from scidiff.evaluation.molecule_graphs import molecule_graph_suite
from scidiff.evaluation.suite import Suite


def measure(
    rows: Iterable[Any], *, train: Any = None, reference: Any = None, fcd: bool = True,
    device: str = "cpu",
) -> Report:
    """Validity by cause, NSPDK, FCD and laws of atoms, bonds and rings.

    Raises ValueError without a reference: there is no default one.
    """
    if reference is None:
        raise ValueError("suite 'molecule_graph' needs a reference: a list of molecules, the test "
                         "split, got None")
    return molecule_graph_suite(rows, reference, train=train, fcd=fcd, device=device)


SUITE = Suite(measure, fcd=True)
