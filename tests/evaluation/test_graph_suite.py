"""The suite of plain graphs: inputs of every kind, V.U.N. counted by hand, floors beside."""

import math

import networkx as nx
import numpy as np
import pytest
import torch
from rdkit.Chem import MolFromSmiles

from scidiff.core import seeded
from scidiff.data import synthetic_graphs as sets
from scidiff.data.graphs import GraphState, encode_networkx
from scidiff.data.records import Record
from scidiff.evaluation.adjacency import adjacencies, to_networkx, without_isolated
from scidiff.evaluation.graph_descriptors import describe_graphs
from scidiff.evaluation.graphs import fingerprint, graph_suite
from scidiff.evaluation.intervals import spread
from scidiff.evaluation.isomorphism import GraphSet, isomorphism_classes, wl_key
from scidiff.evaluation.mmd import FAMILIES, Discrepancy, mmd


def shuffled(graph, seed):
    order = np.random.default_rng(seed).permutation(len(graph))
    return nx.relabel_nodes(graph, dict(enumerate(order.tolist())))


def test_the_same_graph_from_every_source():
    graph = sets.communities(1, seeded(0))[0]
    A = nx.to_numpy_array(graph, weight=None)
    noisy = torch.tensor(A * 0.9 + 0.2 * (1 - A))  # a generated edge channel
    state = encode_networkx([graph], num_features=20, max_nodes=25)
    sources = [[graph], [A], [noisy], [Record("text", graph, True)], state,
               [nx.DiGraph(graph)], [nx.to_graph6_bytes(graph, header=False).decode().strip()]]
    for source in sources:
        found = adjacencies(source)
        assert len(found) == 1
        assert np.array_equal(found[0], A > 0)
    assert nx.utils.graphs_equal(to_networkx(A > 0), nx.Graph(graph))


def test_self_loops_are_dropped_and_weights_do_not_matter():
    graph = nx.path_graph(3)
    graph.add_edge(1, 1)
    graph[0][1]["weight"] = 0.1
    assert adjacencies([graph])[0].sum() == 4


@pytest.mark.parametrize("wrong, message", [
    (np.triu(np.ones((3, 3))), r"graph 1 must have a symmetric A .*got 1.0 and 0.0 at \(0, 1\)"),
    (nx.DiGraph([(0, 1)]), "graph 1 must have a symmetric A"),
    (np.full((2, 2), np.nan), "graph 1 has nan in A, row 0"),
    (np.full((2, 2), np.inf), "graph 1 has inf in A, row 0"),
    (np.zeros((2, 3)), r"got \(2, 3\)"),
    (None, "graph 1: expected a networkx graph or an .*got NoneType"),
    (7, "got int$"),
    ("CCO", "graph 1 'CCO': .*graph6"),
    (Record("CC", MolFromSmiles("CC"), True), "graph 1: expected a networkx graph .*got Mol"),
])
def test_what_is_no_graph_is_named_by_its_row(wrong, message):
    with pytest.raises(ValueError, match=message):
        adjacencies([np.zeros((2, 2)), wrong])


def test_isolated_nodes_go_from_generated_graphs_of_the_emd_family_only():
    pairs = nx.Graph([(0, 1), (2, 3)])
    lonely = nx.Graph(pairs)
    lonely.add_nodes_from(range(4, 8))
    assert graph_suite([lonely], [pairs])["mmd_degree_emd"].value == pytest.approx(0)
    assert graph_suite([lonely], [pairs])["mmd_degree_tv"].value > 0.1
    assert graph_suite([pairs], [lonely])["mmd_degree_emd"].value > 0.1
    empty = np.zeros((5, 5), np.bool_)
    assert without_isolated(empty).shape == (1, 1)
    assert math.isfinite(graph_suite([empty, np.zeros((0, 0))], [pairs])["mmd_orbit_rbf"].value)


def test_isomorphic_graphs_are_one_class():
    cycle, path = nx.cycle_graph(6), nx.path_graph(6)
    triangles = nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))  # same colours as C6
    graphs = adjacencies([cycle, path, shuffled(path, 0), triangles, shuffled(cycle, 1)])
    assert wl_key(graphs[0]) == wl_key(graphs[3])
    assert isomorphism_classes(graphs).tolist() == [0, 1, 1, 2, 0]
    assert graphs[4] in GraphSet(graphs[:1])
    assert graphs[3] not in GraphSet(graphs[:3])


def test_keys_tell_trees_of_equal_degrees_apart():
    """Legs of 1, 1, 3 and of 1, 2, 2 nodes: what makes the exact test rare."""
    one, other = adjacencies([nx.Graph([(0, 1), (0, 2), (0, 3), (3, 4), (4, 5)]),
                              nx.Graph([(0, 1), (0, 2), (0, 3), (2, 4), (3, 5)])])
    assert wl_key(one) != wl_key(other)


