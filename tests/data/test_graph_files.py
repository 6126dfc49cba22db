"""Files of graphs: every graph is a row, every bad one says what is wrong with it."""

import gzip

import networkx as nx
import numpy as np
import pytest

from scidiff.data.graph_exchange import symbols, to_networkx
from scidiff.data.graph_files import pack
from scidiff.data.graph_text import compact, parse
from scidiff.data.tables import TableError, read

GRAPHS = [nx.path_graph(4), nx.petersen_graph(), nx.star_graph(6), nx.empty_graph(3)]
TYPED = [(["[kinase]", "x", "x"], np.array([[0, 1, 0], [1, 0, 3], [0, 3, 0]])),
         (["x", "x"], np.array([[0, 2], [2, 0]]))]  # fmt: skip


def same(table, graphs=GRAPHS):
    found = [to_networkx(*parse(text)) for text in table.objects()]
    return len(found) == len(graphs) and all(map(nx.is_isomorphic, found, graphs))


def dense(graphs):
    N = max(map(len, graphs))
    A = np.zeros((len(graphs), N, N), int)
    for a, graph in zip(A, graphs, strict=True):
        a[: len(graph), : len(graph)] = nx.to_numpy_array(graph)
    return {"adjacency": A, "n_nodes": np.array([len(g) for g in graphs])}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix, writer", [
    (".g6", nx.to_graph6_bytes), (".s6", nx.to_sparse6_bytes)])  # fmt: skip
def test_lines_of_graph6_and_sparse6(tmp_path, suffix, writer, packed):
    content = b"".join(writer(g, header=i == 0) for i, g in enumerate(GRAPHS))
    file = tmp_path / f"mine{suffix}{'.gz' if packed else ''}"
    file.write_bytes(gzip.compress(content) if packed else content)
    table = read(file)
    assert table.column == "graph" and same(table) and not table.problems


def test_npz_of_matrices_and_of_edges(tmp_path):
    np.savez(tmp_path / "a.npz", **dense(GRAPHS))
    np.savez(tmp_path / "b.npz", **pack([symbols(g) for g in GRAPHS]))
    np.savez(tmp_path / "c.npz", adjacency=nx.to_numpy_array(GRAPHS[1]))
    assert same(read(tmp_path / "a.npz")) and same(read(tmp_path / "b.npz"))
    assert same(read(tmp_path / "c.npz"), GRAPHS[1:2])
    np.savez(tmp_path / "d.npz", **pack(TYPED))
    assert read(tmp_path / "d.npz").objects() == [compact(*g) for g in TYPED]


def test_the_published_sets_are_such_files(shared_data):
    for name, rows in (("community_small", 100), ("ego_small", 200), ("ENZYMES", 587)):
        table = read(shared_data / f"graphs_{name}.npz")
        assert len(table) == rows and not table.problems


def test_bad_matrices_are_named(tmp_path):
    one = nx.to_numpy_array(nx.path_graph(3))
    rows = np.stack([one] * 8)
    rows[1, 0, 1], rows[2, 1, 1], rows[3, 0, 1] = 0, 1, np.nan
    rows[4] *= 0.5
    rows[5] *= 9
    counts = np.array([3, 3, 3, 3, 3, 3, 0, 2])
    np.savez(tmp_path / "a.npz", adjacency=rows, n_nodes=counts)
    table = read(tmp_path / "a.npz")
    assert len(table) == 1
    assert [(p.row, p.reason) for p in table.problems] == [
        (2, "must have a symmetric A (undirected), got 0.0 and 1.0 at (0, 1)"),
        (3, "has a self loop at node 1"),
        (4, "has nan in A, row 0"),
        (5, "has edge value 0.5, expected 0, 1 or a type up to 8"),
        (6, "has edge value 9, expected 0, 1 or a type up to 8"),
        (7, "has 0 nodes in a matrix of 3"),
        (8, "has 2 nodes, but an edge at node 2"),
    ]


