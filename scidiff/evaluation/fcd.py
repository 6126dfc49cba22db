"""Frechet ChemNet distance (Preuer et al. 2018), with the ChemNet of the optional fcd_torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scidiff.core import ScidiffError

BATCH = 256


class FcdMissing(ScidiffError):
    """The FCD was asked for and its network is not installed."""


def require_chemnet() -> None:
    """Raise FcdMissing where fcd_torch is not installed: before any work, not at its end."""
    try:
        import fcd_torch  # noqa: F401
    except ImportError as error:
        raise FcdMissing("the FCD needs ChemNet: pip install 'scidiff[fcd]' (fcd_torch, MIT, "
                         "6 MB), or leave it out with fcd=False (--no-fcd)") from error


def activations(smiles: Sequence[str], device: str = "cpu") -> NDArray[np.float32]:
    """Penultimate activations of ChemNet, (B, 512).

    Raises FcdMissing where fcd_torch is not installed.
    """
    require_chemnet()
    from fcd_torch.utils import SmilesDataset

    network = _chemnet(device)
    rows = SmilesDataset(list(smiles), canonize=True)
    parts = [np.zeros((0, 512), np.float32)]
    with torch.no_grad():
        for start in range(0, len(rows), BATCH):
            one_hot = np.stack([rows[i] for i in range(start, min(start + BATCH, len(rows)))])
            x = torch.from_numpy(one_hot).float().to(device)
            parts.append(network(x.transpose(1, 2)).cpu().numpy())
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _chemnet(device: str) -> Any:
    from fcd_torch import FCD

    return FCD(device=device, n_jobs=1).model.to(device)


def moments(features: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (D,) and covariance (D, D) of features (B, D), in float64."""
    wide = features.astype(np.float64)
    return wide.mean(0), np.cov(wide.T)


def frechet_distance(mean_a: NDArray[np.floating], cov_a: NDArray[np.floating],
                     mean_b: NDArray[np.floating], cov_b: NDArray[np.floating]) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Dowson and Landau 1982).

    tr (S_a S_b)^(1/2) is the nuclear norm of S_a^(1/2) S_b^(1/2): no complex square root.
    """
    cross = np.linalg.svd(_root(cov_a) @ _root(cov_b), compute_uv=False).sum()
    gap = np.asarray(mean_a, np.float64) - mean_b
    return float(gap @ gap + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def _root(cov: NDArray[np.floating]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(np.asarray(cov, np.float64))
    # a covariance has no negative eigenvalue; those of rounding size are 0
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def bias_floor(n: int) -> float:
    """FCD that n real MOSES molecules score against MOSES Test by sample size alone: 1290 / n."""
    return 1290 / n
