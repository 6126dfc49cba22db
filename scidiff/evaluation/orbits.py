"""How often each node stands in each place of each connected induced subgraph of up to 4 nodes.

The 15 places (orbits) in the order of Przulj 2007: 0 edge; path of 3: 1 end, 2 middle; 3
triangle; path of 4: 4 end, 5 middle; claw: 6 leaf, 7 centre; 8 square; paw: 9 tail, 10 the two
far corners, 11 the corner with the tail; diamond: 12 off the chord, 13 on it; 14 K4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scidiff.evaluation.adjacency import Adjacency

ORBITS = 15

# _INSIDE[i][j]: how often a node in place j of its induced subgraph is in place i of a subgraph
# on the same four nodes that need not be induced: a square holds four paths, a K4 three squares.
_INSIDE = {
    4: {8: 2, 9: 2, 10: 1, 12: 4, 13: 2, 14: 6},
    5: {8: 2, 10: 1, 11: 2, 12: 2, 13: 4, 14: 6},
    6: {9: 1, 10: 1, 12: 2, 13: 1, 14: 3},
    7: {11: 1, 13: 1, 14: 1},
    8: {12: 1, 13: 1, 14: 3},
    9: {12: 2, 14: 3},
    10: {12: 2, 13: 2, 14: 6},
    11: {13: 2, 14: 3},
    12: {14: 3},
    13: {14: 3},
}


def orbit_counts(A: Adjacency) -> NDArray[np.int64]:
    """Count the orbits of every node exactly, (n, 15).

    Subgraphs that need not be induced have closed formulas in degrees and common neighbours;
    induced counts follow by taking away what denser subgraphs hold (as Hocevar and Demsar 2014).
    """
    counts = _not_induced(A.astype(np.float64))  # whole numbers below 2^53: exact
    for place in sorted(_INSIDE, reverse=True):  # denser subgraphs first
        for denser, times in _INSIDE[place].items():
            counts[:, place] -= times * counts[:, denser]
    return counts.round().astype(np.int64)


def _not_induced(A: NDArray[np.float64]) -> NDArray[np.float64]:
    d = A.sum(1)
    common = A @ A  # common neighbours of two nodes
    edge = A * common  # triangles on an edge
    t = edge.sum(1) / 2  # triangles at a node
    np.fill_diagonal(common, 0)
    counts = np.zeros((len(A), ORBITS))
    counts[:, 0], counts[:, 3] = d, t
    counts[:, 1], counts[:, 2] = A @ d - d - 2 * t, _pairs(d) - t
    counts[:, 4] = common @ (d - 1) - 2 * t
    counts[:, 5] = (d - 1) * (A @ (d - 1)) - 2 * t
    counts[:, 6], counts[:, 7] = A @ _pairs(d - 1), d * (d - 1) * (d - 2) / 6
    counts[:, 8] = _pairs(common).sum(1)
    counts[:, 9], counts[:, 10], counts[:, 11] = A @ t - 2 * t, edge @ (d - 2), t * (d - 2)
    counts[:, 12] = ((A @ edge) * A).sum(1) / 2 - t
    counts[:, 13] = (A * _pairs(common)).sum(1)
    counts[:, 14] = _cliques(A, t)
    return counts


def _cliques(A: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    """K4 at a node: triangles among its neighbours."""
    found = np.zeros(len(A))
    for v in np.flatnonzero(t >= 3):  # a K4 holds three triangles at each node
        near = np.flatnonzero(A[v])
        among = A[np.ix_(near, near)]
        found[v] = ((among @ among) * among).sum() / 6
    return found


def _pairs(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x * (x - 1) / 2
