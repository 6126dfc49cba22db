"""Graph batches: shapes are checked, padding is zero, node counts follow their law."""

import networkx as nx
import numpy as np
import pytest
import torch

from scidiff.core import seeded
from scidiff.data.graphs import GraphCanvas, GraphState, NodeCounts, encode, encode_networkx


def blank(B=2, N=3, F=4):
    return torch.zeros(B, N, F), torch.zeros(B, N, N), torch.ones(B, N, dtype=torch.bool)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda X, A, m: (X[0], A, m), r"X must be \(B, N, F\), got \(3, 4\)"),
        (lambda X, A, m: (X, A[:, :2], m), r"A must be \(2, 3, 3\).*got \(2, 2, 3\)"),
        (lambda X, A, m: (X, A, m.float()), r"mask must be \(2, 3\) bool.*float32"),
        (lambda X, A, m: (X, A, m[:1]), r"mask must be \(2, 3\) bool.*\(1, 3\)"),
    ],
)
def test_shapes_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        GraphState(*change(*blank()))


def test_indexing_moves_masks_and_guesses_with_their_rows():
    X, A, mask = blank(B=3)
    tag = torch.arange(3.0).view(3, 1, 1)
    state = GraphState(X + tag, A, mask, guesses=((X + 10 * tag, A), (X + 20 * tag, A)))
    rows = torch.tensor([2, 2, 0])
    picked = GraphState.cat([state[rows], state])
    assert len(picked) == 6
    assert picked.X[:, 0, 0].tolist() == [2, 2, 0, 0, 1, 2]
    assert picked.guesses[1][0][:, 0, 0].tolist() == [40, 40, 0, 0, 20, 40]
    moved = state.moved((X, A))
    assert moved.guesses == () and moved.mask is mask


def test_node_counts_follow_their_law():
    law = NodeCounts.of([1, 3, 3, 3])
    assert law.max_nodes == 3 and law.weights.tolist() == [0, 1, 0, 3]
    n = 10_000
    counts = torch.bincount(law.draw(n, seeded(0)), minlength=4)
    assert counts[0] == counts[2] == 0
    assert abs(counts[1] / n - 0.25) < 4 * (0.25 * 0.75 / n) ** 0.5
    assert (NodeCounts.fixed(5).draw(9, seeded(0)) == 5).all()


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0], [1.0, -0.5]])
def test_impossible_node_counts_are_refused(weights):
    with pytest.raises(ValueError, match="weights must be"):
        NodeCounts(torch.tensor(weights))


def test_a_canvas_is_blank_but_for_its_mask():
    x = GraphCanvas(NodeCounts.of([2, 4]), 5)(50, seeded(1))
    assert x.X.shape == (50, 4, 5) and not x.X.any() and not x.A.any()
    assert set(x.mask.sum(1).tolist()) == {2, 4}
    assert torch.equal(x.mask, x.mask.sort(1, descending=True).values)  # present nodes come first


def test_arrays_are_padded_and_checked():
    path = np.array([[0, 2, 0], [2, 0, 1], [0, 1, 0]])
    state = encode([(np.eye(3), path), (np.eye(3)[:1], np.zeros((1, 1)))], max_nodes=4)
    assert state.X.shape == (2, 4, 3) and state.mask.sum(1).tolist() == [3, 1]
    assert state.A[0, :3, :3].tolist() == path.tolist() and not state.A[1].any()
    with pytest.raises(ValueError, match="graph 1 has 3 nodes, the model takes at most 2"):
        encode([(np.eye(3)[:2], path[:2, :2]), (np.eye(3), path)], max_nodes=2)
    with pytest.raises(ValueError, match="at least one graph"):
        encode([])


PATH = np.array([[0.0, 2, 0], [2, 0, 1], [0, 1, 0]])
NAN = np.where(PATH == 1, np.nan, PATH)


@pytest.mark.parametrize("X, A, message", [
    (np.eye(3), np.triu(PATH), r"symmetric A \(undirected\), got 2.0 and 0.0 at \(0, 1\)"),
    (np.eye(3), PATH + np.diag([0, 1, 0]), "a self loop at node 1"),
    (np.eye(3), NAN, "has nan in A, row 1"),
    (np.diag([1, 1, np.inf]), PATH, "has inf in X, row 2"),
    (np.zeros((0, 3)), np.zeros((0, 0)), "has no nodes"),
    (np.eye(3)[:, :2], PATH, r"must have X \(n, 3\) and A \(n, n\), got \(3, 2\)"),
    (np.eye(3), PATH[:2], r"must have X .* got \(3, 3\) and \(2, 3\)"),
    (np.float64(3), PATH, r"must have X .* got \(\)"),
    (np.full((3, 3), "C"), PATH, "must have numbers in X"),
])  # fmt: skip
def test_arrays_that_are_no_graph_are_named(X, A, message):
    with pytest.raises(ValueError, match=f"graph 1 .*{message}") as caught:
        encode([(np.eye(3), PATH), (X, A)])
    assert "\n" not in str(caught.value)


def test_networkx_graphs_get_one_hot_degrees():
    state = encode_networkx([nx.path_graph(3), nx.complete_graph(4)], num_features=4)
    assert state.X.argmax(-1)[0, :3].tolist() == [1, 2, 1]
    assert state.X.argmax(-1)[1].tolist() == [3] * 4
    assert state.A.sum((1, 2)).tolist() == [4, 12] and not state.X[0, 3].any()
    with pytest.raises(ValueError, match="graph 0 has a node of degree 4, but 3 features"):
        encode_networkx([nx.star_graph(4)], num_features=3)
    with pytest.raises(ValueError, match="graph 1 is directed"):
        encode_networkx([nx.path_graph(2), nx.DiGraph([(0, 1)])], num_features=3)


def test_widened_graphs_are_the_same_graphs_with_absent_nodes():
    x = GraphState(torch.ones(2, 3, 4), torch.zeros(2, 3, 3), torch.ones(2, 3, dtype=torch.bool))
    wide = x.widened(5)
    assert wide.X.shape == (2, 5, 4) and wide.A.shape == (2, 5, 5)
    assert torch.equal(wide.X[:, :3], x.X) and not wide.X[:, 3:].any()
    assert wide.mask.sum(1).tolist() == [3, 3] and not wide.mask[:, 3:].any()
    with pytest.raises(ValueError, match="graphs of 3 nodes do not fit 2"):
        x.widened(2)
