"""Degrees, clustering, orbits and spectrum of plain graphs: one row a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from scidiff.evaluation.adjacency import Adjacency
from scidiff.evaluation.orbits import orbit_counts

CLUSTERING_BINS = 100
SPECTRUM_BINS = 200
SPECTRUM_RANGE = (-1e-5, 2.0)


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


def spectrum_histogram(A: Adjacency) -> NDArray[np.float64]:
    """Share of eigenvalues of the normalised Laplacian I - D^-1/2 A D^-1/2, 200 bins.

    Rows of isolated nodes are 0. A bipartite graph has eigenvalue 2, the end of the range: one
    that rounding puts beyond it is counted there, where the published code drops it.
    """
    d = A.sum(1)
    root = np.divide(1, np.sqrt(d), out=np.zeros(len(A)), where=d > 0)
    values = np.linalg.eigvalsh(np.diag(d > 0) - root[:, None] * A * root)
    inside = np.clip(values, *SPECTRUM_RANGE)
    return np.histogram(inside, SPECTRUM_BINS, SPECTRUM_RANGE)[0] / len(A)


DESCRIPTORS: dict[str, Callable[[Adjacency], NDArray[np.float64]]] = {
    "degree": degree_histogram, "clustering": clustering_histogram,
    "orbit": orbit_means, "spectral": spectrum_histogram,
}


def describe_graphs(graphs: Sequence[Adjacency]) -> dict[str, NDArray[np.float64]]:
    """Compute every descriptor of every graph: name -> (B, width); a graph without nodes counts
    as one node."""
    some = [A if len(A) else np.zeros((1, 1), np.bool_) for A in graphs]
    return {name: _stacked([f(A) for A in some]) for name, f in DESCRIPTORS.items()}


def _stacked(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    wide = max((len(row) for row in rows), default=0)
    return np.stack([np.pad(row, (0, wide - len(row))) for row in rows])
