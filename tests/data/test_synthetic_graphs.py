"""Synthetic graphs obey their definitions, in every graph and in the mean."""

import networkx as nx
import numpy as np
import pytest
from scipy.spatial import Delaunay

from scidiff.core import seeded
from scidiff.data import synthetic_graphs as sets


def z_score(values, expected):
    return (np.mean(values) - expected) / (np.std(values, ddof=1) / len(values) ** 0.5)


@pytest.mark.parametrize("draw", [sets.communities, sets.grids, sets.planar, sets.block_models,
                                  sets.trees, sets.lobsters])
def test_the_same_seed_draws_the_same_graphs(draw):
    a, b, other = draw(3, seeded(0)), draw(3, seeded(0)), draw(3, seeded(1))
    assert len(a) == 3
    assert all(nx.utils.graphs_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not all(nx.utils.graphs_equal(x, y) for x, y in zip(a, other, strict=True))
    assert all(sorted(graph) == list(range(len(graph))) for graph in a)


def test_communities_have_their_edge_law():
    graphs = sets.communities(300, seeded(0))
    assert {len(g) for g in graphs} == set(range(12, 21))
    inside, between = [], []
    for graph in graphs:
        A, half = nx.to_numpy_array(graph), len(graph) // 2
        assert A[:half, half:].any()
        inside.append(A[:half, :half].sum() / (half * (half - 1)))
        between.append(A[:half, half:].sum() - half * (len(graph) - half) * 0.05
                       - 0.95 ** (half * (len(graph) - half)))  # the edge added where none is
    assert abs(z_score(inside, 0.7)) < 4
    assert abs(z_score(between, 0)) < 4


def test_grids_have_all_sides():
    graphs = sets.grids(40, seeded(0), sides=(2, 4))
    assert {len(g) for g in graphs} == {4, 6, 8, 9, 12, 16}
    assert all(g.number_of_edges() in {2 * len(g) - a - len(g) // a for a in (2, 3, 4)
                                       if len(g) % a == 0} for g in graphs)


def test_planar_graphs_are_delaunay_triangulations():
    rng = np.random.default_rng(0)
    for points in rng.random((5, 30, 2)):
        expected = {tuple(sorted((int(t[i]), int(t[j])))) for t in Delaunay(points).simplices
                    for i, j in ((0, 1), (1, 2), (0, 2))}
        assert {(int(i), int(j)) for i, j in np.argwhere(sets.delaunay(points))} == expected
    graph = sets.planar(1, seeded(0))[0]
    assert len(graph) == 64
    assert nx.is_connected(graph)
    assert nx.check_planarity(graph)[0]


def test_block_models_are_connected_and_have_their_sizes():
    graphs = sets.block_models(30, seeded(0))
    assert all(nx.is_connected(g) and 40 <= len(g) <= 200 for g in graphs)
    one = sets.block_models(50, seeded(1), blocks=(1, 1), sizes=(30, 30))
    assert abs(z_score([nx.density(g) for g in one], 0.3)) < 4


def test_trees_are_uniform():
    """Four labelled nodes make 16 trees, four of them stars."""
    graphs = sets.trees(800, seeded(0), nodes=4)
    assert all(nx.is_tree(g) for g in graphs)
    stars = [max(d for _, d in g.degree()) == 3 for g in graphs]
    assert abs(z_score(np.array(stars, float), 0.25)) < 4
    with pytest.raises(ValueError, match="at least 2, got 1"):
        sets.trees(1, seeded(0), nodes=1)


def test_lobsters_have_geometric_leaves():
    """Nothing refused: a node has p / (1 - p) leaves in the mean, each with as many of its own."""
    graphs = sets.lobsters(4000, seeded(0), nodes=(0, 10**6), backbone=10, again=0.5)
    assert all(len(g) == 0 or nx.is_tree(g) for g in graphs[:100])
    assert abs(z_score([len(g) for g in graphs], 10 * (1 + 1 + 1))) < 4
    assert all(10 <= len(g) <= 100 for g in sets.lobsters(5, seeded(0)))
