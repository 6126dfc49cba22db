"""The four properties that MOSES compares distributions of, in their own units."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.rewards import molecules as properties_of

PROPERTIES: dict[str, Callable[[Sequence[Mol]], Sequence[float]]] = {
    "logp": properties_of.logp, "sa": properties_of.sa_scores, "qed": properties_of.qed,
    "mw": properties_of.mw,
}
UNITS = {"logp": "logP", "sa": "SA score, 1 easy to 10 hard", "qed": "QED",
         "mw": "molecular weight, g/mol"}


def property_table(mols: Sequence[Mol]) -> dict[str, NDArray[np.float64]]:
    """Compute logP, SA, QED and weight of molecules: name -> (B,)."""
    return {name: np.asarray(f(mols), np.float64) for name, f in PROPERTIES.items()}
