"""Users' files: every row is in the table or in the problems; wrong files have short errors."""

import datetime
import gzip
import lzma

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rdkit import Chem

from scidiff.data.alphabets import DNA
from scidiff.data.tables import (
    TableError,
    as_numbers,
    choose_column,
    read,
    smiles_reason,
    stream,
    words_of,
)


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(table):
    return [(p.row, p.reason, p.kept) for p in table.problems]


def test_csv_keeps_good_rows_and_reports_the_others(tmp_path):
    path = write(tmp_path, "a.csv", "id,SMILES,pIC50\n1,CCO,6.5\n2,,7\n\n3,c1cccc1,5\n4,CC\n"
                                    '5,"C1CC1",\n6,CCN,5\n')
    table = read(path, check=smiles_reason)
    assert table.column == "SMILES" and table.objects() == ["CCO", "C1CC1", "CCN"]
    assert [(p.row, p.kept) for p in table.problems] == [
        (3, False), (4, False), (5, False), (6, False)]
    reasons = [p.reason for p in table.problems]
    assert reasons[0] == "no value in column 'SMILES'" and reasons[1] == "empty line"
    assert reasons[2].startswith("kekulisation: ") and reasons[3] == "2 fields, expected 3"
    assert table.problems[2].text == "c1cccc1"
    np.testing.assert_array_equal(table.numbers("pIC50"), [6.5, np.nan, 5])
    assert table.values("id") == [1, 5, 6]
    assert len(table.problem_frame()) == 4 and list(table.frame()) == ["id", "SMILES", "pIC50"]
    assert "3 rows" in table.summary() and "4 rejected" in table.summary()


def test_every_row_is_somewhere(tmp_path):
    lines = ["CCO", "", "C,C", "xx", "CC"] * 1000
    path = write(tmp_path, "a.csv", "smiles\n" + "\n".join(lines) + "\n")
    table = read(path, check=smiles_reason)
    assert len(table) == 2000 and len(table.rejects) == 3000
    assert {p.row for p in table.rejects}.isdisjoint({2, 6})
    assert table.problems[0].row == 3


@pytest.mark.parametrize("header", ["smiles;y", "smiles\ty", "smiles,y"])
def test_delimiter_and_byte_order_mark(tmp_path, header):
    row = header.replace("smiles", "CC").replace("y", "2")
    table = read(write(tmp_path, "a.csv", f"\ufeff{header}\r\n{row}\r\n"))
    assert table.columns == ["smiles", "y"] and table.values("y") == [2]


def test_a_name_like_007_stays_text(tmp_path):
    table = read(write(tmp_path, "a.csv", "smiles,id,n\nC,007,1\nCC,8,x\n"))
    assert table.values("id") == ["007", "8"]
    with pytest.raises(TableError, match="'n' is not numeric: 1 of 2 .* the first 'x'"):
        table.numbers("n")


@pytest.mark.parametrize(("cells", "numbers"), [
    (["4,01", "-0,5", "7", "", "1,5e-3"], [4.01, -0.5, 7, None, 0.0015]),
    (["1,234", "2,500", "", "3", "4"], None),  # thousands, for all that is known
    (["1,234", "2,50", "", "3", "4"], [1.234, 2.5, None, 3, 4]),
    (["1.234,5", "2,5", "3", "4", "5"], None),
    (["4,01", "3.5", "1", "2", "5"], None),
    (["4,01", ">8,0", "1", "2", "5"], None),
])
def test_decimal_commas(tmp_path, cells, numbers):
    rows = "".join(f"C;{cell}\n" for cell in cells)
    table = read(write(tmp_path, "a.csv", f"smiles;y\n{rows}"))
    assert table.values("y") == (numbers or cells)


def test_numbers_of_any_cells():
    cells = [1, 2.5, None, "3", datetime.date(2026, 1, 2), True, float("nan"), " 4 ", "NaN", ""]
    numbers = as_numbers(cells)
    np.testing.assert_array_equal(
        numbers, [1, 2.5, np.nan, 3, np.nan, 1, np.nan, 4, np.nan, np.nan])
    assert words_of(cells, numbers) == ["2026-01-02"]


