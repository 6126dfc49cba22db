"""The suite of molecules in space, by the definitions of EDM (Hoogeboom et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scidiff.evaluation.metric import Report
from scidiff.evaluation.structure_suite import as_geometry, structure_suite
from scidiff.evaluation.structures import structure_file
from scidiff.evaluation.suite import Suite, known_molecules


def measure(
    rows: Iterable[Any], *, train: Any = None, reference: Any = None, fcd: bool = True,
    device: str = "cpu",
) -> Report:
    """Stability, validity, plausibility and strain; the reference's default is QM9."""
    return structure_suite(rows, train=train, reference=reference)


SUITE = Suite(measure, known=known_molecules, against=as_geometry, read=structure_file, n=10_000)
