"""Orbit counts against counting every subgraph of up to four nodes by hand."""

from itertools import combinations

import networkx as nx
import numpy as np
import pytest

from scidiff.evaluation.adjacency import adjacencies
from scidiff.evaluation.orbits import orbit_counts

# (nodes, edges, largest degree) of a connected graph -> own degree -> orbit
PLACES = {
    (2, 1, 1): {1: 0}, (3, 2, 2): {1: 1, 2: 2}, (3, 3, 2): {2: 3}, (4, 3, 2): {1: 4, 2: 5},
    (4, 3, 3): {1: 6, 3: 7}, (4, 4, 2): {2: 8}, (4, 4, 3): {1: 9, 2: 10, 3: 11},
    (4, 5, 3): {2: 12, 3: 13}, (4, 6, 3): {3: 14},
}


def counted_one_by_one(graph: nx.Graph) -> np.ndarray:
    counts = np.zeros((len(graph), 15), np.int64)
    for size in (2, 3, 4):
        for nodes in combinations(graph, size):
            part = graph.subgraph(nodes)
            if nx.is_connected(part):
                degree = dict(part.degree())
                places = PLACES[size, part.number_of_edges(), max(degree.values())]
                for node in nodes:
                    counts[node, places[degree[node]]] += 1
    return counts


@pytest.mark.parametrize("n, p", [(1, 0.5), (4, 1.0), (9, 0.2), (10, 0.5), (9, 0.8), (7, 1.0)])
def test_orbits_are_those_counted_one_by_one(n, p):
    for seed in range(4):
        graph = nx.gnp_random_graph(n, p, seed=seed)
        found = orbit_counts(adjacencies([graph])[0])
        assert np.array_equal(found, counted_one_by_one(graph))


def test_orbits_are_those_of_the_original_counter():
    """orbit-count wraps the C++ of Hocevar and Demsar 2014 (GPL, so no dependency)."""
    original = pytest.importorskip("orbit_count")
    graphs = [nx.gnp_random_graph(60, p, seed=0) for p in (0.05, 0.3, 0.7)]
    for graph in graphs:
        assert np.array_equal(orbit_counts(adjacencies([graph])[0]),
                              original.node_orbit_counts(graph, 4))
