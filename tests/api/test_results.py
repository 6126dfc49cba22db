"""Results keep every row, say nothing that is not there, and are written whole or not at all."""

import gzip
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from rdkit import Chem

from scidiff.api.design_result import DesignResult
from scidiff.api.results import SUFFIXES, SampleResult, check_output
from scidiff.data.records import Record
from scidiff.domains.smiles import molecule_record
from scidiff.guidance.certificate import Certificate, Ledger
from scidiff.rewards.molecules import qed

SMILES = ["CCO", "OCC", "c1ccccc1O", "CC(C", "CC(=O)Nc1ccc(O)cc1"]  # row 1 is row 0, row 3 is not
PROVENANCE = {"model": "m", "seed": 7, "sampling": {"temperature": 1.0}}


class Known:
    def __init__(self, *keys):
        self.keys = keys

    def contains(self, keys):
        return np.array([k in self.keys for k in keys])


def sample(smiles=SMILES, **more):
    return SampleResult([molecule_record(s) for s in smiles], kind="molecule",
                        provenance=PROVENANCE, **more)


def designs(status=("ok", "ok", "ok", "invalid", "skipped")):
    score = [0.9, 0.5, 0.25, 0.0, math.nan]
    rows = sample(columns={"score": score, "qed": score, "sa": score, "log_w": [1.0] * 5,
                           "status": list(status)}, notes=("the certificate",))
    return DesignResult(rows, certificate=Certificate(2.0, 0.1, 5, 4.0, "collapsed"),
                        ledger=Ledger(100, 20, 3, 1.5), settings={"method": "smc"})


def sequences():
    return SampleResult([Record("ACGT", None, True), Record("AC", None, True),
                         Record("AXG", None, False, "'X' is no base")],
                        kind="sequence", provenance=PROVENANCE, columns={"score": [1.5, 2, 3]})


def test_every_row_is_kept_in_place() -> None:
    result = sample()
    assert len(result) == 5 and result.texts == SMILES and list(result) == list(result.records)
    assert result.valid.tolist() == [True, True, True, False, True]
    assert [Chem.MolToSmiles(m) for m in result.objects][0] == "CCO" and len(result.objects) == 4
    assert result[3].reason and result[-1] is result.records[-1]


def test_rows_are_chosen_with_their_columns() -> None:
    result = sample(columns={"score": np.arange(5.0)})
    assert result[result.valid].columns["score"] == [0, 1, 2, 4]
    assert result[1:3].texts == SMILES[1:3] and result[[4, 0]].columns["score"] == [4, 0]
    assert len(result[[]]) == 0


def test_columns_must_fit() -> None:
    with pytest.raises(ValueError, match="'score' must have 5 values, one a row, got 2"):
        sample(columns={"score": [1, 2]})
    with pytest.raises(ValueError, match="'valid'"):
        sample(columns={"valid": [1] * 5})


def test_frame_and_arrow_hold_the_same() -> None:
    result = sample(columns={"score": [1.0, 2.0, 3.0, math.nan, 5.0]})
    frame, table = result.to_frame(), result.to_arrow()
    assert list(frame) == ["smiles", "valid", "reason", "canonical", "score"] == table.column_names
    assert frame["canonical"][1] == "CCO" and pd.isna(frame["canonical"][3])
    assert json.loads(table.schema.metadata[b"scidiff"]) == PROVENANCE
    assert sequences().to_frame().columns[0] == "sequence"


def test_summary_counts() -> None:
    found = sample(novelty=Known("CCO")).summary()
    assert (found["n"], found["valid"], found["unique"]) == (5, 0.8, 0.75)
    assert found["novel"] == pytest.approx(2 / 3)
    assert found["reasons"] == {"'(' at position … is never closed": 1}
    mols = [Chem.MolFromSmiles(s) for s in SMILES if s != "CC(C"]
    assert found["qed_mean"] == pytest.approx(np.mean(qed(mols)))
    assert found["qed_sd"] == pytest.approx(np.std(qed(mols), ddof=1))
    assert 0 < found["internal_diversity"] < 1


