"""The properties of QM9 by their usual short names, in their usual units (Ramakrishnan et al.
2014; as Hoogeboom et al. 2022, arXiv 2203.17003, table 3, and others after them name them)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from scidiff.chem.constants import HARTREE
from scidiff.data.tables import Table


class Property(NamedTuple):
    """A column of the data set and what one of it is in `unit`."""

    column: str
    unit: str
    factor: float = 1.0


QM9 = {
    "mu": Property("Dipole_debye", "debye"),
    "alpha": Property("Polarizability_bohr3", "bohr^3"),
    "homo": Property("HOMO_au", "eV", HARTREE),
    "lumo": Property("LUMO_au", "eV", HARTREE),
    "gap": Property("HOMO_LUMO_gap_au", "eV", HARTREE),
    "cv": Property("Heatcapacity_Cv_cal_mol_K", "cal/(mol K)"),
}
HALF = "half"
"""Of the data set: "a" or "b", odd and even numbers of GDB9, so that what judges a model can be
trained on rows that it was told nothing of."""


def column(table: Table, name: str) -> tuple[list[Any], str] | None:
    """The values of a column, or of a property or half of QM9, and their unit ("" where none is
    known); None where the table has neither."""
    if name in table.columns:
        return table.values(name), ""
    if name == HALF and "index" in table.columns:
        return np.where(np.asarray(table.values("index")) % 2, "a", "b").tolist(), ""
    known = QM9.get(name)
    if known is None or known.column not in table.columns:
        return None
    return (np.asarray(table.values(known.column), np.float64) * known.factor).tolist(), known.unit
