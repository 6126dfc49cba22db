"""What it takes to be a planar graph, a tree, a lobster or a stochastic block model."""

from __future__ import annotations

import math
from collections.abc import Callable

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.special import gammaln
from scipy.stats import chi2

from scidiff.evaluation.adjacency import Adjacency, to_networkx
from scidiff.messages import nearest

P_INTRA, P_INTER = 0.3, 0.005  # the block models of Martinkus et al. 2022
BLOCKS, BLOCK_SIZES = (2, 5), (20, 40)
WALD, LEVEL = 0.9, 0.01

Predicate = Callable[[Adjacency], bool]


def is_connected_planar(A: Adjacency) -> bool:
    """One piece that can be drawn in the plane without crossing edges."""
    graph = to_networkx(A)
    return len(A) > 0 and nx.is_connected(graph) and bool(nx.check_planarity(graph)[0])


def is_tree(A: Adjacency) -> bool:
    """One piece without a cycle."""
    return len(A) > 0 and nx.is_tree(to_networkx(A))


def is_lobster(A: Adjacency) -> bool:
    """A tree that is a path, or nothing, once its leaves are cut off twice."""
    if not is_tree(A):
        return False
    for _ in range(2):
        inner = A.sum(1) > 1
        A = A[np.ix_(inner, inner)]
    return len(A) == 0 or int(A.sum(1).max()) <= 2


def is_sbm(A: Adjacency) -> bool:
    """The published test (Martinkus et al. 2022): 2 to 5 blocks of 20 to 40 nodes, and a mean
    Wald p-value over .9 of the edge rates against .3 and .005.

    Approximate: blocks come from `fit_blocks`, not from graph-tool's description length. The
    statistic (p^ - p)^2 / p^ (1 - p^) is not divided by the pairs it comes from, as published.
    """
    labels = fit_blocks(A)
    if not _proper_blocks(labels):
        return False
    edges, pairs, expected = _block_rates(A, labels)
    rate = edges / pairs
    wald = (rate - expected) ** 2 / (rate * (1 - rate) + 1e-6)  # the constant is the published one
    return bool(chi2.sf(wald, 1).mean() > WALD)


def is_sbm_lrt(A: Adjacency) -> bool:
    """2 to 5 blocks of 20 to 40 nodes, and a likelihood ratio of free edge rates against .3
    inside and .005 between blocks that is not significant at 1 %.

    2 sum_rs log (L(p^_rs) / L(p_rs)) is chi^2 with K (K + 1) / 2 degrees of freedom (Wilks 1938).
    Approximate: the blocks are fitted on the same graph, which makes the test a little strict.
    """
    labels = fit_blocks(A)
    if not _proper_blocks(labels):
        return False
    each = np.triu_indices(int(labels.max()) + 1)
    edges, pairs, expected = (v[each] for v in _block_rates(A, labels))
    ratio = 2 * (_log_likelihood(edges, pairs, edges / pairs)
                 - _log_likelihood(edges, pairs, expected)).sum()
    return bool(chi2.sf(ratio, len(edges)) > LEVEL)


def fit_blocks(A: Adjacency, most: int = 7) -> NDArray[np.int64]:
    """Most probable blocks (n,) of a block model with rates .3 and .005, for 1 to `most` blocks.

    Starts from Ward clusters of the leading eigenvectors of D^-1/2 A D^-1/2, moves single nodes
    while the likelihood grows, and takes the number of blocks that is shortest to describe.
    """
    if len(A) < 2:
        return np.zeros(len(A), np.int64)
    together = np.where(A, math.log(P_INTRA / P_INTER), math.log((1 - P_INTRA) / (1 - P_INTER)))
    np.fill_diagonal(together, 0)
    root = 1 / np.sqrt(np.maximum(A.sum(1), 1))
    vectors = np.linalg.eigh(root[:, None] * A * root)[1][:, ::-1]
    best = np.zeros(len(A), np.int64)
    shortest = _description_length(together, best)
    for k in range(2, min(most, len(A)) + 1):
        start = fcluster(linkage(vectors[:, :k], "ward"), k, "maxclust") - 1
        labels = _improved(together, start.astype(np.int64))
        length = _description_length(together, labels)
        if length < shortest:
            best, shortest = labels, length
    return best


def _improved(together: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Move the node that gains most until none gains; every move raises the likelihood."""
    member = np.eye(int(labels.max()) + 1)[labels]
    rows = np.arange(len(labels))
    while True:
        score = together @ member
        gain = score - score[rows, labels][:, None]
        node, block = np.unravel_index(gain.argmax(), gain.shape)
        if gain[node, block] <= 1e-9:
            return np.unique(labels, return_inverse=True)[1]
        member[node], labels[node] = np.eye(member.shape[1])[block], block


def _description_length(together: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Nats, up to a constant: the edges given the blocks, and the blocks (Peixoto 2017, eq. 3:
    log C(n - 1, K - 1) + log n! - sum_r log n_r!). Else single nodes would split off."""
    sizes, n = np.bincount(labels), len(labels)
    k = len(sizes)
    partition = (gammaln(n) - gammaln(k) - gammaln(n - k + 1)
                 + gammaln(n + 1) - gammaln(sizes + 1).sum())
    return float(partition - together[labels[:, None] == labels].sum() / 2)


def _proper_blocks(labels: NDArray[np.int64]) -> bool:
    sizes = np.bincount(labels)
    return bool(BLOCKS[0] <= len(sizes) <= BLOCKS[1]
                and sizes.min() >= BLOCK_SIZES[0] and sizes.max() <= BLOCK_SIZES[1])


def _block_rates(A: Adjacency, labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """Edges, pairs and expected rates of every two blocks, (K, K) each."""
    member = np.eye(int(labels.max()) + 1)[labels]
    sizes = member.sum(0)
    same = np.eye(len(sizes), dtype=bool)
    edges = member.T @ A @ member / np.where(same, 2, 1)
    pairs = np.where(same, sizes * (sizes - 1) / 2, sizes[:, None] * sizes)
    return edges, pairs, np.where(same, P_INTRA, P_INTER)


def _log_likelihood(
    edges: NDArray[np.float64], pairs: NDArray[np.float64], rate: NDArray[np.float64]
) -> NDArray[np.float64]:
    inside = np.clip(rate, 1e-12, 1 - 1e-12)  # 0 log 0 is 0
    return edges * np.log(inside) + (pairs - edges) * np.log1p(-inside)


VALIDITY: dict[str, Predicate] = {"planar": is_connected_planar, "tree": is_tree,
                                  "lobster": is_lobster, "sbm": is_sbm, "sbm_lrt": is_sbm_lrt}


def predicate(valid: str | Predicate) -> tuple[str, Predicate]:
    """Name and test of a kind of graph: one of VALIDITY, or a function of an adjacency matrix."""
    if not isinstance(valid, str):
        return getattr(valid, "__name__", "own"), valid
    if valid not in VALIDITY:
        raise ValueError(f"unknown validity {valid!r}{nearest(valid, list(VALIDITY))}; "
                         f"expected one of {', '.join(VALIDITY)} or a function")
    return valid, VALIDITY[valid]
