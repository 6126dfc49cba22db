"""Measured sets that a user brings: their columns, their digests, and the errors of wrong ones."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from scidiff.data import datasets
from scidiff.data.datasets import DatasetError
from scidiff.domains.domain import find_domain

ROWS = "id,UTR5,hrl,total_reads\n0,ACGT,1.5,10\n1,GGCC,2.5,30\n2,TTTT,,20\n"


@pytest.fixture
def index(monkeypatch, tmp_path):
    """An index of one table, whose objects are known where a test says so."""
    monkeypatch.setenv("SCIDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCIDIFF_DATA", raising=False)
    entry = {"title": "t", "kind": "sequence", "licence": "MIT", "cite": "c", "rows": 3,
             "column": "utr", "columns": {"utr": "u", "rl": "r"},
             "names": {"utr": "UTR5", "rl": "hrl"}, "files": {"all": {"file": "small.csv.gz"}}}
    monkeypatch.setattr(datasets, "_index", lambda: {"small": entry})
    return entry


def bring(tmp_path, text):
    (tmp_path / "mine.csv").write_text(text)
    return datasets.get("small", source=tmp_path / "mine.csv")


def test_a_table_keeps_its_columns_under_their_names(index, tmp_path):
    index["content_sha256"] = hashlib.sha256(b"ACGT\nGGCC\nTTTT").hexdigest()
    assert bring(tmp_path, ROWS) == [tmp_path / "cache" / "datasets" / "small.csv.gz"]
    table = datasets.load("small")
    assert table.columns == ["utr", "rl"] and table.column == "utr"
    assert table.objects() == ["ACGT", "GGCC", "TTTT"]
    assert np.array_equal(table.numbers("rl"), [1.5, 2.5, np.nan], equal_nan=True)


def test_of_a_larger_source_the_rows_with_most_are_kept(index, tmp_path):
    index["most"] = {"by": "total_reads", "rows": 2}
    bring(tmp_path, ROWS)
    assert datasets.load("small").objects() == ["GGCC", "TTTT"]


def test_wrong_tables_are_refused(index, tmp_path):
    index["content_sha256"] = hashlib.sha256(b"ACGT\nGGCC\nTTTA").hexdigest()
    with pytest.raises(DatasetError, match="mine.csv as small is damaged or another version"):
        bring(tmp_path, ROWS)
    with pytest.raises(DatasetError, match="mine.csv lacks 'hrl'; its columns: utr"):
        bring(tmp_path, "utr\nACGT\n")
    with pytest.raises(DatasetError, match="not every row of small can be used: .*1 rejected"):
        bring(tmp_path, "utr,rl\nACGT,1\n,2\n")
    with pytest.raises(DatasetError, match="scidiff data get small --source FILE"):
        datasets.load("small")
    with pytest.raises(DatasetError, match="on no package index; give a file or an address"):
        datasets.get("small")


def test_a_known_address_is_where_a_set_comes_from(index, tmp_path):
    index["url"] = "http://127.0.0.1:9/small.csv"
    assert datasets.info("small").source == index["url"]
    with pytest.raises(DatasetError, match="fetch it with: scidiff data get small$"):
        datasets.load("small")
    with pytest.raises(DatasetError, match="cannot download http://127.0.0.1:9/small.csv"):
        datasets.get("small")


@pytest.mark.parametrize("name, rows, numbers", [
    ("promoters", 9_071, {"expression": (0, 20)}), ("utr-mrl", 20_000, {"rl": (0, 12)}),
    ("utr-human", 3_002, {"mrl": (0, 12), "total": (0, 1e6)}),
    ("tis", 65_536, {"efficiency": (12, 150)}),
])
def test_measured_sets(shared_data, name, rows, numbers):
    table = datasets.load(name)
    assert len(table) == datasets.info(name).rows == rows
    assert table.columns == list(datasets.info(name).columns)
    domain = find_domain("dna" if name == "promoters" else "rna")
    assert len({domain.spell(text) for text in table.objects()}) == rows
    for column, (low, high) in numbers.items():
        values = table.numbers(column)
        assert np.isfinite(values).all() and low <= values.min() and values.max() <= high


def test_promoters_are_native_and_random(shared_data):
    table = datasets.load("promoters")
    assert Counter(table.values("kind")) == {"native": 3782, "random": 5289}
    assert {(s[:17], s[-13:]) for s in table.objects()} == {
        ("TGCATTTTTTTCACATC", "GGTTACGGCTGTT")}


def test_eterna_solutions_fit_their_targets(shared_data):
    table = datasets.load("eterna")
    assert len(table) == 100 and {len(t) for t in table.objects()} >= {12, 400}
    assert all(set(target) <= set(".()") for target in table.objects())
    pairs = zip(table.objects(), table.values("solution"), strict=True)
    solved = [(t, s) for t, s in pairs if s != "(Undisclosed)"]
    assert len(solved) == 99 and all(len(t) == len(s) for t, s in solved)
