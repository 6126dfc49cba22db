"""Kinds of graphs are recognised, and broken ones are not."""

import networkx as nx
import numpy as np
import pytest

from scidiff.core import seeded
from scidiff.data import synthetic_graphs as sets
from scidiff.evaluation.adjacency import adjacencies
from scidiff.evaluation.graph_validity import (
    VALIDITY,
    fit_blocks,
    is_connected_planar,
    is_lobster,
    is_sbm,
    is_sbm_lrt,
    is_tree,
    predicate,
)


def block_model(p_intra, p_inter, seed, sizes=(25, 30, 35)):
    p = np.where(np.eye(len(sizes)) > 0, p_intra, p_inter)
    return nx.stochastic_block_model(list(sizes), p, seed=seed)


@pytest.mark.parametrize("draw, test, count", [
    (sets.planar, is_connected_planar, 3), (sets.trees, is_tree, 10),
    (sets.lobsters, is_lobster, 10), (sets.trees, is_connected_planar, 3)])
def test_graphs_of_a_kind_are_of_that_kind(draw, test, count):
    assert all(test(A) for A in adjacencies(draw(count, seeded(0))))


def test_broken_graphs_are_not():
    two_pieces = nx.disjoint_union(nx.path_graph(3), nx.path_graph(3))
    long_legs = nx.Graph([(0, i) for i in (1, 4, 7)]  # a spider with three legs of length 3
                         + [(i, i + 1) for i in (1, 2, 4, 5, 7, 8)])
    wrong = [(is_connected_planar, two_pieces), (is_connected_planar, nx.complete_graph(5)),
             (is_tree, two_pieces), (is_tree, nx.cycle_graph(4)), (is_lobster, long_legs),
             (is_lobster, nx.cycle_graph(4)), (is_sbm, nx.gnp_random_graph(100, 0.1, seed=0)),
             (is_sbm_lrt, nx.gnp_random_graph(100, 0.1, seed=0))]
    for test, graph in wrong:
        assert not test(adjacencies([graph])[0]), test.__name__
    for name, test in VALIDITY.items():
        assert not test(np.zeros((0, 0), np.bool_)), name
    assert is_tree(adjacencies([long_legs])[0])
    assert is_lobster(adjacencies([nx.star_graph(5)])[0])
    assert is_lobster(np.zeros((1, 1), np.bool_))


def test_blocks_are_found():
    A = adjacencies([block_model(0.3, 0.005, seed=1)])[0]
    labels = fit_blocks(A)
    true = np.repeat([0, 1, 2], [25, 30, 35])
    assert len({*zip(true.tolist(), labels.tolist(), strict=True)}) == 3


def test_block_models_pass_and_near_ones_fail():
    true = adjacencies(sets.block_models(40, seeded(0)))
    assert np.mean([is_sbm(A) for A in true]) >= 0.9
    assert np.mean([is_sbm_lrt(A) for A in true]) >= 0.9
    for rates in ((0.2, 0.005), (0.3, 0.03)):  # the published test tells these apart badly
        near = adjacencies([block_model(*rates, seed=i) for i in range(10)])
        assert np.mean([is_sbm_lrt(A) for A in near]) <= 0.1
    small = adjacencies([block_model(0.3, 0.005, seed=i, sizes=(12, 12)) for i in range(5)])
    assert not any(is_sbm(A) or is_sbm_lrt(A) for A in small)


def test_unknown_kinds_are_named():
    with pytest.raises(ValueError, match="unknown validity 'plannar'.*planar.*tree, lobster"):
        predicate("plannar")
    assert predicate(is_tree) == ("is_tree", is_tree)
