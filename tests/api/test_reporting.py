"""`sd.report` reads what people have, files of any tool, results and runs, and refuses the rest in
one line."""

import json
import math
import re

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from scidiff.api.campaigns import saved_designs
from scidiff.api.design_result import DesignResult
from scidiff.api.report_files import column_values, guessed, of_file
from scidiff.api.report_runs import of_folder
from scidiff.api.reporting import report
from scidiff.api.results import SampleResult
from scidiff.core import ScidiffError
from scidiff.data.alphabets import DNA, PEPTIDE, RNA
from scidiff.domains.smiles import molecule_record
from scidiff.guidance.certificate import Certificate, Ledger

SMILES = ["CCO", "c1ccccc1O", "CC(C", "CCN", "CC(=O)Nc1ccc(O)cc1", "C1CC1"]


def told(path):
    """The document inside a page."""
    text = path.read_text()
    return json.loads(re.search(r"id='data'>(.*?)</script>", text, re.DOTALL)[1])


def columns(document):
    return {c["name"]: c["values"] for c in document["columns"]}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "report.html"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "mols.csv"
    path.write_text("smiles,score,code\n" + "".join(
        f"{s},{'' if i == 1 else i / 10},00{i}\n" for i, s in enumerate(SMILES)))
    return path


def test_a_table_keeps_every_row_its_line_and_its_columns(table, out):
    assert report(table, out) == out
    document = told(out)
    assert document["text"] == SMILES and document["place"] == [2, 3, 4, 5, 6, 7]
    assert [bool(w) for w in document["why"]] == [False, False, True, False, False, False]
    found = columns(document)
    assert found["score"] == [0.0, None, 0.2, 0.3, 0.4, 0.5]
    assert found["code"] == ["000", "001", "002", "003", "004", "005"]
    page = out.read_text()
    assert "mols.csv" in page and "sha256" in page and "valid" in page


def test_rows_that_cannot_be_read_are_rows_in_their_place(tmp_path, out):
    path = tmp_path / "broken.csv"
    path.write_text("smiles,score\nCCO,1\nCCN,2,3\n,4\nCCC,5\n")
    report(path, out)
    document = told(out)
    assert document["place"] == [2, 3, 4, 5]
    assert list(document["full"].values()) == ["3 fields, expected 2", "nothing there"]
    assert columns(document)["score"] == [1, None, 4, 5]


@pytest.mark.parametrize("name, text, kind", [
    ("a.smi", "CCO name\nC(C\n", "molecule"), ("a.txt", "CCO\nCCN\n", "molecule"),
    ("a.fasta", ">s1 cell=K562\nACGT\n>s2\nacgn\n", "sequence"),
    ("a.csv", "peptide,activity\nKKLL,1\nKKXL,2\n", "sequence"), ("a.g6", "A_\nBw\n", "graph"),
])
def test_the_kind_is_told_by_suffix_or_column(tmp_path, out, name, text, kind):
    path = tmp_path / name
    path.write_text(text)
    report(path, out)
    document = told(out)
    assert document["kind"] == kind and len(document["text"]) == 2
    assert [bool(w) for w in document["why"]] == [False, name not in ("a.txt", "a.g6")]


def test_labels_of_fasta_are_columns_and_small_letters_are_spelled(tmp_path, out):
    path = tmp_path / "a.fasta"
    path.write_text(">s1 cell=K562 score=1.5\nacgt\n>s2 cell=HepG2 score=2\nACGU\n>s3\nGG\n")
    report(path, out)
    document = told(out)
    assert columns(document)["cell"] == ["K562", "HepG2", ""]
    assert columns(document)["score"] == [1.5, 2, None]
    assert document["text"] == ["ACGT", "ACGU", "GG"] and document["letters"] == "DNA"
    assert "uracil" in document["full"]["1"]


def test_the_alphabet_is_that_of_most_rows():
    assert guessed(["ACGT", "ACGN", "ACGT"]) is DNA and guessed(["ACGU", "GGUU", "AC"]) is RNA
    assert guessed(["ACDEF", "KLM"]) is PEPTIDE
    assert guessed(["ACGNNN", "NNACGT", "NNNN"]) is DNA


def test_columns_of_numbers_are_numbers_and_codes_stay_words():
    assert column_values(["1", "", "2"]) == [1, None, 2]
    assert column_values(["1.5", None, "-2e3"]) == [1.5, None, -2000.0]
    assert column_values(["007", "1"]) == ["007", "1"] and column_values(["a", "1"]) == ["a", "1"]
    assert column_values([True, None]) == [True, None] and column_values(["", ""]) == [None, None]


def test_of_many_rows_some_are_shown_evenly(tmp_path, out):
    path = tmp_path / "many.smi"
    path.write_text("".join("C" * (i % 20 + 1) + "\n" for i in range(101)))
    report(path, out, rows=11)
    document = told(out)
    assert document["place"] == list(range(1, 102, 10)) and document["runs"][0]["total"] == 101
    assert "101 rows, 11 of them shown" in out.read_text()


