"""Isomorphic graphs, and only they, have one canonical matrix."""

import networkx as nx
import numpy as np
import pytest
from networkx.generators.atlas import graph_atlas_g

from scidiff.data import canonical_graphs
from scidiff.data.canonical_graphs import canonical_order, weisfeiler_leman

RNG = np.random.default_rng(0)


def form(types, A):
    order = canonical_order(types, A)
    assert sorted(order.tolist()) == list(range(len(A)))
    return tuple(np.asarray(types)[order]), A[np.ix_(order, order)].tobytes()


def forms(types, A, times):
    orders = [RNG.permutation(len(A)) for _ in range(times)]
    return {form(np.asarray(types)[p], A[np.ix_(p, p)]) for p in orders}


def test_all_graphs_of_up_to_six_nodes_are_told_apart():
    known = set()
    graphs = [g for g in graph_atlas_g() if 0 < len(g) <= 6]
    for graph in graphs:
        found = forms([0] * len(graph), nx.to_numpy_array(graph).astype(int), 2)
        assert len(found) == 1
        known |= found
    assert len(known) == len(graphs) == 208


@pytest.mark.parametrize("graph", [
    nx.empty_graph(40), nx.complete_graph(40), nx.star_graph(60), nx.balanced_tree(2, 4),
    nx.grid_2d_graph(8, 8), nx.hypercube_graph(4), nx.cycle_graph(40),
    nx.disjoint_union_all([nx.complete_bipartite_graph(3, 3)] * 3), nx.dodecahedral_graph(),
    # refinement cannot tell these nodes apart, though no automorphism joins them
    nx.disjoint_union_all(list(map(nx.cycle_graph, (3, 4, 5)))),
    nx.disjoint_union_all([nx.cycle_graph(6), nx.cycle_graph(3), nx.cycle_graph(3)]),
    nx.disjoint_union(nx.hypercube_graph(3), nx.circulant_graph(8, [1, 4])),
    nx.random_regular_graph(3, 16, seed=0), nx.random_regular_graph(4, 14, seed=3),
])  # fmt: skip
def test_symmetric_graphs_have_one_form(graph):
    assert len(forms([0] * len(graph), nx.to_numpy_array(graph).astype(int), 6)) == 1


def test_types_count():
    A = nx.to_numpy_array(nx.cycle_graph(6)).astype(int)
    near, far = [1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0]
    assert len(forms(near, A, 4)) == len(forms(far, A, 4)) == 1
    assert forms(near, A, 1) != forms(far, A, 1)
    doubled = A.copy()
    doubled[0, 1] = doubled[1, 0] = 2
    assert len(forms(near, doubled, 4)) == 1 and forms(near, doubled, 1) != forms(near, A, 1)


def test_a_search_that_takes_too_long_is_given_up(monkeypatch):
    A = nx.to_numpy_array(nx.petersen_graph()).astype(int)
    monkeypatch.setattr(canonical_graphs, "BUDGET", 3)
    assert canonical_order([0] * 10, A) is None
    words = {weisfeiler_leman([0] * 10, A[np.ix_(p, p)]) for p in (RNG.permutation(10), range(10))}
    assert len(words) == 1
    assert words != {weisfeiler_leman([0] * 10, nx.to_numpy_array(nx.cycle_graph(10)).astype(int))}
