"""`result.plot`: which rows go into which picture, and what a reference may be."""

from pathlib import Path

import networkx as nx
import pytest
from rdkit import Chem

from scidiff.api.results import SampleResult
from scidiff.data.records import Record
from scidiff.domains.smiles import molecule_record
from scidiff.evaluation.compared import objects_of

SMILES = ("CCO", "CCN", "C(", "c1ccccc1", "Cc1ccccc1")
GRAPHS = [nx.cycle_graph(5), nx.path_graph(4), nx.star_graph(5)]


def molecules() -> SampleResult:
    return SampleResult([molecule_record(s) for s in SMILES], kind="molecule", provenance={})


def sequences(*texts: str) -> SampleResult:
    return SampleResult([*(Record(t, t, True) for t in texts or ("ACGT", "AACC", "GGTT")),
                         Record("AXX", None, False, "'X' is no base")],
                        kind="sequence", provenance={})


def graphs() -> SampleResult:
    return SampleResult([Record(nx.to_graph6_bytes(g, header=False).decode().strip(), g, True)
                         for g in GRAPHS], kind="graph", provenance={})


@pytest.mark.parametrize("reference", [
    molecules(), ["CCO", "not a molecule"], [Chem.MolFromSmiles("CCO")], list(molecules())],
    ids=["result", "smiles", "molecules", "records"])
def test_molecules_take_any_reference(reference) -> None:
    plot = molecules().plot
    assert len(plot.properties(reference).axes) == 4
    assert plot.space(reference, method="pca").axes and plot.scaffolds(reference).axes
    assert len(plot.diversity(reference).axes) == 3


def test_a_reference_may_be_a_file_or_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "mine.smi").write_text("CCO\nC(\nc1ccccc1\n")
    assert len(objects_of(tmp_path / "mine.smi", "molecule")) == 2
    assert len(objects_of("qm9", "molecule", most=7)) == 7
    assert len(objects_of("grids", "graph", most=3)) == 3
    assert {len(s) for s in objects_of("enhancers:test", "sequence", most=3)} == {200}


def test_rows_of_every_kind_are_read() -> None:
    g6 = nx.to_graph6_bytes(GRAPHS[0], header=False).decode().strip()
    found = objects_of([g6, GRAPHS[1], "~~~", *graphs()], "graph")
    assert [len(g) for g in found] == [5, 4, 5, 4, 6]
    broken = Record("CCO", None, False, "connected: 2 fragments")  # of a text that can be read
    assert len(objects_of([broken, "CCO"], "molecule")) == 1
    assert objects_of([" acgt", *sequences()], "sequence") == ["ACGT", "ACGT", "AACC", "GGTT"]


@pytest.mark.parametrize("given, got", [
    ([1, 2], "a list with a int"), (3, "a int"), (sequences(), "a result of the kind sequence")],
    ids=["numbers", "number", "kind"])
def test_a_reference_of_another_kind_is_refused(given, got: str) -> None:
    with pytest.raises(ValueError, match=f"SMILES or RDKit molecules.*, got {got}"):
        molecules().plot.properties(given)


def test_sequences_are_compared_as_their_alphabet_writes_them() -> None:
    plot = sequences().plot
    assert len(plot.space(["acgt", "NNNN", "ACCA"], "pca").axes[0].collections[0]
               .get_offsets()) == 2
    assert plot.kmer(["ACGT", "ACNT"], k=1).axes
    assert len(plot.diversity(["ACGA"]).axes) == 3
    found = plot.properties(["ACGTACGT"]).axes[0].lines[1].get_xdata()
    assert found[0] == 8  # and not the weight of a molecule


def test_graphs_have_maps_and_properties() -> None:
    plot = graphs().plot
    assert plot.space(GRAPHS, "pca").axes[0].get_title(loc="left") == "graph descriptors"
    assert len(plot.properties(GRAPHS).axes) == 4


@pytest.mark.parametrize("result, what, arguments, kinds", [
    (graphs(), "diversity", (), "molecules and sequences"),
    (graphs(), "scaffolds", (), "molecules"), (molecules(), "kmer", (["A"],), "sequences"),
    (molecules(), "logo", (), "sequences"), (sequences(), "grid", (), "molecules and graphs")],
    ids=["diversity", "scaffolds", "kmer", "logo", "grid"])
def test_a_picture_of_another_kind_is_refused(result, what, arguments, kinds) -> None:
    with pytest.raises(ValueError, match=rf"plot\.{what}\(\) draws {kinds}, got rows of kind"):
        getattr(result.plot, what)(*arguments)


def test_a_result_without_scores_says_where_they_come_from() -> None:
    with pytest.raises(ValueError, match="sd.design"):
        molecules().plot.scores()


def test_nothing_valid_is_drawn_as_nothing() -> None:
    empty = SampleResult([molecule_record("C(")], kind="molecule", provenance={})
    for picture in (empty.plot.space(), empty.plot.diversity(), empty.plot.scaffolds(),
                    empty.plot.properties(), empty.plot.grid()):
        assert picture.png()
    none = SampleResult([Record("AXX", None, False, "no base")], kind="sequence", provenance={})
    assert none.plot.space().png() and none.plot.kmer(["ACGT"]).png()
    assert none.plot.diversity().png()
