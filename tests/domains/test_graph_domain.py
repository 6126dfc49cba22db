"""Graphs to token rows and arrays and back; one key for isomorphic graphs."""

import networkx as nx
import numpy as np
import pytest
import torch

from scidiff.data.graph_exchange import to_networkx
from scidiff.data.graph_text import parse
from scidiff.data.graph_tokens import EDGES, write
from scidiff.data.graphs import GraphState, encode_networkx
from scidiff.data.tokens import TokenState
from scidiff.domains.domain import find_domain
from scidiff.domains.graph import GraphDomain

PLAIN = GraphDomain.of()
TYPED = GraphDomain.of(["[kinase]", "[ligand]", "x"], edges=3)
GRAPHS = [nx.path_graph(1), nx.empty_graph(4), nx.petersen_graph(), nx.balanced_tree(2, 3),
          nx.barbell_graph(4, 2), nx.gnp_random_graph(17, 0.3, seed=1)]  # fmt: skip


def typed(n, seed):
    """A random graph with three node and three edge types."""
    rng = np.random.default_rng(seed)
    graph = nx.gnp_random_graph(n, 0.5, seed=seed)
    nx.set_node_attributes(
        graph, {v: str(rng.choice(["kinase", "ligand", "x"])) for v in graph}, "type")
    nx.set_edge_attributes(graph, {e: int(rng.integers(1, 4)) for e in graph.edges}, "type")
    return graph


def shuffled(graph, seed):
    """The same graph with its nodes in another order."""
    order = np.random.default_rng(seed).permutation(len(graph)).tolist()
    out = nx.Graph()
    out.add_nodes_from((v, graph.nodes[v]) for v in order)
    out.add_edges_from((v, u, d) for u, v, d in graph.edges(data=True))
    return out


def test_the_domain_is_found_by_name():
    assert find_domain("graph") is GraphDomain
    assert find_domain("graph").notation == "graph"


@pytest.mark.parametrize("through", ["encode", "encode_graphs"])
def test_plain_graphs_come_back_isomorphic(through):
    records = PLAIN.decode(getattr(PLAIN, through)(GRAPHS))
    for record, graph in zip(records, GRAPHS, strict=True):
        assert record.valid and nx.utils.edges_equal(record.obj.edges, graph.edges)
        names, edges = parse(record.text)
        assert nx.is_isomorphic(to_networkx(names, edges), graph)


@pytest.mark.parametrize("through", ["encode", "encode_graphs"])
def test_attributed_graphs_come_back_with_their_types(through):
    graphs = [typed(n, n) for n in range(2, 9)]
    for record, graph in zip(TYPED.decode(getattr(TYPED, through)(graphs)), graphs, strict=True):
        assert dict(record.obj.nodes(data="type")) == dict(graph.nodes(data="type"))
        found = {frozenset(e): t for *e, t in record.obj.edges(data="type", default=1)}
        assert found == {frozenset(e): t for *e, t in graph.edges(data="type")}


def test_isomorphic_graphs_have_one_text_and_others_another():
    for graph in GRAPHS:
        rows = PLAIN.decode(PLAIN.encode([shuffled(graph, seed) for seed in range(4)]))
        assert len({r.text for r in rows} | {PLAIN.key(r) for r in rows}) == 1
    graph = typed(8, 3)
    rows = TYPED.decode(TYPED.encode([shuffled(graph, seed) for seed in range(5)]))
    assert len({TYPED.key(r) for r in rows}) == 1
    assert len(set(TYPED.keys(["x[kinase].x..", "xx.[kinase]..", "[kinase]x.x.."]))) == 1
    other = graph.copy()
    u, v, t = next(iter(graph.edges(data="type")))
    other.edges[u, v]["type"] = t % 3 + 1
    other_row = TYPED.decode(TYPED.encode([other]))[0]
    assert TYPED.key(other_row) != TYPED.key(rows[0])
    assert len(set(TYPED.keys([r.text for r in rows]))) == 1


def test_a_graph_too_symmetric_for_a_labelling_is_named_by_a_hash(monkeypatch):
    from scidiff.data import canonical_graphs

    monkeypatch.setattr(canonical_graphs, "BUDGET", 2)
    rows = PLAIN.decode(PLAIN.encode([shuffled(nx.petersen_graph(), s) for s in range(3)]))
    keys = {PLAIN.key(r) for r in rows}
    assert len(keys) == 1 and keys.pop().startswith("wl:10:")
    assert all(nx.is_isomorphic(to_networkx(*parse(r.text)), nx.petersen_graph()) for r in rows)


