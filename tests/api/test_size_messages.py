"""A size that a model does not take is told in the words of what it makes."""

import pytest

from scidiff.api.rows import GraphRows
from scidiff.api.scaffold import Scaffold, around, node_law, scaffold_rows
from scidiff.api.settings import GraphRequest
from scidiff.data.graph_tokens import triangle
from scidiff.data.tokens import Vocabulary
from scidiff.domains.graph import DOMAIN as GRAPHS
from scidiff.domains.molecule_graph import DOMAIN as MOLECULES

WORDS = [("molecule", "molecules", "atom"), ("graph", "graphs", "node")]


@pytest.mark.parametrize("kind, whole, part", WORDS)
def test_a_number_of_nodes_that_is_too_large(kind, whole, part):
    with pytest.raises(ValueError, match=f"takes {whole} of at most 2 {part}s, got 5"):
        node_law([0, 1, 1], 5, kind)
    with pytest.raises(ValueError, match=f"has 2 {part}s and {whole} of at most 2 are drawn"):
        around([0, 1, 1], 2, kind)


@pytest.mark.parametrize("kind, whole, part", WORDS)
def test_a_scaffold_that_cannot_grow(kind, whole, part):
    vocabulary = MOLECULES.of(("C",)).vocabulary
    scaffold = Scaffold.of("C", lambda text: text)
    with pytest.raises(ValueError, match=f"takes {whole} of at most 2 {part}s, got 3"):
        scaffold_rows(scaffold, [3], vocabulary, triangle(2) + 1, kind)
    closed = Scaffold(scaffold.nodes, scaffold.edges, ~scaffold.open)
    with pytest.raises(ValueError, match=f"no {part} of the scaffold is open"):
        scaffold_rows(closed, [2], vocabulary, 9, kind)


@pytest.mark.parametrize("domain, whole, part", [
    ("molecule_graph", "molecules", "atoms"), ("graph", "graphs", "nodes")])
def test_a_model_says_what_its_domain_is_of(domain, whole, part):
    vocabulary: Vocabulary = GRAPHS.of().vocabulary
    config = {"domain": domain, "length_counts": [0, 1, 0, 1]}
    rows = GraphRows(vocabulary, config, 4)
    with pytest.raises(ValueError, match=f"takes {whole} of at most 2 {part}, got 7"):
        rows.canvas(GraphRequest(nodes=7))