def test_rows_know_where_they_were(tmp_path):
    table = read(write(tmp_path, "a.csv", "smiles\nC\nxx\nCC\n\nCCC\nCCCC\n"),
                 check=smiles_reason)
    assert table.rows.tolist() == [2, 4, 6, 7] and table.rejects[0].row == 3
    assert table.take([2, 0]).take([0]).rows.tolist() == [6]
    parts = stream(write(tmp_path, "b.csv", "smiles\nC\nCC\nCCC\n"), rows=2)
    assert [p.rows.tolist() for p in parts] == [[2, 3], [4]]


def test_a_few_cells_may_hold_no_number(tmp_path):
    cells = ["4,01", ">8,0", "1", "n.d.", "5", "", "nan"]
    rows = "".join(f"C;{cell}\n" for cell in cells)
    found = read(write(tmp_path, "a.csv", f"smiles;y\n{rows}")).numbers("y")
    np.testing.assert_array_equal(found, [4.01, np.nan, 1, np.nan, 5, np.nan, np.nan])


@pytest.mark.parametrize("suffix, pack", [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_packed_text(tmp_path, suffix, pack):
    path = write(tmp_path, f"a.smi{suffix}", pack(b"CCO ethanol\nCC\tname of it\n"))
    table = read(path)
    assert table.objects() == ["CCO", "CC"] and table.values("name") == ["ethanol", "name of it"]


def test_smi_header_and_empty_lines(tmp_path):
    table = read(write(tmp_path, "a.smi", "SMILES\nCCO\n\nCC\n"))
    assert table.objects() == ["CCO", "CC"]
    assert problems(table) == [(3, "empty line", False)]


def test_fasta(tmp_path):
    path = write(tmp_path, "a.fa", "AC\n>s1 first one\nACGT\nAC GT\n\n>s2\n>s1 again\nTTTT\n")
    table = read(path)
    assert table.column == "sequence" and table.objects() == ["ACGTACGT", "TTTT"]
    assert table.values("description") == ["first one", "again"]
    assert problems(table) == [
        (1, "a sequence before the first '>' header", False),
        (6, "a header without a sequence", False),
        (7, "name 's1' was used on line 2", True)]
    assert len(table.rejects) == 2


def test_alphabet_check_names_letter_and_position(tmp_path):
    path = write(tmp_path, "a.txt", "ACGT\nACNT\n")
    table = read(path, check=DNA.reason)
    assert table.objects() == ["ACGT"] and table.column == "text"
    assert problems(table) == [
        (2, f"'N' at position 3 ({DNA.meanings['N']}) is not in the DNA alphabet ACGT", False)]


def test_parquet_keeps_types_and_refuses_what_is_not_text(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"y": [1.5, None, 2.5], "smiles": ["C", None, "CC"]}), path)
    table = read(path)
    assert table.objects() == ["C", "CC"] and table.values("y") == [1.5, 2.5]
    assert problems(table) == [(2, "no value in column 'smiles'", False)]
    assert read(path, column="y").problems[0].reason == "expected text, got float"
    with pytest.raises(TableError, match="is not a Parquet file"):
        read(write(tmp_path, "b.parquet", "smiles\nC\n"))


def test_sdf_with_a_broken_record(tmp_path, capfd):
    path = tmp_path / "a.sdf"
    writer = Chem.SDWriter(str(path))
    mol = Chem.MolFromSmiles("OCC")
    mol.SetProp("_Name", "ethanol")
    mol.SetProp("pIC50", "6.5")
    writer.write(mol)
    writer.write(Chem.MolFromSmiles("CC(C)(C)(C)C", sanitize=False))
    writer.write(Chem.MolFromSmiles("c1ccccc1"))
    writer.close()
    table = read(path)
    assert table.objects() == ["CCO", "c1ccccc1"] and table.values("name") == ["ethanol", ""]
    assert table.columns == ["smiles", "name", "pIC50"]
    assert [p.row for p in table.problems] == [2] and "valence" in table.problems[0].reason
    assert capfd.readouterr().err == ""


