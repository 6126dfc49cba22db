"""The descriptor distributions of GuacaMol and their KL divergences (Brown et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit import rdBase
from rdkit.Chem import Descriptors, Mol
from scipy.stats import entropy, gaussian_kde

from scidiff.chem.molecules import fingerprints
from scidiff.evaluation.neighbours import nearest_similarity

CONTINUOUS = ("BertzCT", "MolLogP", "MolWt", "TPSA")
DISCRETE = ("NumHAcceptors", "NumHDonors", "NumRotatableBonds", "NumAliphaticRings",
            "NumAromaticRings")
SIMILARITY = "internal_similarity"
FLOOR = 1e-10  # added to both densities
POINTS, BINS, BITS = 1_000, 10, 4_096

Table = Mapping[str, NDArray[np.float64]]  # descriptor -> one value a molecule


def descriptors(mols: Sequence[Mol]) -> NDArray[np.float64]:
    """The nine descriptors, (B, 9); one that is not finite is 0, as in the original."""
    with rdBase.BlockLogs():
        found = np.array([[float(getattr(Descriptors, name)(m)) for name in CONTINUOUS + DISCRETE]
                          for m in mols], np.float64).reshape(
            len(mols), len(CONTINUOUS + DISCRETE))
    return np.where(np.isfinite(found), found, 0.0)


def packed(mols: Sequence[Mol]) -> NDArray[np.uint8]:
    """Morgan fingerprints of radius 2 and 4,096 bits, (B, 512) packed."""
    return fingerprints(mols, bits=BITS)


def distributions(values: NDArray[np.float64], bits: NDArray[np.uint8], device: str = "cpu"
                  ) -> dict[str, NDArray[np.float64]]:
    """Name the columns, and add each molecule's largest similarity to another one."""
    named = dict(zip(CONTINUOUS + DISCRETE, values.T, strict=True))
    return {**named, SIMILARITY: nearest_similarity(bits, bits, device, itself=True)}


def divergences(reference: Table, sample: Table) -> dict[str, float]:
    """KL(reference || sample) of each descriptor, in nats."""
    return {name: (discrete if name in DISCRETE else continuous)(reference[name], sample[name])
            for name in (*CONTINUOUS, *DISCRETE, SIMILARITY)}


def without_density(*tables: Table) -> str:
    """The first continuous descriptor that is one and the same value in all of a table, of which
    there is no kernel density, or ""."""
    return next((name for name in (*CONTINUOUS, SIMILARITY) for table in tables
                 if np.ptp(table[name]) == 0), "")


def score(found: Mapping[str, float]) -> float:
    """mean exp(-KL), in [0, 1]."""
    return float(np.mean([math.exp(-kl) for kl in found.values()]))


def continuous(reference: NDArray[np.float64], sample: NDArray[np.float64]) -> float:
    """KL of Gaussian kernel densities (Scott's bandwidth) on 1,000 points over both ranges."""
    both = np.concatenate([reference, sample])
    at = np.linspace(both.min(), both.max(), POINTS)
    p, q = (gaussian_kde(values)(at) + FLOOR for values in (reference, sample))
    return float(entropy(p, q))


def discrete(reference: NDArray[np.float64], sample: NDArray[np.float64]) -> float:
    """KL of histograms of ten bins over the reference's range; values outside it are left out."""
    p, edges = np.histogram(reference, BINS, density=True)
    q, _ = np.histogram(sample, edges, density=True)
    return float(entropy(p + FLOOR, q + FLOOR))
