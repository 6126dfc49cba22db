"""The layout of graphs as token rows."""

import numpy as np
import pytest
import torch

from scidiff.data.graph_tokens import (
    bonded_ids,
    entries,
    node_count,
    places,
    read,
    triangle,
    write,
)
from scidiff.data.tokens import Vocabulary


def test_positions_of_a_graph_are_the_first_of_a_larger_one():
    small, large = places(4), places(9)
    assert torch.equal(large[:4, :4], small)
    assert sorted(small[np.tril_indices(4)].tolist()) == list(range(triangle(4)))


@pytest.mark.parametrize("n", [1, 2, 5, 38])
def test_entries_invert_places(n):
    i, j = entries(n)
    assert torch.equal(places(n)[i, j], torch.arange(triangle(n)))
    assert node_count(triangle(n)) == n == node_count(triangle(n) + n)


def test_no_bond_joins_nothing():
    vocabulary = Vocabulary(("=", "C", ".", "-"), "graph")
    assert [vocabulary.symbols[i - 2] for i in bonded_ids(vocabulary)] == ["-", "="]


def test_text_round_trip_on_random_graphs():
    rng = np.random.default_rng(0)
    for n in range(1, 8):
        upper = np.triu(rng.integers(0, 4, (n, n)), 1)
        nodes = rng.choice(["C", "Cl", "[N+]", "O"], n).tolist()
        again, edges = read(write(nodes, upper + upper.T))
        assert again == nodes and np.array_equal(edges, upper + upper.T)


@pytest.mark.parametrize(
    ("text", "message"),
    [("CC", "nearest are 1 and 3"), ("CCC", "symbol 3 must be one of"),
     ("C--", "symbol 2 must be a node")],
)  # fmt: skip
def test_what_is_no_graph_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read(text)
