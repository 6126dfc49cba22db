"""Files of graphs become training rows; a bad row is listed with the reason."""

import csv

import networkx as nx
import numpy as np
import pytest

from scidiff.api.intake import load_strings
from scidiff.api.recipes import parse
from scidiff.core import ScidiffError
from scidiff.data.graph_tokens import triangle


def recipe(source, **data):
    content = {"name": "g", "domain": "graph", "data": {"source": str(source), **data},
               "stages": [{"process": "masked", "steps": 1}]}  # fmt: skip
    return parse(content, "r.toml")


def test_rows_of_a_graph_file(tmp_path):
    A = np.stack([nx.to_numpy_array(g) for g in map(nx.cycle_graph, (4, 4, 4))])
    A[1, 0, 1] = 0
    np.savez(tmp_path / "a.npz", adjacency=A)
    found = load_strings(recipe(tmp_path / "a.npz"), tmp_path)
    assert list(found.strings) == ["oo-o.-o-.-"] and found.rejected == 2
    assert found.standard == "taken as written"
    with (tmp_path / "rejects.csv").open() as file:
        reasons = [row["reason"] for row in csv.DictReader(file)]
    assert reasons[0].startswith("must have a symmetric A") and reasons[1].startswith("repeats")


def test_a_graph_that_is_too_large_is_listed(tmp_path):
    (tmp_path / "a.g6").write_bytes(
        b"".join(nx.to_graph6_bytes(nx.path_graph(n), header=False) for n in (3, 9)))
    found = load_strings(recipe(tmp_path / "a.g6"), tmp_path, triangle(5) + 1)
    assert len(found.strings) == 1
    assert "45 tokens, the model takes at most 15" in (tmp_path / "rejects.csv").read_text()


def test_molecules_are_not_standardised_in_a_graph_recipe(tmp_path):
    with pytest.raises(ScidiffError, match="data.standardise is for molecules, not for 'graph'"):
        load_strings(recipe("a.g6", standardise={"neutralise": True}), tmp_path)
