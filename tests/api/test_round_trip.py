"""What is saved is read back by the reader of `sd.evaluate`: rows, values, reasons, provenance."""

import json
import math
from pathlib import Path

import networkx as nx
import numpy as np
import pyarrow.parquet as pq
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from scidiff.api.entry import evaluate
from scidiff.api.results import SampleResult
from scidiff.data.graph_exchange import symbols
from scidiff.data.graph_text import canonical, parse
from scidiff.data.records import Record
from scidiff.data.tables import Table, read
from scidiff.domains.smiles import molecule_record
from scidiff.evaluation.rows import from_file

SMILES = ["CCO", "C[C@H](N)C(=O)O", "CC(C", "[NH4+]", "c1ccc2[nH]ccc2c1"]
SEQUENCES = ["ACGT", "AXT", "GG"]
NOTES = ["plain", "a = b, c", 'quote " and %', "two  words", "ümlaut < >"]
SCORES = [0.1, 1e-12, math.nan, -3.0, 1 / 3]
PROVENANCE = {"model": "m", "seed": 7, "sampling": {"temperature": 1.0}, "of": "Größe"}


def molecules() -> SampleResult:
    return SampleResult([molecule_record(s) for s in SMILES], kind="molecule",
                        provenance=PROVENANCE, columns={"score": SCORES, "note": NOTES,
                                                        "round": [1, 2, 3, 4, 5]})


def sequences() -> SampleResult:
    rows = [Record(s, s, True) for s in SEQUENCES]
    rows[1] = Record("AXT", None, False, "'X' at position 2 is not in the DNA alphabet ACGT")
    return SampleResult(rows, kind="sequence", provenance=PROVENANCE,
                        columns={"score": SCORES[:3], "cell type": NOTES[:3], "n": [1, 2, 3]})


def graphs() -> SampleResult:
    made = [nx.cycle_graph(5), nx.star_graph(3)]
    rows = [Record(canonical(*symbols(g)), g, True) for g in made]
    return SampleResult([*rows, Record("A?", None, False, "connected: the graph is not")],
                        kind="graph", provenance=PROVENANCE, columns={"score": SCORES[:3]})


def saved(result: SampleResult, path: Path) -> Table:
    result.save(path)
    return read(path)


def same(found: list, expected: list) -> bool:
    """Equal numbers and texts; a missing number is read as None or NaN."""
    def known(value):
        return None if isinstance(value, float) and math.isnan(value) else value

    return [known(v) for v in found] == [known(v) for v in expected]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("make", [molecules, sequences, graphs], ids=lambda f: f.__name__)
def test_tables_hold_every_row_and_value(make, suffix: str, tmp_path: Path) -> None:
    result = make()
    table = saved(result, tmp_path / f"r{suffix}")
    assert table.objects() == result.texts and not table.rejects
    assert table.columns == list(result.to_frame())
    for name, values in result.columns.items():
        assert same(table.values(name), values), name
    valid = [str(v) == "True" for v in table.values("valid")]
    assert valid == result.valid.tolist()
    assert [v or "" for v in table.values("reason")] == [r.reason for r in result]


def test_parquet_carries_its_provenance(tmp_path: Path) -> None:
    molecules().save(tmp_path / "r.parquet")
    stored = pq.read_schema(tmp_path / "r.parquet").metadata[b"scidiff"]
    assert json.loads(stored) == PROVENANCE


@pytest.mark.parametrize("make, suffix", [
    (molecules, ".csv"), (molecules, ".sdf"), (molecules, ".smi"), (sequences, ".csv"),
    (sequences, ".fasta"), (graphs, ".csv"), (graphs, ".g6"), (graphs, ".npz")])
def test_what_a_file_cannot_hold_stands_beside_it(make, suffix: str, tmp_path: Path) -> None:
    result = make()
    result.save(tmp_path / f"r{suffix}")
    beside = json.loads((tmp_path / f"r{suffix}.json").read_text("utf-8"))
    assert beside["provenance"] == PROVENANCE and beside["rows"] == len(result)
    left = [] if suffix == ".csv" else [
        {"row": i, "text": r.text, "reason": r.reason} for i, r in enumerate(result)
        if not r.valid]
    assert beside.get("left_out", []) == left