def test_a_saved_result_says_itself_what_is_invalid(tmp_path, out):
    records = [molecule_record(s) for s in SMILES]
    result = SampleResult(records, kind="molecule", provenance={"model": "m", "seed": 3},
                          columns={"score": [0.1] * 6})
    for suffix in (".csv", ".parquet"):
        result.save(tmp_path / f"r{suffix}")
        report(tmp_path / f"r{suffix}", out)
        document = told(out)
        assert list(document["full"].values()) == [records[2].reason]
        assert "canonical" not in columns(document) and "valid" not in columns(document)
        assert "&quot;seed&quot;: 3" in out.read_text()
    (tmp_path / "own.csv").write_text("smiles,valid,reason\nCCO,False,a rule of mine\nC,True,\n")
    report(tmp_path / "own.csv", out)
    assert told(out)["full"] == {"0": "a rule of mine"}


def test_results_lists_and_names_are_inputs_too(out):
    records = [molecule_record(s) for s in SMILES]
    first = SampleResult(records[:3], kind="molecule", provenance={"model": "m"})
    report([first, first], out)
    assert [r["name"] for r in told(out)["runs"]] == ["m 1", "m 2"]
    report({"mine": first, "theirs": SMILES}, out, title="two")
    document = told(out)
    assert [r["name"] for r in document["runs"]] == ["mine", "theirs"]
    assert document["run"] == [0] * 3 + [1] * 6 and document["title"] == "two"
    report([nx.path_graph(3)], out, kind="graph")
    assert told(out)["drawn"][0]["n"] == 3


def test_a_data_frame_is_an_input_and_a_reference(out):
    frame = pd.DataFrame({"id": range(6), "smiles": SMILES})
    document = told(report(frame, out, reference=frame.assign(smiles=[None, *SMILES[1:]])))
    assert [r["name"] for r in document["runs"]] == ["objects"] and document["run"] == [0] * 6
    assert len(document["behind"]["columns"]["logP"]) == 4


def test_several_files_are_compared(table, tmp_path, out):
    other = tmp_path / "other.smi"
    other.write_text("CCCC\nCCCO\n")
    report([str(table), other], out)
    document = told(out)
    assert [r["name"] for r in document["runs"]] == ["mols", "other"]
    assert len(document["text"]) == 8
    assert document["title"] == "mols beside other"


def test_a_reference_lies_behind(table, tmp_path, out):
    other = tmp_path / "known.smi"
    other.write_text("CCCC\nCCCO\nC(C\n")
    report(table, out, reference=other)
    behind = told(out)["behind"]
    assert behind["name"] == "reference: known" and len(behind["columns"]["logP"]) == 2


def test_sequences_of_two_alphabets_are_not_compared(tmp_path, out):
    with pytest.raises(ScidiffError, match="one alphabet; 'U' at position 4"):
        report({"dna": ["ACGT", "GGTT"], "rna": ["ACGU", "GGUU"]}, out, kind="sequence")
    report(["ACGT", "GGNT", "ACCT"], out, kind="sequence", reference=["ACGA", "AAXA"])
    document = told(out)
    assert [bool(w) for w in document["why"]] == [False, True, False]
    assert document["behind"]["columns"]["length"] == [4]


def test_a_suite_brings_its_metrics_and_published_values(table, out):
    report(table, out, suite="fragment")
    page = out.read_text()
    assert "quality" in page and "diversity" in page and "GenMol" in page
    assert "published values of the same convention" in page


# ---------------------------------------------------------------- runs


@pytest.fixture
def design():
    asked = [molecule_record(s) for s in ("CCO", "CCN", "c1ccccc1", "CC(C")]
    terms = {"score": [0.1, 0.2, 0.9, math.nan], "qed": [0.1, 0.9, 0.5, math.nan],
             "sa": [0.9, 0.1, 0.2, math.nan], "status": ["ok"] * 3 + ["invalid"]}
    rows = SampleResult(asked[2:3], kind="molecule", provenance={"model": "m", "ended": "calls"},
                        columns={n: v[2:3] for n, v in terms.items()})
    whole = SampleResult(asked, kind="molecule", provenance={},
                         columns={**terms, "round": [0, 0, 1, 1]})
    return DesignResult(
        rows, certificate=Certificate(0.0, None, 3, 3.0, "improper rule"),
        ledger=Ledger(50, 4, 1, 2.5), settings={}, hypervolume=0.25, asked=lambda: whole,
        history=[{"asked": 2, "network_rows": 20, "seconds": 1.0, "best": 0.2, "mean_10": 0.15},
                 {"asked": 4, "network_rows": 50, "seconds": 2.5, "best": 0.9, "mean_10": 0.4}])