def test_stream_is_the_same_rows_in_pieces(tmp_path):
    rows = [f"{'C' * (1 + i % 7)},{i}" if i % 10 else f",{i}" for i in range(95)]
    path = write(tmp_path, "a.csv", "smiles,i\n" + "\n".join(rows))
    parts, whole = list(stream(path, rows=10)), read(path)
    assert len(parts) == 10 and all(len(p) <= 10 for p in parts)
    assert [s for p in parts for s in p.objects()] == whole.objects()
    assert [q for p in parts for q in p.problems] == list(whole.problems)


def test_take(tmp_path):
    table = read(write(tmp_path, "a.smi", "C\nCC\nCCC\n"))
    assert table.take([2, 0, 2]).objects() == ["CCC", "C", "CCC"]


def test_which_column():
    assert choose_column(["id", "Canonical SMILES", "Smiles"], None, "f") == "Smiles"
    assert choose_column(["ID", "Sequence"], None, "f") == "Sequence"
    assert choose_column(["compound"], None, "f") == "compound"
    with pytest.raises(TableError, match="none of id, ligand has a known name"):
        choose_column(["id", "ligand"], None, "f")


def test_a_single_column_without_a_known_name_is_said_to_be_one(tmp_path):
    table = read(write(tmp_path, "a.csv", "CCO\nCC\n"))
    assert problems(table) == [(1, "taken as the name of the column", True)]


def test_a_missing_column_lists_the_columns_and_the_nearest(tmp_path):
    path = write(tmp_path, "a.csv", "id,SMILES\n1,C\n")
    with pytest.raises(TableError, match="'smile'; its columns: id, SMILES; did you mean 'SMI"):
        read(path, column="smile")
    with pytest.raises(TableError, match="no column 'pIC50'"):
        read(path).values("pIC50")


CUT = gzip.compress(b"smiles\n" + b"CC\n" * 99, mtime=0)[:-9]


@pytest.mark.parametrize("name, text, message", [
    ("a.csv", b"", "a.csv is empty"),
    ("a.csv.gz", gzip.compress(b"", mtime=0), "a.csv.gz is empty"),
    ("a.csv", b"smiles\n", "has a header but no rows"),
    ("a.csv", b"\x89PNG\x00\x01", "is not a text file: it starts with"),
    ("a.smi", gzip.compress(b"CC\n", mtime=0), "is not a text file"),
    ("a.csv.gz", b"smiles\nCC\n", "cannot be read: Not a gzipped file"),
    ("a.csv.gz", CUT, "be read: .*end-of-stream"),
    ("a.smi.xz", lzma.compress(b"CC\n" * 99)[:-9], "be read: .*end-of-stream"),
    ("a.csv", b"smiles,y,y\nC,1,2\n", "column names must differ, y is repeated"),
    ("a.xlsx", b"PK", "unknown suffix '.xlsx'; readable are .csv, .tsv"),
    ("noname", b"C", "unknown suffix '\\(none\\)'"),
])
def test_wrong_files_have_one_line_errors(tmp_path, name, text, message):
    path = write(tmp_path, name, text)
    with pytest.raises(TableError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_absent_files_and_folders(tmp_path):
    with pytest.raises(TableError, match="no such file"):
        read(tmp_path / "a.csv")
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(TableError, match="is a folder"):
        read(tmp_path / "b.csv")


def test_bytes_that_are_not_utf8_reject_their_row(tmp_path):
    table = read(write(tmp_path, "a.csv", b"smiles,name\nCC,caf\xe9\nCO,x\n"))
    assert table.objects() == ["CO"]
    assert problems(table) == [(2, "bytes that are not UTF-8", False)]


def test_a_batch_without_a_usable_row_joins_the_others(tmp_path):
    file, n = tmp_path / "a.parquet", 65_536  # the rows of a batch
    pq.write_table(pa.table({"smiles": ["X"] * n + ["CCO"], "v": range(n + 1)}), file)
    table = read(file, check=lambda s: "" if s == "CCO" else "bad")
    assert table.objects() == ["CCO"] and table.values("v") == [n]
