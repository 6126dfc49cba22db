"""Rewards on peptides: charge, hydrophobicity, and Macrel's classifiers (extra `peptides`)."""

from __future__ import annotations

import cmath
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from scidiff.core import ScidiffError
from scidiff.rewards.scores import of_kind
from scidiff.rewards.scoring import bounded

HYDROPATHY = {
    "A": 1.8, "R": -4.5, "N": -3.5, "D": -3.5, "C": 2.5, "Q": -3.5, "E": -3.5, "G": -0.4,
    "H": -3.2, "I": 4.5, "L": 3.8, "K": -3.9, "M": 1.9, "F": 2.8, "P": -1.6, "S": -0.8,
    "T": -0.7, "W": -0.9, "Y": -1.3, "V": 4.2,
}
"""Kyte and Doolittle 1982, J. Mol. Biol. 157:105."""
CONSENSUS = {
    "A": 0.62, "R": -2.53, "N": -0.78, "D": -0.90, "C": 0.29, "Q": -0.85, "E": -0.74, "G": 0.48,
    "H": -0.40, "I": 1.38, "L": 1.06, "K": -1.50, "M": 0.64, "F": 1.19, "P": 0.12, "S": -0.18,
    "T": -0.05, "W": 0.81, "Y": 0.26, "V": 1.08,
}
"""Eisenberg et al. 1984, J. Mol. Biol. 179:125, normalised consensus scale."""
BASIC = {"K": 10.8, "R": 12.5, "H": 6.5}
ACIDIC = {"D": 3.9, "E": 4.1, "C": 8.5, "Y": 10.1}
N_TERMINUS, C_TERMINUS = 8.6, 3.6
"""pKa of EMBOSS (Rice et al. 2000, Trends in Genetics 16:276)."""
HELIX = math.radians(100)  # turn of an alpha helix a residue
WINDOW = 11  # residues, three turns


@dataclass(frozen=True)
class Charge:
    """Net charge at a pH in elementary charges, both termini free, cysteines reduced.

    Each group is charged by Henderson and Hasselbalch, 1 / (1 + 10^(pH - pKa)) of the basic ones
    and 1 / (1 + 10^(pKa - pH)) of the acidic ones. Unbounded: see `window`.
    """

    ph: float = 7.0

    @property
    def name(self) -> str:
        return f"net_charge(ph={self.ph:g})"

    def __call__(self, sequences: Sequence[str]) -> list[float]:
        return [self._charge(s) for s in sequences]

    def _charge(self, s: str) -> float:
        basic = (N_TERMINUS, *(BASIC[a] for a in s if a in BASIC))
        acidic = (C_TERMINUS, *(ACIDIC[a] for a in s if a in ACIDIC))
        return (sum(_share(pka - self.ph) for pka in basic)
                - sum(_share(self.ph - pka) for pka in acidic))


def _share(units: float) -> float:
    """1 / (1 + 10^-units)."""
    return 1 / (1 + 10**-units)


def charge(sequences: Sequence[str]) -> list[float]:
    """Net charge at pH 7, see `Charge`; unbounded."""
    return Charge()(sequences)


@bounded(-4.5, 4.5)
def gravy(sequences: Sequence[str]) -> list[float]:
    """Grand average of hydropathy in [-4.5, 4.5] (Kyte and Doolittle 1982); larger is more
    hydrophobic."""
    return [sum(HYDROPATHY[a] for a in s) / len(s) for s in sequences]


@bounded(0, 2.53)
def hydrophobic_moment(sequences: Sequence[str]) -> list[float]:
    """Largest mean moment of a helix over windows of 11 residues (Eisenberg et al. 1984).

    mu = |sum_j h_j exp(100 degrees i j)| / n, with the consensus scale; a shorter peptide is one
    window. Amphipathic helices have about 0.4 and more.
    """
    return [max(_moment(s[i : i + WINDOW]) for i in range(max(1, len(s) - WINDOW + 1)))
            for s in sequences]


def _moment(window: str) -> float:
    turned = (CONSENSUS[a] * cmath.exp(1j * HELIX * j) for j, a in enumerate(window))
    return abs(sum(turned)) / len(window)


# ---------------------------------------------------------------- Macrel


class MacrelMissing(ScidiffError):
    """Macrel was asked for and is not installed."""


@bounded(0, 1)
def amp(sequences: Sequence[str]) -> list[float]:
    """Probability of antimicrobial activity (Macrel; Santos-Junior et al. 2020); made for
    peptides of 10 to 100 residues."""
    return _probabilities("AMP.onnx.gz", "AMP", sequences)


@bounded(0, 1)
def haemolytic(sequences: Sequence[str]) -> list[float]:
    """Probability of haemolysis (Macrel); to avoid it, ask for 1 - haemolytic."""
    return _probabilities("Hemo.onnx.gz", "Hemo", sequences)


def _probabilities(file: str, label: str, sequences: Sequence[str]) -> list[float]:
    """Macrel leaves out the first residue of a peptide if it is M: one that is nothing else has
    no value."""
    model, features = _macrel(file)
    usable = [s for s in sequences if s != "M"]
    if not usable:
        return [math.nan] * len(sequences)
    inputs = np.array([features(s) for s in usable], np.float32)
    (found,) = model.run(["output_probability"], {"input_features": inputs})
    values = iter(found)
    return [math.nan if s == "M" else float(next(values)[label]) for s in sequences]


@lru_cache(maxsize=2)
def _macrel(file: str) -> tuple[Any, Any]:
    """One of Macrel's models, and what computes its inputs."""
    try:
        import macrel
        import onnxruntime
        from macrel.macrel_features import compute_all, normalize_seq
    except ImportError as error:
        raise MacrelMissing("amp and haemolytic need Macrel: pip install 'scidiff[peptides]' "
                            "(macrel, MIT, 2 MB and onnxruntime)") from error
    packed = Path(macrel.__file__).parent / "data" / "models" / file
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        gzip.decompress(packed.read_bytes()), options, providers=["CPUExecutionProvider"])
    return session, lambda s: compute_all(normalize_seq(s))


REWARDS = of_kind("peptide", {
    "charge": charge, "net_charge": Charge, "gravy": gravy,
    "hydrophobic_moment": hydrophobic_moment, "amp": amp, "haemolytic": haemolytic,
})