def test_a_campaign_is_shown_alike_from_memory_and_from_its_folder(design, tmp_path, out):
    report(design, out)
    memory, page = told(out), out.read_text()
    folder = tmp_path / "osi"
    folder.mkdir()
    design.save(folder / "designs.csv")
    design.asked.save(folder / "asked.csv")
    design.history.to_csv(folder / "history.csv", index=False)
    (folder / "ledger.json").write_text(json.dumps({
        "network_rows": 50, "asked": 4, "cache_hits": 1, "seconds": 2.5, "ended": "calls",
        "certificate": str(design.certificate), "hypervolume": 0.25}))
    report(folder, out)
    again = told(out)
    assert again["runs"][0]["name"] == "osi"
    (campaign,), (other,) = memory["campaigns"], again["campaigns"]
    assert campaign["history"] == other["history"]
    for found in (campaign, other):
        assert found["text"] == ["CCO", "CCN", "c1ccccc1", "CC(C"]
        assert found["best"] == [1, 1, 1, 0]
        assert sorted(found["terms"]) == ["qed", "sa"] and found["asked"] == 4
    for text in (page, out.read_text()):
        assert "improper rule: a search" in text and "4 objects asked" in text
        assert "hypervolume 0.25" in text


def test_what_sd_design_writes_is_read(design, tmp_path, monkeypatch, out):
    monkeypatch.setattr("scidiff.api.design_result.DesignResult.to_html", lambda result: "")
    saved_designs(design, tmp_path)
    report(tmp_path, out)
    assert told(out)["campaigns"][0]["history"]["best"] == [0.2, 0.9]


def test_shards_are_read_and_an_unfinished_run_is_refused(tmp_path, out):
    frame = pd.DataFrame({"smiles": SMILES, "valid": [s != "CC(C" for s in SMILES],
                          "reason": ["is open" if s == "CC(C" else "" for s in SMILES],
                          "canonical": SMILES})
    folder = tmp_path / "run"
    folder.mkdir()
    frame[:3].to_parquet(folder / "part-00000.parquet")
    (folder / "_manifest.json").write_text('{"format": 1, "n": 6, "model": "m"}')
    with pytest.raises(ScidiffError, match="3 of 6 rows: finish it first"):
        report(folder, out)
    frame[3:].to_parquet(folder / "part-00001.parquet")
    report(folder, out)
    assert told(out)["text"] == SMILES and told(out)["full"] == {"2": "is open"}
    assert of_folder(folder, 2).places == [0, 5]


# ---------------------------------------------------------------- what is refused


def test_bad_input_is_one_line_and_nothing_is_written(table, tmp_path, out):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "head.csv").write_text("smiles\n")
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    (tmp_path / "a.fasta").write_text(">x\nACGT\n")
    (tmp_path / "folder").mkdir()
    for what, said in [
        (tmp_path / "absent.csv", "no such file"), (tmp_path / "empty.csv", "is empty"),
        (tmp_path / "head.csv", "header but no rows"), (tmp_path / "odd.csv", "which column"),
        (tmp_path / "folder", "neither shards"), (tmp_path / "x.docx", "unknown suffix"),
        ([table, tmp_path / "a.fasta"], "kind sequence, mols of the kind molecule"),
        ([table] * 7, "compares 1 to 6 inputs, got 7"), ([], "0 rows"), (3, "got int"),
    ]:
        with pytest.raises(ValueError if not isinstance(what, list) and what == 3
                           else (ScidiffError, ValueError), match=said) as error:
            report(what, out)
        assert "\n" not in str(error.value)
    assert not out.exists()


def test_settings_and_places_are_checked_before_any_work(table, tmp_path):
    absent = tmp_path / "absent.csv"
    for options, said in [({"rows": 0}, "at least 1, got 0"), ({"kind": "molecul"}, "molecule"),
                          ({"suite": "mose"}, "moses")]:
        with pytest.raises((ValueError, ScidiffError), match=said):
            report(absent, tmp_path / "r.html", **options)
    with pytest.raises(ValueError, match="html"):
        report(absent, tmp_path / "r.pdf")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        report(absent, tmp_path / "no" / "r.html")


def test_an_interrupted_writing_leaves_the_old_page(table, tmp_path, out, monkeypatch):
    out.write_text("old")
    def broken(contents):
        raise KeyboardInterrupt
    monkeypatch.setattr("scidiff.api.reporting.page", broken)
    with pytest.raises(KeyboardInterrupt):
        report(table, out)
    assert out.read_text() == "old" and [p.name for p in tmp_path.glob(".*")] == []


def test_a_campaign_that_has_not_ended_is_named(tmp_path, out):
    (tmp_path / "campaign.json").write_text("{}")
    with pytest.raises(ScidiffError, match="has not ended"):
        report(tmp_path, out)


def test_memory_is_that_of_the_rows_shown(tmp_path):
    path = tmp_path / "long.smi"
    path.write_text("CCO\n" * 2_000)
    found = of_file(path, 5)
    assert len(found.records) == 5 and found.total == 2_000
    assert np.diff(found.places).tolist() == [500, 500, 499, 500] or found.places[-1] == 2_000
