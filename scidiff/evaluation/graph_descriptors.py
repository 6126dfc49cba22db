"""Degrees, clustering, orbits, spectrum and wavelets of plain graphs: one row a graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from scidiff.evaluation.adjacency import Adjacency
from scidiff.evaluation.orbits import orbit_counts

CLUSTERING_BINS = 100
SPECTRUM_BINS = 200
SPECTRUM_RANGE = (-1e-5, 2.0)
WAVELET_BINS = 100
PEAK = 1 + 2 / 27**0.5  # largest value of the band pass, at 2 - 1 / sqrt(3)


def degree_histogram(A: Adjacency) -> NDArray[np.float64]:
    """Share of nodes of degree 0, 1, .. up to the largest there is."""
    return np.bincount(A.sum(1)) / len(A)


def clustering_histogram(A: Adjacency) -> NDArray[np.float64]:
    """Share of nodes by clustering coefficient 2 t / d (d - 1), 100 bins on [0, 1].

    A node with fewer than two neighbours has coefficient 0.
    """
    a = A.astype(np.float64)
    d = a.sum(1)
    closed = ((a @ a) * a).sum(1)  # 2 t
    values = np.divide(closed, d * (d - 1), out=np.zeros(len(A)), where=d > 1)
    return np.histogram(values, CLUSTERING_BINS, (0, 1))[0] / len(A)


def orbit_means(A: Adjacency) -> NDArray[np.float64]:
    """Mean count of each of the 15 orbits of up to 4 nodes, (15,)."""
    return orbit_counts(A).mean(0)


def normalised_laplacian(A: Adjacency) -> NDArray[np.float64]:
    """I - D^-1/2 A D^-1/2, (n, n), with zero rows for isolated nodes."""
    d = A.sum(1)
    root = np.divide(1, np.sqrt(d), out=np.zeros(len(A)), where=d > 0)
    return np.diag(d > 0) - root[:, None] * A * root


def spectrum_histogram(A: Adjacency) -> NDArray[np.float64]:
    """Share of eigenvalues of the normalised Laplacian, 200 bins on [-1e-5, 2].

    A bipartite graph has eigenvalue 2, the end of the range: one that rounding puts beyond it is
    counted there, where the published code drops it.
    """
    inside = np.clip(np.linalg.eigvalsh(normalised_laplacian(A)), *SPECTRUM_RANGE)
    return np.histogram(inside, SPECTRUM_BINS, SPECTRUM_RANGE)[0] / len(A)


def wavelet_histogram(A: Adjacency) -> NDArray[np.float64]:
    """Energies sum_k V_vk^2 g(l_k)^2 of nodes v under 12 filters g, 100 bins each, (1200,).

    The filters of Hammond et al. 2011, section 8.1, on [0, 2]: a low pass and the band pass at 11
    scales. As in Martinkus et al. 2022 the bins end at the largest value of a filter, so that
    larger energies are left out of the histogram.
    """
    values, vectors = np.linalg.eigh(normalised_laplacian(A))
    scaled = np.geomspace(20, 0.5, 11)[:, None] * values
    low = PEAK * np.exp(-(values / 0.06) ** 4)
    energies = np.vstack([low, _band_pass(scaled)]) ** 2 @ (vectors**2).T
    counts = np.concatenate([np.histogram(e, WAVELET_BINS, (0, PEAK))[0] for e in energies])
    return counts / max(counts.sum(), 1)


def _band_pass(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """x^2 up to 1, 4 / x^2 from 2 on, and the cubic that joins them smoothly."""
    cubic = (x - 1) * (x - 2) * (x - 3) + 1
    return np.where(x < 1, x**2, np.where(x < 2, cubic, 4 / np.maximum(x, 2) ** 2))


DESCRIPTORS: dict[str, Callable[[Adjacency], NDArray[np.float64]]] = {
    "degree": degree_histogram, "clustering": clustering_histogram,
    "orbit": orbit_means, "spectral": spectrum_histogram, "wavelet": wavelet_histogram,
}


def describe_graphs(
    graphs: Sequence[Adjacency], names: Collection[str] = tuple(DESCRIPTORS)
) -> dict[str, NDArray[np.float64]]:
    """Compute descriptors of every graph: name -> (B, width), width 0 where there are no graphs; a
    graph without nodes counts as one node."""
    some = [A if len(A) else np.zeros((1, 1), np.bool_) for A in graphs]
    return {name: _stacked([DESCRIPTORS[name](A) for A in some]) for name in names}


def _stacked(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    wide = max((len(row) for row in rows), default=0)
    padded = [np.pad(row, (0, wide - len(row))) for row in rows]
    return np.array(padded, np.float64).reshape(len(rows), wide)
