"""Results of graphs: tables, pictures, files that are read back."""

import xml.etree.ElementTree as ET

import networkx as nx
import numpy as np
import pytest

from scidiff.api.results import SampleResult
from scidiff.chem.correction import correct
from scidiff.chem.valence import largest_valence
from scidiff.data import tables
from scidiff.domains.graph import GraphDomain
from scidiff.domains.smiles import molecule_record
from scidiff.evaluation.graph_drawing import PAD, draw, graph_svg


def result(graphs, domain=None, columns=None):
    domain = domain or GraphDomain.of(rules=("connected",))
    records = domain.decode(domain.encode(graphs))
    return SampleResult(records, kind="graph", provenance={"model": "m", "seed": 0},
                        columns=columns)  # fmt: skip


@pytest.fixture
def plain():
    return result([nx.cycle_graph(6), nx.star_graph(4), nx.empty_graph(3), nx.cycle_graph(6)])


@pytest.fixture
def typed():
    graph = nx.path_graph(3)
    for (node, kind), edge in zip({0: "A", 1: "B", 2: "A"}.items(), [(0, 1), (1, 2)] * 2,
                                  strict=False):  # fmt: skip
        graph.nodes[node]["type"] = kind
        graph.edges[edge]["type"] = 1 + edge[0]
    return result([graph], GraphDomain.of(("A", "B"), edges=2))


def test_graphs_are_counted_and_measured(plain):
    found = plain.summary()
    assert (found["n"], found["valid"]) == (4, 0.75) and found["unique"] == pytest.approx(2 / 3)
    assert found["nodes_mean"] == pytest.approx(17 / 3) and found["edges_mean"] == 16 / 3
    assert found["degree_mean"] == pytest.approx((2 + 2 + 8 / 5) / 3)
    assert found["reasons"] == {"connected: the graph is not": 1}
    frame = plain.to_frame()
    assert list(frame) == ["graph", "valid", "reason"] and frame["graph"][0] == frame["graph"][3]
    assert [len(g) for g in plain.objects] == [6, 5, 6]


def test_files_of_graphs_are_read_back(plain, typed, tmp_path):
    for suffix in (".g6", ".npz"):
        plain.save(tmp_path / f"g{suffix}")
        read = tables.read(tmp_path / f"g{suffix}").objects()
        assert read == [t for t, ok in zip(plain.texts, plain.valid, strict=True) if ok]
        assert (tmp_path / f"g{suffix}.json").is_file()
    typed.save(tmp_path / "typed.npz")
    assert tables.read(tmp_path / "typed.npz").objects() == typed.texts
    with pytest.raises(ValueError, match="holds graphs without types.*npz"):
        typed.save(tmp_path / "typed.g6")
    with pytest.raises(ValueError, match="expected a name that ends with .csv, .g6"):
        plain.save(tmp_path / "g.sdf")
    with pytest.raises(ValueError, match="no row is valid"):
        plain[2:3].save(tmp_path / "none.npz")


def test_a_drawing_fits_its_box_and_tells_types_apart(typed):
    d = draw(typed.objects[0], 220, 160)
    assert (d.places >= PAD - 1e-6).all() and (d.places <= np.array([220, 160]) - PAD + 1e-6).all()
    names = [kind for _, kind in typed.objects[0].nodes(data="type")]
    assert len({*zip(names, d.colours, strict=True)}) == len(set(d.colours)) == 2
    assert len(set(d.widths)) == 2 and len(d.lines) == 2
    assert np.array_equal(draw(nx.cycle_graph(80), 9, 9).places,
                          draw(nx.cycle_graph(80), 9, 9).places)  # fmt: skip


@pytest.mark.parametrize("graph", [nx.empty_graph(1), nx.empty_graph(4), nx.complete_graph(5)])
def test_every_graph_can_be_drawn(graph):
    root = ET.fromstring(graph_svg(graph, 220, 160))
    circles = [e for e in root.iter() if e.tag.endswith("circle")]
    lines = [e for e in root.iter() if e.tag.endswith("line")]
    assert len(circles) == len(graph) and len(lines) == graph.number_of_edges()
    assert "nan" not in graph_svg(graph, 220, 160)


def test_pictures_and_pages_show_every_row(plain, tmp_path):
    html = plain._repr_html_()
    assert html.count("<circle") == 6 + 5 + 6 and "connected: the graph is not" in html
    assert "6 nodes · 6 edges" in html
    page = plain.to_html()
    assert "mean clustering" in page and '"drawn":[{"n":6,' in page
    plain.save(tmp_path / "g.png")
    assert (tmp_path / "g.png").read_bytes()[:4] == b"\x89PNG"
    assert len(plain.plot.properties(reference=plain).axes) == 4
    with pytest.raises(ValueError, match="draws molecules, got rows of kind 'graph'"):
        plain.plot.scaffolds()


# ---------------------------------------------------------------- correction


@pytest.mark.parametrize(
    ("given", "smiles", "lowered", "kept"),
    [
        ("CC(C)(C)(C)C", "CCC(C)C", 1, 5),  # one bond removed, and the methyl that is left falls
        ("C=C(C)(C)C", "CC(C)(C)C", 1, 5),
        ("CCO.C", "CCO", 0, 3),
        ("FF=C", "C=F", None, None),
    ],
)
def test_correction_lowers_bonds_and_keeps_the_longest_fragment(given, smiles, lowered, kept):
    found = correct(given)
    assert found.mol is not None and found.changed
    if lowered is not None:
        assert (found.lowered, found.kept) == (lowered, kept)
    assert correct(found.smiles).changed is False
    assert molecule_record(found.smiles).valid and "." not in found.smiles


def test_corrected_rows_say_what_it_cost():
    texts = ["CCO", "C=C(C)(C)C", "CC.O"]
    rows = SampleResult([_checked(t) for t in texts], kind="molecule", provenance={})
    fixed = rows.corrected()
    assert fixed.texts == ["CCO", "CC(C)(C)C", "CC"] and fixed.valid.all()
    assert fixed.columns["corrected"] == [False, True, True]
    assert fixed.columns["atoms_kept"] == pytest.approx([1, 1, 2 / 3])
    assert "2 of 3 rows corrected" in fixed.notes[0] and fixed.provenance["corrected"]
    graphs = SampleResult([], kind="graph", provenance={})
    with pytest.raises(ValueError, match="molecules can be corrected, got rows of kind 'graph'"):
        graphs.corrected()


def _checked(smiles):
    """As the graph domain would: one piece, valences kept."""
    from scidiff.data.records import Record

    good = smiles == "CCO"
    return molecule_record(smiles) if good else Record(smiles, None, False, "valence: too many")


def test_valences_are_those_of_rdkit():
    expected = {"C": 4, "N": 3, "O": 2, "F": 1, "[N+]": 4, "[O-]": 1, "[C-]": 3, "S": 6}
    assert {s: largest_valence(s) for s in expected} == expected
    with pytest.raises(ValueError, match="an atom such as C .*got 'Q'"):
        largest_valence("Q")