def test_vun_by_hand():
    tree, path = nx.star_graph(4), nx.path_graph(5)
    generated = [tree, shuffled(tree, 0), path, nx.cycle_graph(5), nx.path_graph(6)]
    report = graph_suite(generated, [path], train=[shuffled(path, 1)], valid="tree")
    assert report["unique"].value == 0.8
    assert report["novel"].value == 0.8
    assert report["valid_tree"].value == 0.8
    assert report["vun_tree"].value == 0.4  # the star once, the path of six
    assert report["vun_tree"].low < 0.4 < report["vun_tree"].high
    own = graph_suite(generated, [path], valid=lambda A: len(A) == 5)
    assert own["valid_<lambda>"].value == 0.8
    assert "novel" not in [m.name for m in own]


def test_lost_rows_stay_in_the_denominator():
    path = nx.path_graph(4)
    rows = [path, None, Record("", None, False, "no graph"), Record("broken", path, False, "why")]
    report = graph_suite(rows, [path], train=[nx.cycle_graph(4)], valid="tree")
    assert report["valid_tree"].value == report["novel"].value == 0.5
    assert report["valid_tree"].n == report["vun_tree"].n == 4
    assert report["vun_tree"].value == 0.25
    assert (report["unique"].value, report["unique"].n) == (0.5, 2)
    assert report["mmd_degree_tv"].n == 2
    assert report.provenance["rows"] == 4
    with pytest.raises(ValueError, match="generated graph 1 'CCO'"):
        graph_suite([None, "CCO"], [path])


def test_rows_that_are_all_lost_are_counted_and_have_no_distance():
    path = nx.path_graph(4)
    report = graph_suite([None, None], [path], train=[path], valid="tree")
    for name in ("unique", "mmd_degree_emd", "mmd_wavelet_tv_floor", "ratio_tv"):
        assert math.isnan(report[name].value)
    assert report["mmd_degree_emd"].note == "needs a generated graph"
    assert (report["valid_tree"].value, report["novel"].n) == (0, 2)


def test_a_training_sample_scores_its_own_floor():
    graphs = sets.communities(60, seeded(0))
    train, test = graphs[:40], graphs[40:]
    report = graph_suite(train, test, train=train)
    for name in ("degree_emd", "clustering_emd", "orbit_rbf", "spectral_emd", "degree_tv"):
        assert report[f"mmd_{name}"].value == pytest.approx(report[f"mmd_{name}_floor"].value)
    assert report["ratio_emd"].value == pytest.approx(1)
    assert report["ratio_tv"].value == pytest.approx(1)
    worse = graph_suite(sets.trees(40, seeded(1), nodes=16), test, train=train)
    assert worse["ratio_emd"].value > 5
    assert worse["mmd_degree_emd"].low > report["mmd_degree_emd"].value
    assert f"{report['mmd_degree_emd'].value:.4f}" in worse["mmd_degree_emd"].note
    few = graph_suite(train[:12], test, train=train)
    assert few["mmd_degree_emd_floor"].n == 12  # a floor is for the same n
    assert few["mmd_degree_emd_floor"].value != report["mmd_degree_emd_floor"].value


def test_intervals_cover_the_value_of_many_graphs():
    """95 % intervals of 40 graphs hold the MMD of all 1,200, as often as 30 draws can tell."""
    kernel = FAMILIES["tv"]["degree"]
    test, pool = (describe_graphs(adjacencies(g))["degree"] for g in
                  (sets.trees(30, seeded(0), nodes=12), sets.communities(1200, seeded(1))))
    truth, inside = mmd(pool, test, kernel), 0
    for some in pool.reshape(30, 40, -1):
        pair = Discrepancy.of(some, test, kernel)
        low, high = spread(pair.value(), pair.value, np.arange(40))
        inside += low <= truth <= high
    assert inside >= 26  # of 30 at 95 %: fewer once in 140 runs


def test_the_reference_is_named_by_its_graphs():
    graphs = sets.communities(5, seeded(0))
    one = fingerprint(adjacencies(graphs))
    assert one == fingerprint(adjacencies([shuffled(g, 3) for g in reversed(graphs)]))
    assert one != fingerprint(adjacencies(graphs[1:]))
    assert graph_suite(graphs, graphs).provenance["reference_hash"] == one


def test_wrong_arguments():
    graphs = [nx.path_graph(3)]
    with pytest.raises(ValueError, match="generated must hold at least one graph"):
        graph_suite([], graphs)
    with pytest.raises(ValueError, match="unknown family 'edm'.*emd.*tv"):
        graph_suite(graphs, graphs, families=["edm"])
    state = GraphState(torch.zeros(1, 2, 1), torch.full((1, 2, 2), torch.nan),
                       torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="generated graph 0 has nan in A"):
        graph_suite(state, graphs)




def test_files_of_graphs_are_measured_with_their_bad_rows(tmp_path):
    import scidiff as sd

    test, drawn = tmp_path / "test.g6", tmp_path / "drawn.g6"
    test.write_text("Bw\nCr\nC~\nDQc\n")
    drawn.write_text("Bw\nCr\nno graph\n")
    report = sd.evaluate(drawn, "graph", reference=test, train=test)
    assert report.provenance["rows"] == 3 and report.provenance["reference_n"] == 4
    assert report["mmd_degree_emd"].n == 2 and report["novel"].value == 0
