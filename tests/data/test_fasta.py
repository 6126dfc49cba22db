"""FASTA: labels in headers survive a round trip, and what is wrong names its line."""

import math

import pytest

from scidiff.api.results import SampleResult
from scidiff.data.alphabets import DNA
from scidiff.data.fasta import fasta_record, labels
from scidiff.data.records import Record
from scidiff.data.tables import TableError, read, stream


def table(tmp_path, text, **options):
    path = tmp_path / "a.fasta"
    path.write_text(text)
    return read(path, **options)


def test_labels_and_scores_become_columns(tmp_path):
    text = ">p1 liver peak cell=HepG2 score=3.2\nAC\nGT\n>p2 score=4\nTT\n>p3\nA\n"
    found = table(tmp_path, text)
    assert found.columns == ["name", "sequence", "description", "cell", "score"]
    assert found.objects() == ["ACGT", "TT", "A"]
    assert found.values("description") == ["liver peak", "", ""]
    assert found.values("cell") == ["HepG2", "", ""]
    assert found.numbers("score").tolist()[:2] == [3.2, 4.0]
    assert math.isnan(found.numbers("score")[2])
    assert not found.problems


def test_a_value_ends_at_the_next_key():
    header = "Hemoglobin subunit OS=Homo sapiens OX=9606 GN=HBA1 PE=1"
    assert labels(header) == ("Hemoglobin subunit", {
        "OS": "Homo sapiens", "OX": "9606", "GN": "HBA1", "PE": "1"})
    assert labels("free text, no label") == ("free text, no label", {})
    assert labels("a=") == ("", {"a": ""})


@pytest.mark.parametrize("values", [
    {"cell": "K562", "score": 3.25},
    {"0.7*gc + 0.3*kmer('AAGG')": -1e-9, "a=b": "x=y z=1"},
    {"text": "two  spaces\tand 50 % =, \u00e9", "100%": "%20"},
    {">": ">x", "empty": "", "smiles": "CCO"},
])
def test_what_is_written_is_read_again(tmp_path, values):
    found = table(tmp_path, fasta_record("s", "ACGT", values))
    assert found.columns[3:] == list(values)
    kept = [found.values(name)[0] for name in values]
    assert [str(v) for v in kept] == [str(v) for v in values.values()]
    assert not found.problems and found.values("name") == ["s"]


def test_labels_named_like_columns_stay_apart(tmp_path):
    found = table(tmp_path, ">s1 name=x sequence=y\nAC\n")
    assert found.values("name") == ["s1"] and found.values("name_label") == ["x"]
    assert found.objects() == ["AC"] and found.values("sequence_label") == ["y"]


def test_what_is_wrong_names_its_line(tmp_path):
    text = "AC\n>s1\nACGT\n>s2 cell=a cell=b\nAC\n>s3\n>s1\nTT\n>s4\nACGNT\n>\nA\n"
    found = table(tmp_path, text, check=DNA.reason)
    assert [(p.row, p.reason, p.kept) for p in found.problems] == [
        (1, "a sequence before the first '>' header", False),
        (4, "the label 'cell' is given twice", False),
        (6, "a header without a sequence", False),
        (7, "name 's1' was used on line 2", True),
        (9, f"'N' at position 4 ({DNA.meanings['N']}) is not in the DNA alphabet ACGT", False)]
    assert found.objects() == ["ACGT", "TT", "A"] and found.values("name") == ["s1", "s1", ""]


def test_a_file_without_records_and_an_empty_file(tmp_path):
    with pytest.raises(TableError, match="a.fasta is empty"):
        table(tmp_path, "")
    with pytest.raises(TableError, match="a.fasta holds no FASTA record: it has empty lines only"):
        table(tmp_path, "\n\n")


def test_labels_of_a_late_record_are_columns_of_the_first_part(tmp_path):
    path = tmp_path / "a.fa"
    path.write_text("".join(f">s{i}{' late=1' * (i == 99)}\nACGT\n" for i in range(100)))
    parts = list(stream(path, rows=10))
    assert all(p.columns[-1] == "late" for p in parts) and len(parts) == 10
    assert parts[0].values("late") == [""] * 10 and parts[-1].values("late")[-1] == "1"


def test_a_result_comes_back_with_its_scores(tmp_path):
    records = [Record("ACGT", "ACGT", True), Record("AN", None, False, "N"),
               Record("GG", "GG", True)]
    columns = {"gc * 2": [1.0, math.nan, 2.0], "cell": ["K 562", "a", "b=c"]}
    found = SampleResult(records, kind="sequence", provenance={}, columns=columns)
    found.save(tmp_path / "r.fasta")
    found = read(tmp_path / "r.fasta")
    assert found.values("name") == ["seq_0", "seq_2"] and found.objects() == ["ACGT", "GG"]
    assert found.numbers("gc * 2").tolist() == [1.0, 2.0]
    assert found.values("cell") == ["K 562", "b=c"]
