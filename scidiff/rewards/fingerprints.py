"""Molecular fingerprints by name, as unfolded counts or as 2,048 bits."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from rdkit.Chem import Mol
from rdkit.Chem.rdFingerprintGenerator import (
    GetAtomPairGenerator,
    GetMorganFeatureAtomInvGen,
    GetMorganGenerator,
)

from scidiff.chem.molecules import without_hydrogens

BITS = 2048
NAMES = ("ECFP4", "ECFP6", "FCFP4", "FCFP6", "AP")  # AP: atom pairs up to ten bonds apart


def fingerprint(name: str, counts: bool = False) -> Callable[[Mol], Any]:
    """Return the function from a molecule to its fingerprint.

    Raises ValueError for an unknown name.
    """
    generator = _generator(name)
    made = generator.GetSparseCountFingerprint if counts else generator.GetFingerprint
    return lambda mol: made(without_hydrogens(mol))


@lru_cache(maxsize=16)
def _generator(name: str) -> Any:
    if name not in NAMES:
        raise ValueError(f"unknown fingerprint {name!r}; expected one of {', '.join(NAMES)}")
    if name == "AP":
        return GetAtomPairGenerator(maxDistance=10, fpSize=BITS)
    features = GetMorganFeatureAtomInvGen() if name.startswith("FCFP") else None
    return GetMorganGenerator(radius=int(name[-1]) // 2, fpSize=BITS,
                              atomInvariantsGenerator=features)