def test_sdf_carries_scores_and_other_tools_read_them(tmp_path: Path) -> None:
    result = molecules()
    table = saved(result, tmp_path / "r.sdf")
    kept = [i for i, ok in enumerate(result.valid) if ok]
    assert table.values("name") == [f"row_{i}" for i in kept]
    assert table.values("smiles_property") == [SMILES[i] for i in kept]
    assert same(table.values("score"), [SCORES[i] for i in kept])
    assert table.values("note") == [" ".join(NOTES[i].split()) for i in kept]
    canonical_names = [Chem.CanonSmiles(SMILES[i]) for i in kept]  # stereo and charges are kept
    assert table.objects() == canonical_names
    mols = list(Chem.SDMolSupplier(str(tmp_path / "r.sdf")))
    assert [m.GetDoubleProp("score") for m in mols] == [SCORES[i] for i in kept]
    assert [Chem.MolToSmiles(m) for m in mols] == canonical_names


def test_sdf_keeps_the_atoms_where_they_are(tmp_path: Path) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    result = SampleResult([Record("CCO", mol, True)], kind="molecule", provenance={})
    result.save(tmp_path / "r.sdf")
    (back,) = Chem.SDMolSupplier(str(tmp_path / "r.sdf"), removeHs=False)
    places = [m.GetConformer().GetPositions() for m in (mol, back)]
    assert back.GetNumAtoms() == 9 and np.allclose(*places, atol=1e-4)


def test_fasta_carries_scores_in_its_headers(tmp_path: Path) -> None:
    table = saved(sequences(), tmp_path / "r.fasta")
    assert table.objects() == ["ACGT", "GG"] and table.values("name") == ["seq_0", "seq_2"]
    assert table.values("cell type") == [NOTES[0], NOTES[2]] and table.values("n") == [1, 3]
    assert same([v if v != "" else None for v in table.values("score")], [0.1, None])
    header = (tmp_path / "r.fasta").read_text().splitlines()[0]
    assert header == ">seq_0 score=0.1 cell%20type=plain n=1"


@pytest.mark.parametrize("suffix", [".g6", ".npz"])
def test_graphs_come_back_as_the_same_graphs(suffix: str, tmp_path: Path) -> None:
    result = graphs()
    table = saved(result, tmp_path / f"r{suffix}")
    assert [canonical(*parse(t)) for t in table.objects()] == result.texts[:2]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".sdf", ".smi"])
def test_what_was_saved_is_evaluated_alike(suffix: str, tmp_path: Path) -> None:
    result = molecules()
    result.save(tmp_path / f"r{suffix}")
    direct = evaluate(result if suffix in (".csv", ".parquet") else result[result.valid],
                      suite="fragment", train=["CCO"])
    again = evaluate(tmp_path / f"r{suffix}", suite="fragment", train=["CCO"])
    assert [(m.name, m.value, m.n) for m in direct] == [(m.name, m.value, m.n) for m in again]


@pytest.mark.parametrize("suffix, left", [(".smi", 1), (".sdf", 1), (".csv", 0)])
def test_rows_that_a_file_left_out_are_told_of(suffix: str, left: int, tmp_path: Path) -> None:
    molecules().save(tmp_path / f"r{suffix}")
    report = evaluate(tmp_path / f"r{suffix}", "fragment", fcd=False)
    assert (report["valid"].value == 1) == bool(left)
    told = f"r{suffix} holds the valid rows of a result of 5: 1 invalid ones were left out"
    assert any(told in note for note in report.notes) == bool(left)


def test_invalid_rows_are_invalid_again(tmp_path: Path) -> None:
    molecules().save(tmp_path / "r.csv")
    rows = [record for _, record in from_file(tmp_path / "r.csv")]
    assert sorted(r.text for r in rows if not r.valid) == ["CC(C"] and len(rows) == 5