def test_bad_edge_arrays_are_named(tmp_path):
    edges = np.array([[0, 1], [1, 2], [0, 3], [1, 1], [0, 1], [1, 0]])
    np.savez(tmp_path / "a.npz", n_nodes=[3, 3, 2, 2, 0], edges=edges, edge_ptr=[0, 2, 3, 4, 6, 6])
    assert [(p.row, p.reason) for p in read(tmp_path / "a.npz").problems] == [
        (2, "has 3 nodes, but an edge at (0, 3)"),
        (3, "has a self loop at node 1"),
        (4, "is a multigraph: the edge (1, 0) is repeated"),
        (5, "has no nodes"),
    ]


@pytest.mark.parametrize("content, message", [
    ({"x": np.ones(3)}, "must hold adjacency, or n_nodes, edges and edge_ptr; got x"),
    ({"adjacency": np.ones((2, 3))}, r"adjacency must be numbers \(B, N, N\), got .*\(1, 2, 3\)"),
    ({"adjacency": np.ones((2, 3, 3)), "n_nodes": [3]}, r"n_nodes must be \(2,\), got \(1,\)"),
    ({"adjacency": np.array([None])}, "cannot be read as npz: Object arrays"),
    ({"n_nodes": [2], "edges": np.ones((1, 3)), "edge_ptr": [0, 1]}, r"edges must be \(1, 2\)"),
])  # fmt: skip
def test_wrong_npz_files_are_refused(tmp_path, content, message):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(TableError, match=message):
        read(tmp_path / "a.npz")


EDGES_CSV = """graph,source,target,type,source_type,target_type
a,1,2,binds,kinase,x
a,2,3,cuts,,x
b,1,,,x,
b,2,1,cuts,x,
"""


def test_edge_lists(tmp_path):
    file = tmp_path / "edges.csv"
    file.write_text(EDGES_CSV)
    table = read(file)
    assert table.values("name") == ["a", "b"] and not table.problems
    assert [parse(t)[0] for t in table.objects()] == [["[kinase]", "x", "x"], ["x", "x"]]
    assert parse(table.objects()[0])[1][1].tolist() == [1, 0, 2]  # binds 1, cuts 2
    file.write_text("graph,source,target\n1,a,b\n1,b,a\n1,b,c\n2,a,\n")
    assert same(read(file), [nx.path_graph(3), nx.empty_graph(1)])


def test_bad_edge_lists_are_named(tmp_path):
    file = tmp_path / "edges.tsv"
    rows = ["a 1 2 s", "b 1 1 s", "c 1 2 s", "c 1 2 s", "d 1 2 s", "d 2 1 t", "e  2 s", "f 1 2 s",
            "f 2 3 ", "g 1"]
    lines = ["graph\tsource\ttarget\ttype", *(r.replace(" ", "\t") for r in rows)]
    file.write_text("\n".join(lines) + "\n")
    table = read(file)
    assert len(table) == 1
    assert [(p.row, p.reason) for p in table.problems] == [
        (3, "graph 'b': line 3: a self loop at node 1"),
        (4, "graph 'c': line 5: a multigraph: the edge 1 2 is repeated"),
        (6, "graph 'd': line 7: the edge 2 1 has another type than its way back"),
        (8, "graph 'e': line 8: no source"),
        (9, "graph 'f': has no 'type' at edge ('2', '3'), other edges have one"),
        (11, "graph 'g': line 11: 2 fields, expected 4"),
    ]


def test_graphml(tmp_path):
    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, {0: "kinase", 1: "x", 2: "x"}, "type")
    nx.write_graphml(graph, tmp_path / "a.graphml")
    assert parse(read(tmp_path / "a.graphml").objects()[0])[0] == ["[kinase]", "x", "x"]
    nx.write_graphml(nx.DiGraph([(0, 1)]), tmp_path / "b.graphml")
    assert read(tmp_path / "b.graphml").problems[0].reason.startswith("is directed")
    (tmp_path / "c.graphml").write_text("<graphml")
    with pytest.raises(TableError, match="c.graphml cannot be read as GraphML"):
        read(tmp_path / "c.graphml")