@pytest.mark.parametrize("smiles", [[], ["CC(C", ""], ["CCO"]])
def test_summary_of_little_is_nan_and_never_raises(smiles, tmp_path: Path) -> None:
    result = sample(smiles, novelty=Known())
    found = result.summary()
    assert found["n"] == len(smiles) and math.isnan(found["qed_sd"])
    assert math.isnan(found["unique"]) == (smiles != ["CCO"]) == math.isnan(found["qed_mean"])
    for suffix in (".csv", ".smi", ".sdf", ".parquet", ".png", ".html"):
        result.save(tmp_path / f"few{suffix}")
    assert "<svg" in result._repr_html_() and repr(result)


def test_sequences_need_no_chemistry() -> None:
    found = sequences().summary()
    assert found["length_mean"] == 3
    assert "qed_mean" not in found and "internal_diversity" not in found
    with pytest.raises(ValueError, match="'sequence'"):
        sequences().plot.grid()
    assert "AXG" in sequences()._repr_html_()


def test_notebook_view_is_static_and_escaped() -> None:
    hostile = Record("<script>alert(1)</script>", None, False, "<b>bad</b>")
    page = SampleResult([hostile, *sample()], kind="molecule", provenance={})._repr_html_()
    assert "<script" not in page and "<b>bad" not in page and page.count("<path") > 10


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", [".csv", ".smi", ".sdf", ".parquet", ".png", ".html"])
def test_equal_results_give_equal_bytes(suffix: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        sample(columns={"score": [0.5] * 5}).save(tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    sidecar = tmp_path / f"a{suffix}.json"
    assert sidecar.exists() == (suffix not in (".parquet", ".html"))
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".tmp"]


def test_tables_come_back(tmp_path: Path) -> None:
    result = sample(columns={"score": [1.0, 2.0, 3.0, math.nan, 5.0]})
    result.save(tmp_path / "r.csv")
    result.save(tmp_path / "r.parquet")
    back = pd.read_csv(tmp_path / "r.csv", keep_default_na=False, na_values={"score": [""]})
    assert back["smiles"].tolist() == SMILES and back["score"].isna().tolist()[3]
    table = pq.read_table(tmp_path / "r.parquet")
    assert table.to_pydict()["reason"] == [r.reason for r in result]
    assert json.loads(table.schema.metadata[b"scidiff"])["seed"] == 7
    assert json.loads((tmp_path / "r.csv.json").read_text())["provenance"] == PROVENANCE


def test_molecule_files_come_back_and_name_what_they_leave_out(tmp_path: Path) -> None:
    result = sample(columns={"score": [1.0, 2.0, 3.0, math.nan, 5.0]})
    for name in ("r.smi", "r.sdf"):
        result.save(tmp_path / name)
        left = json.loads((tmp_path / f"{name}.json").read_text())["left_out"]
        assert [r["row"] for r in left] == [3] and "closed" in left[0]["reason"]
    mols = list(Chem.SDMolSupplier(str(tmp_path / "r.sdf")))
    assert [m.GetProp("row") for m in mols] == ["0", "1", "2", "4"]
    assert [float(m.GetProp("score")) for m in mols] == [1, 2, 3, 5]
    expected = [Chem.CanonSmiles(s) for s in SMILES if s != "CC(C"]
    assert [Chem.MolToSmiles(m) for m in mols] == expected
    lines = (tmp_path / "r.smi").read_text().splitlines()
    assert lines[0] == "CCO row_0" and lines[-1].endswith("row_4")
    assert not np.any(result.objects[0].GetNumConformers())  # drawing must not touch the result


def test_fasta(tmp_path: Path) -> None:
    sequences().save(tmp_path / "s.fasta")
    assert (tmp_path / "s.fasta").read_text() == ">seq_0 score=1.5\nACGT\n>seq_1 score=2\nAC\n"
    sequences().save(tmp_path / "s.fasta.gz")
    packed = (tmp_path / "s.fasta.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "s.fasta").read_bytes()
    with pytest.raises(ValueError, match="got '.csv.gz'; did you mean s.csv?"):
        sequences().save(tmp_path / "s.csv.gz")
    with pytest.raises(ValueError, match="fasta"):
        sample().save(tmp_path / "s.fasta")


def test_bad_outputs_are_one_line_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.smi.*got '\.parqet'; did you mean a\.parquet\?"):
        check_output(tmp_path / "a.parqet")
    with pytest.raises(ValueError, match="no suffix"):
        check_output(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        check_output(tmp_path / "nowhere" / "a.csv")
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        sample().save(tmp_path / "a.csv")
    with pytest.raises(OSError, match="cannot be written to"):
        check_output(Path("/proc/a.csv"))
    check_output(None)
    assert set(SUFFIXES) >= {".csv", ".fasta"}


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    sample().save(tmp_path / "a.csv")
    before = (tmp_path / "a.csv").read_bytes()
    monkeypatch.setattr("scidiff.files.os.replace", _full_disk)
    with pytest.raises(OSError, match="no space"):
        sample(["CCN"]).save(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.csv.json"]


def _full_disk(*_):
    raise OSError("no space left on device")


# ---------------------------------------------------------------- designs


def test_designs_say_what_they_are_worth() -> None:
    result = designs()
    lines = str(result).splitlines()
    assert lines[0] == "5 designs, 3 scored: best 0.9, mean 0.55"
    assert lines[1].startswith("collapsed: log Z = 2") and lines[2].startswith("20 objects asked")
    found = result.summary()
    assert (found["scored"], found["score_best"], found["verdict"]) == (3, 0.9, "collapsed")
    assert result.scored.tolist() == [True] * 3 + [False] * 2
    page = result._repr_html_()
    assert "unscored: skipped" in page and "score 0.900" in page
    assert page.index("the certificate") < page.index("<svg")


def test_designs_of_which_none_was_scored() -> None:
    result = designs(["skipped"] * 5)
    assert str(result).startswith("5 designs, 0 scored\n")
    assert math.isnan(result.summary()["score_mean"])
    assert result.plot.scores().axes


def test_design_orders_best_first_with_terms(tiny_model: Path) -> None:
    import scidiff as sd

    model = sd.load(tiny_model)
    result = sd.design(model, _length_reward(), n=6, method="best-of-n", budget=24, seed=1)
    status, score = result.rows.columns["status"], result.scores
    asked = [s for s, ok in zip(score, result.scored, strict=True) if ok]
    assert asked == sorted(asked, reverse=True) and len(result) == 6
    assert status == sorted(status, key=lambda s: s != "ok")
    for i, record in enumerate(result):
        terms = [result.rows.columns[k][i] for k in ("length", "term score")]
        expected = [float(len(record.text)), 1.0] if status[i] == "ok" else [math.nan] * 2
        assert terms == pytest.approx(expected, nan_ok=True)
    cost = result.provenance["ledger"]
    assert cost["asked"] <= 24 and "seconds" not in cost  # equal runs are equal files


def _length_reward():
    """len + 1, of two terms, one of them called like a row's own column."""
    from scidiff.rewards.scoring import Scores, Status

    class Two:
        name, floor = "two", 0.0
        leaves = {
            "length": lambda objects: [float(len(Chem.MolToSmiles(m))) for m in objects],
            "score": lambda objects: [1.0] * len(objects),
        }

        def combine(self, parts):
            return _scores((parts["length"].values + 1).tolist())

        def score(self, objects):
            return self.combine({"length": _scores(self.leaves["length"](objects))})

    def _scores(values):
        return Scores.of((v, Status.OK) for v in values)

    return Two()


def test_results_load_nothing_heavy() -> None:
    heavy = {"matplotlib", "pandas", "pyarrow", "rdkit"}
    code = f"import sys, scidiff.api.results; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
