"""networkx and torch-geometric in and out."""

import warnings

import networkx as nx
import numpy as np
import pytest
import torch

from scidiff.data.graph_exchange import (
    decode_pyg,
    edge_types,
    encode_pyg,
    from_pyg,
    symbols,
    to_networkx,
)
from scidiff.data.graphs import GraphState, decode_networkx, encode, encode_networkx

with warnings.catch_warnings():  # the package warns about torch's own functions when imported
    warnings.simplefilter("ignore")
    from torch_geometric.data import Data

GRAPHS = [nx.path_graph(1), nx.petersen_graph(), nx.barbell_graph(3, 2), nx.empty_graph(3)]


def random_state(B=5, N=7, seed=0):
    rng = np.random.default_rng(seed)
    graphs = []
    for n in rng.integers(2, N + 1, B):
        A = np.triu(rng.integers(0, 4, (n, n)), 1)
        graphs.append((rng.normal(size=(n, 3)), A + A.T))
    return encode(graphs, N)


def pyg(pairs, n, **data):
    return Data(edge_index=torch.tensor(pairs).T.reshape(2, -1), num_nodes=n, **data)


def test_networkx_to_arrays_and_back():
    found = decode_networkx(encode_networkx(GRAPHS, num_features=5, max_nodes=12))
    for graph, again in zip(GRAPHS, found, strict=True):
        assert nx.is_isomorphic(graph, again)
    state = random_state()
    again = decode_networkx(state)
    for i, graph in enumerate(again):
        n = len(graph)
        assert np.array_equal(nx.to_numpy_array(graph), state.A[i, :n, :n])
        x = np.stack([graph.nodes[v]["x"] for v in graph])
        assert np.array_equal(x, state.X[i, :n])


def test_measured_attributes_become_features():
    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, {0: 0.5, 1: 2, 2: -1.0}, "charge")
    nx.set_edge_attributes(graph, {(0, 1): 0.25, (1, 2): 3}, "length")
    state = encode_networkx([graph], 3, features=["charge"], weight="length")
    assert state.X[0, :, 3].tolist() == [0.5, 2, -1] and state.X.shape[2] == 4
    assert state.A[0, 0, 1] == 0.25 and state.A[0, 2, 1] == 3
    graph.nodes[1]["charge"] = "high"
    with pytest.raises(ValueError, match="graph 0: node attribute 'charge' must be a number"):
        encode_networkx([graph], 3, features=["charge"])
    graph.edges[0, 1]["length"] = 0
    with pytest.raises(ValueError, match="graph 0: edge attribute 'length' must be a positive"):
        encode_networkx([graph], 3, weight="length")


def test_pyg_to_arrays_and_back():
    state = random_state()
    again = encode_pyg(decode_pyg(state), max_nodes=7)
    for name in ("X", "A", "mask"):
        assert torch.equal(getattr(again, name), getattr(state, name))
    assert isinstance(again, GraphState)
    data = decode_pyg(state)[0]
    assert data.validate() and not data.is_directed()


def test_pyg_categories_become_types():
    pairs = [(0, 1), (1, 0), (1, 2), (2, 1)]
    hot = torch.eye(4)[[3, 0, 2]]
    graph = from_pyg(pyg(pairs, 3, x=hot, edge_attr=torch.eye(2)[[0, 0, 1, 1]]))
    assert dict(graph.nodes(data="type")) == {0: 3, 1: 0, 2: 2}
    assert dict(graph.edges) == {(0, 1): {"type": 1}, (1, 2): {"type": 2}}
    graph = from_pyg(pyg(pairs, 4, edge_attr=torch.tensor([[3.0], [3], [1], [1]])))
    names, edges = symbols(graph)
    assert names == ["o"] * 4 and edges[0, 1] == 3 and not edges[3].any()


@pytest.mark.parametrize(("data", "message"), [
    (pyg([(0, 1)], 2), r"directed: edge_index has \(0, 1\) but not \(1, 0\)"),
    (pyg([(0, 1), (1, 0), (0, 1)], 2), "multigraph"),
    (pyg([(0, 1), (1, 0), (1, 1)], 2), "self loop at node 1"),
    (pyg([(0, 5), (5, 0)], 2), r"has 2 nodes, but edge_index has \(0, 5\)"),
    (pyg([(0, 1), (1, 0)], 2, edge_attr=torch.tensor([1, 2])), "another edge_attr"),
    (pyg([(0, 1), (1, 0)], 2, edge_attr=torch.tensor([0.5, 0.5])), "categories in edge_attr"),
    (pyg([(0, 1), (1, 0)], 2, x=torch.full((2, 2), 0.5)), "categories in x"),
])  # fmt: skip
def test_pyg_that_is_no_typed_graph_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        from_pyg(data)


def test_pyg_without_features_is_named():
    good = decode_pyg(random_state())[0]
    with pytest.raises(ValueError, match=r"graph 1 must have x \(n, F\), got None"):
        encode_pyg([good, pyg([(0, 1), (1, 0)], 2)])
    with pytest.raises(ValueError, match="graph 1 is directed"):
        encode_pyg([good, pyg([(0, 1)], 2, x=torch.ones(2, 3))])


def test_named_types_of_nodes_and_edges():
    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, {0: "kinase", 1: "x", 2: 7}, "what")
    nx.set_edge_attributes(graph, {(0, 1): "binds", (1, 2): "cuts"}, "how")
    listed = edge_types([graph], "how")
    assert listed == ["binds", "cuts"]
    names, edges = symbols(graph, "what", "how", listed)
    assert names == ["[kinase]", "x", "7"] and edges[0, 1] == 1 and edges[2, 1] == 2
    back = to_networkx(names, edges)
    assert dict(back.nodes(data="type")) == {0: "kinase", 1: "x", 2: "7"}
    assert symbols(back)[0] == names and np.array_equal(symbols(back)[1], edges)
    assert edge_types([back]) is None
    with pytest.raises(ValueError, match="edge type 'binds', expected one of cuts"):
        symbols(graph, "what", "how", ["cuts"])
    with pytest.raises(ValueError, match="9 edge types, at most 8"):
        symbols(graph, "what", "how", list(range(9)))
    graph.nodes[0]["what"] = "a]b"
    with pytest.raises(ValueError, match="without brackets, got 'a]b'"):
        symbols(graph, "what", "how", listed)