def test_edge_values_are_rounded_where_the_published_code_does():
    A = torch.zeros(1, 4, 4)
    for place, value in (((0, 1), 0.49), ((0, 2), 0.5), ((1, 3), 1.49), ((2, 3), 7.0)):
        A[0][place] = A[0][place[::-1]] = value
    A[0, 1, 1] = 0.9  # not a pair
    mask = torch.ones(1, 4, dtype=torch.bool)
    one_hot_degree = torch.zeros(1, 4, 10)
    record = PLAIN.decode(GraphState(one_hot_degree, A, mask))[0]
    assert sorted(record.obj.edges) == [(0, 2), (1, 3), (2, 3)]
    assert PLAIN.keys([record.text]) == [record.text]
    types = torch.eye(3)[[0, 2, 2, 1]][None]
    record = TYPED.decode(GraphState(types, A, mask))[0]
    assert dict(record.obj.nodes(data="type")) == {0: "kinase", 1: "x", 2: "x", 3: "ligand"}
    assert dict(record.obj.edges) == {
        (0, 2): {"type": 1}, (1, 3): {"type": 1}, (2, 3): {"type": 3}}  # fmt: skip


def test_rules_and_empty_rows_have_reasons():
    strict = GraphDomain.of(rules=("connected", "planar", "tree"))
    graphs = [nx.path_graph(5), nx.empty_graph(2), nx.complete_graph(5), nx.cycle_graph(3)]
    reasons = [r.reason.split(":")[0] for r in strict.decode(strict.encode(graphs))]
    assert reasons == ["", "connected", "planar", "tree"]
    none = GraphState(
        torch.zeros(1, 3, 1), torch.zeros(1, 3, 3), torch.zeros(1, 3, dtype=torch.bool))
    assert PLAIN.decode(none)[0].reason == "nodes: there are none"
    ids = PLAIN.encode([nx.path_graph(3)]).ids
    ids[0, 1] = PLAIN.vocabulary.mask_id
    assert PLAIN.decode(TokenState(ids))[0].reason.startswith("unfinished")
    with pytest.raises(ValueError, match="rules must be among connected, planar, tree, got tidy"):
        GraphDomain.of(rules=("tidy",))
    with pytest.raises(ValueError, match="expected 3 features, got 1"):
        TYPED.decode(PLAIN.encode_graphs([nx.path_graph(3)]))


def test_texts_in_any_form_are_one_graph():
    graph = nx.barbell_graph(4, 2)
    dense = nx.to_graph6_bytes(graph).decode().strip()  # with its header
    sparse = nx.to_sparse6_bytes(graph, header=False).decode().strip()
    own = write(["o"] * 10, nx.to_numpy_array(graph))
    assert GraphDomain.spell(dense) == GraphDomain.spell(sparse) == GraphDomain.spell(own) == own
    assert GraphDomain.spell("@") == GraphDomain.spell("o") == "o"
    assert GraphDomain.spell("[kinase]x-") == "[kinase]x-"



@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (nx.DiGraph([(0, 1)]), "row 2: is directed"),
        (nx.MultiGraph([(0, 1), (0, 1)]), "row 2: is a multigraph"),
        (nx.Graph([(0, 1), (1, 1)]), "row 2: has a self loop at node 1"),
        (nx.Graph(), "row 2: has no nodes"),
        (nx.path_graph(7), "row 2: has 7 nodes, the model takes at most 6"),
        (typed(3, 0), "row 2: has node type .*, the model knows o"),
        (nx.Graph([(0, 1, {"type": 2})]), "row 2: has edge type =, the model knows . -"),
        (nx.Graph([(0, 1, {"type": 1.5})]), "row 2: has 1.5 as 'type' of edge .* category"),
        (nx.Graph([(0, 1, {"type": 1}), (1, 2)]), r"has no 'type' at edge \(1, 2\)"),
        (np.eye(3), "row 2: must be a networkx graph, got ndarray"),
        ("&B?", "row 2: is directed"),
        (":A_@", "row 2: is a multigraph|self loop"),
        ("DQ", "row 2: cannot be read as graph6"),
        ("?", "row 2: has no nodes"),
        ("", "row 2: expected a graph as graph6"),
        ("oo", "row 2: cannot be read as graph6"),
        ("oo-o", "row 2: a graph of n nodes has"),
        ("o-o", "row 2: symbol 2 must be a node"),
    ],
)  # fmt: skip
def test_what_is_no_graph_is_named_with_its_place(graph, message):
    with pytest.raises(ValueError, match=message) as caught:
        PLAIN.encode([nx.path_graph(2), graph], max_nodes=6)
    assert "\n" not in str(caught.value)


def test_published_features_decode_in_a_plain_domain():
    state = encode_networkx([nx.star_graph(4)], num_features=6)
    assert nx.is_isomorphic(PLAIN.decode(state)[0].obj, nx.star_graph(4))


def test_all_edge_types_can_be_written():
    graph = nx.path_graph(9)
    nx.set_edge_attributes(graph, {(i, i + 1): i + 1 for i in range(8)}, "type")
    domain = GraphDomain.of(edges=8)
    assert dict(domain.decode(domain.encode([graph]))[0].obj.edges) == dict(graph.edges)
    assert len(EDGES) == 9
