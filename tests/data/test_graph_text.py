"""Graphs as one line: the same graph6 and sparse6 as networkx writes."""

import networkx as nx
import numpy as np
import pytest

from scidiff.data.graph_text import compact, parse

SIZES = [1, 2, 7, 62, 63, 64, 130]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("p", [0.02, 0.6, 1])
def test_plain_graphs_are_written_as_networkx_does(n, p):
    graph = nx.gnp_random_graph(n, p, seed=n)
    A = nx.to_numpy_array(graph).astype(int)
    dense = nx.to_graph6_bytes(graph, header=False).decode().strip()
    sparse = nx.to_sparse6_bytes(graph, header=False).decode().strip()
    assert compact(["o"] * n, A) == min(dense, sparse, key=len)
    for text in (dense, sparse, f">>graph6<<{dense}", f">>sparse6<<{sparse}"):
        names, edges = parse(text)
        assert names == ["o"] * n and np.array_equal(edges, A)


@pytest.mark.parametrize(("text", "message"), [
    ("DQ", "graph6: 5 nodes take 2 letters more, got 1"),
    ("~?", "graph6: 63 nodes take 326 letters more, got 1"),
    ("D\u00e9?", "graph6: its letters are"),
    (":", "sparse6"),
    ("&B?", "is directed"),
    (">>graph6<<", "got nothing"),
])  # fmt: skip
def test_texts_that_are_no_graph(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_typed_graphs_are_triangles():
    edges = np.array([[0, 2], [2, 0]])
    assert compact(["o", "o"], edges) == "oo=" and compact(["[ab]"], np.zeros((1, 1))) == "[ab]"
    names, again = parse("oo=")
    assert names == ["o", "o"] and np.array_equal(again, edges)
