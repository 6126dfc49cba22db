"""Tanimoto similarities of many molecules to many, in blocks: diversity and nearest neighbours."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 4_096  # rows of a block of pairs: 64 MB of float32
Packed = NDArray[np.uint8]


def internal_diversity(bits: Packed, device: str = "cpu") -> tuple[float, float]:
    """IntDiv_p = 1 - mean_i (mean_j T_ij^p)^(1/p) for p = 1, 2 of packed fingerprints (B, W).

    j = i is included. As in the MOSES code the root is taken for each molecule, not after both
    means: the published numbers come from that. NaN below two molecules.
    """
    n = len(bits)
    if n < 2:
        return math.nan, math.nan
    first, second = np.zeros(n), np.zeros(n)
    for i in range(0, n, BLOCK):
        for j in range(i, n, BLOCK):  # T is symmetric
            similar = _tanimoto(_floats(bits[i:i + BLOCK], device),
                                _floats(bits[j:j + BLOCK], device))
            for p, total in ((similar, first), (similar.square(), second)):
                total[i:i + BLOCK] += p.sum(1, dtype=torch.float64).cpu().numpy()
                if j > i:
                    total[j:j + BLOCK] += p.sum(0, dtype=torch.float64).cpu().numpy()
    return 1 - float((first / n).mean()), 1 - float(np.sqrt(second / n).mean())


def nearest_similarity(
    bits: Packed, reference: Packed, device: str = "cpu", *, itself: bool = False
) -> NDArray[np.float64]:
    """max_j T_ij of packed fingerprints (B, W) to a reference (C, W): (B,).

    Among references with equally many bits T grows with the overlap, so the largest overlap of
    each such group is all that is kept of the B x C pairs. `itself` leaves j = i out.
    """
    order = np.argsort(_weights(reference), kind="stable")
    few = max(BLOCK // 4, 1)  # long rows of a block: groups of equally many bits stay large
    best = torch.zeros(len(bits), dtype=torch.float64)
    for j in range(0, len(order), 4 * BLOCK):
        rows = order[j:j + 4 * BLOCK]
        weights = _weights(reference[rows])
        values, starts = np.unique(weights, return_index=True)
        ends = [*starts[1:].tolist(), len(rows)]
        against = _floats(reference[rows], device)
        for i in range(0, len(bits), few):
            x = _floats(bits[i:i + few], device)
            both = x @ against.T
            if itself:
                _leave_out(both, rows, i)
            overlap = torch.stack([both[:, a:b].amax(1) for a, b in
                                   zip(starts.tolist(), ends, strict=True)], 1)
            size = torch.from_numpy(values.astype(np.float32)).to(device)
            found = _ratio(overlap, x.sum(1)[:, None] + size - overlap).amax(1)
            best[i:i + few] = torch.maximum(best[i:i + few], found.double().cpu())
    return best.numpy()


def _leave_out(both: Tensor, rows: NDArray[np.int64], start: int) -> None:
    """Give row i no overlap with reference i: it is the same molecule."""
    at = np.flatnonzero((rows >= start) & (rows < start + len(both)))
    both[torch.from_numpy(rows[at] - start), torch.from_numpy(at)] = 0


def _floats(bits: Packed, device: str) -> Tensor:
    return torch.from_numpy(np.unpackbits(bits, axis=1)).to(device).float()


def _weights(bits: Packed) -> NDArray[np.int64]:
    return np.bitwise_count(bits).sum(1, dtype=np.int64)


def _tanimoto(x: Tensor, y: Tensor) -> Tensor:
    both = x @ y.T  # whole numbers below 2^24: exact in float32
    return _ratio(both, x.sum(1)[:, None] + y.sum(1) - both)


def _ratio(both: Tensor, either: Tensor) -> Tensor:
    """both / either; two empty fingerprints are equal: 1."""
    return torch.where(either > 0, both / either.clamp_min(1), torch.ones_like(both))
