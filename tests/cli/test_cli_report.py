"""`scidiff report` writes a page, says where, and ends a bad input in one line."""

import pytest


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "mols.csv"
    path.write_text("smiles,score\nCCO,1\nCC(C,2\nc1ccccc1,3\n")
    return path


def test_it_writes_a_page_and_says_where(scidiff, table, tmp_path):
    out = tmp_path / "r.html"
    ran = scidiff("report", table, "-o", out)
    assert ran.code == 0 and "r.html" in ran.out and out.read_text().startswith("<!DOCTYPE html>")
    told = scidiff("report", table, table, "-o", out, "--title", "Mine", "--json").document
    assert told == {"saved": str(out), "of": [str(table)] * 2, "bytes": out.stat().st_size}
    assert "<title>Mine</title>" in out.read_text()


def test_errors_are_one_line(scidiff, table, tmp_path):
    out = tmp_path / "r.html"
    assert "no such file" in scidiff("report", tmp_path / "x.csv", "-o", out).one_line()
    assert "html" in scidiff("report", table, "-o", tmp_path / "r.txt").one_line()
    said = scidiff("report", table, "-o", out, "--suite", "mosses").one_line()
    assert "moses" in said
    (tmp_path / "s.fasta").write_text(">a\nACGT\n")
    said = scidiff("report", table, tmp_path / "s.fasta", "-o", out).one_line()
    assert "one kind" in said
    assert "Missing argument" in scidiff("report", "-o", out).err and not out.exists()
