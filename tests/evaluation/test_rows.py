"""Rows of any origin: every one is counted, invalid ones with where and why."""

import pytest
from rdkit import Chem

from scidiff.data.records import Record
from scidiff.evaluation.rows import (
    Faults,
    as_record,
    evenly,
    first_of_kind,
    from_file,
    listed,
    without_places,
)


def test_rows_become_records():
    good = as_record("CCO")
    assert good.valid and good.obj.GetNumAtoms() == 3 and as_record(good) is good
    assert as_record(Chem.MolFromSmiles("CC")).valid
    raw = Chem.MolFromSmiles("N(C)(C)(C)(C)C", sanitize=False)
    assert "valence" in as_record(raw).reason
    assert not as_record(None).valid and as_record({"a": 1}, "graph").obj == {"a": 1}
    with pytest.raises(ValueError, match="a row is a SMILES, .*got a int"):
        as_record(3)


def test_salts_mixtures_and_strange_elements_are_molecules():
    for smiles in ("CCO.[Na+].[Cl-]", "[Xe]", "[U+4]", "C[Si](C)(C)C", "[2H]C"):
        assert as_record(smiles).valid, smiles
    assert "alternate" in as_record("c1cccc1").reason


def test_faults_are_counted_by_reason_with_the_first_rows():
    faults = Faults()
    rows = ["CCO", *["C1CC"] * 12, None, "C(", "CCN"]
    kept = list(faults.watch(listed(rows)))
    assert len(kept) == 16 and faults.n == 14
    assert faults.counts.most_common(1)[0][1] == 12
    assert faults.first[0][:2] == (2, "C1CC") and len(faults.first) == 10
    lines = faults.lines(2)
    assert lines[0].startswith("14 invalid: 12 x ring … opened") and "1 more reasons" in lines[0]
    assert lines[1].startswith("  row 2: C1CC: ring 1 opened") and len(lines) == 3
    assert Faults().lines() == []


def test_files_give_the_line_of_what_is_wrong_and_ignore_blank_ends(tmp_path):
    file = tmp_path / "mols.csv"
    file.write_text("id,smiles\n1,CCO\n2,C1CC\n\n3,CCN\n4\n\n\n")
    faults = Faults()
    kept = list(faults.watch(from_file(file)))
    assert len(kept) == 5 and [r.text for r in kept if r.valid] == ["CCO", "CCN"]
    assert [row for row, _, _ in faults.first] == [3, 4, 6]
    for name, text in (("m.smi", "CCO\nC(\n\n\n"), ("m.txt", "CCO\nC(\n \n")):
        (tmp_path / name).write_text(text)
        assert len(list(from_file(tmp_path / name))) == 2, name


def test_an_sdf_with_an_error_in_the_middle(tmp_path):
    file = tmp_path / "mols.sdf"
    with Chem.SDWriter(str(file)) as out:
        for smiles in ("CCO", "N(C)(C)(C)(C)C", "CCN"):
            out.SetKekulize(False)
            out.write(Chem.MolFromSmiles(smiles, sanitize=False))
    faults = Faults()
    kept = list(faults.watch(from_file(file)))
    assert sum(r.valid for r in kept) == 2
    ((row, _, why),) = faults.first
    assert row == 2 and "valence" in why


def test_small_things():
    assert without_places("ring 1 opened at atom 0") == "ring … opened at atom …"
    assert without_places("valence of atom # 4 C, 5") == "valence of atom … C, 5"
    assert evenly(10, 4).tolist() == [0, 3, 6, 9] and evenly(3, 9).tolist() == [0, 1, 2]
    assert evenly(0, 9).tolist() == []
    assert first_of_kind(["b", "a", "b", "c", "a"]).tolist() == [0, 1, 3]
    assert Record("x", None, False, "why").reason == "why"
