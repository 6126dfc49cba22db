"""`scidiff sample`, `infill`: files that a seed determines, tables, shards."""

from pathlib import Path

import pandas as pd
import pytest
from tiny_models import write_tiny_model

import scidiff.cli.sampling as sampling
from scidiff.api.entry import load


@pytest.mark.parametrize("suffix", ["csv", "smi", "parquet"])
def test_the_same_seed_writes_the_same_bytes(scidiff, tiny_model, tmp_path, suffix):
    files = [tmp_path / name / f"rows.{suffix}" for name in ("a", "b", "c")]
    for file, seed in zip(files, [4, 4, 5], strict=True):
        file.parent.mkdir()
        assert scidiff("sample", tiny_model, "-n", 30, "--seed", seed, "-o", file).code == 0
    a, b, c = (f.read_bytes() for f in files)
    assert a == b != c


def test_a_saved_table_is_what_the_model_draws(scidiff, tiny_model, tmp_path):
    file = tmp_path / "rows.csv"
    told = scidiff("sample", tiny_model, "-n", 30, "--seed", 4, "-o", file, "--json").document
    drawn = load(tiny_model, device="cpu").sample(30, seed=4).to_frame()
    saved = pd.read_csv(file, keep_default_na=False)
    assert saved["smiles"].tolist() == drawn["smiles"].tolist()
    assert told["saved"] == str(file) and "rows" not in told
    assert told["provenance"]["seed"] == 4


def test_without_a_file_the_rows_are_shown(scidiff, tiny_model):
    told = scidiff("sample", tiny_model, "-n", 25, "--json").document
    shown = scidiff("sample", tiny_model, "-n", 25)
    assert len(told["rows"]) == 25 and {"smiles", "valid", "reason"} <= set(told["rows"][0])
    assert all(row["smiles"] in shown.out for row in told["rows"][: sampling.SHOWN])
    assert "and 5 more" in shown.out and told["summary"]


def test_sampling_settings_reach_the_sampler(scidiff, tmp_path):
    model = write_tiny_model(tmp_path / "block", "block")
    base = ["sample", model, "-n", 5, "--json"]
    options = ["--block-size", 2, "--order", "confidence", "--tokens-per-step", 2]
    told = scidiff(*base, *options, "--temperature", 0.5).document
    expected = {"block_size": 2, "order": "confidence", "tokens_per_step": 2, "temperature": 0.5}
    assert told["provenance"]["sampling"] == expected
    assert scidiff(*base).document["provenance"]["sampling"]["block_size"] == 4
    assert scidiff(*base, "--dtype", "bfloat16").code == 0


def test_infill_keeps_the_text_around(scidiff, tmp_path):
    model = write_tiny_model(tmp_path / "block", "block")
    told = scidiff("infill", model, "CC[*]O", "-n", 7, "--longest", 3, "--json").document
    texts = [row["smiles"] for row in told["rows"]]
    assert len(texts) == 7 and all(t.startswith("CC") and t.endswith("O") for t in texts)
    assert all(4 <= len(t) <= 6 for t in texts)


@pytest.mark.parametrize("name", ["run", "run.parquet"])
def test_shards_are_a_folder_that_reads_as_one_table(scidiff, tiny_model, tmp_path, name):
    folder = tmp_path / name
    typed = ["sample", tiny_model, "-n", 1100, "--seed", 2, "--shards", "-o", folder, "--json"]
    told, again = scidiff(*typed).document, scidiff(*typed).document
    drawn = load(tiny_model, device="cpu").sample(1100, seed=2).to_frame()
    assert pd.read_parquet(folder)["smiles"].tolist() == drawn["smiles"].tolist()
    assert (told["rows"], told["drawn now"], again["drawn now"]) == (1100, 1, 0)
    assert told["valid"] == drawn["valid"].sum()


def test_many_rows_go_to_shards_unless_told_otherwise(scidiff, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "SHARDED", 10)
    big = ["sample", tiny_model, "-n", 11]
    assert "say where with -o" in scidiff(*big).one_line()
    assert "--no-shards" in scidiff(*big, "-o", tmp_path / "a.csv").one_line()
    assert scidiff(*big, "-o", tmp_path / "a.csv", "--no-shards").code == 0
    assert scidiff(*big, "-o", tmp_path / "run").code == 0
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "_manifest.json",
        "part-00000.parquet",
    }
    assert "seed 0 there, 1 now" in scidiff(*big, "-o", tmp_path / "run", "--seed", 1).one_line()
    (tmp_path / "a.csv").rename(tmp_path / "a")
    assert "it is a file" in scidiff(*big, "-o", tmp_path / "a").one_line()


def test_interrupted_shards_say_what_is_there(scidiff, tiny_model, tmp_path, monkeypatch):
    import scidiff.api.shards as shards

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    monkeypatch.setattr(shards.pq, "write_table", stop)
    stopped = scidiff("sample", tiny_model, "-n", 20, "--shards", "-o", folder)
    assert stopped.code == 130
    assert "0 of 1 shards (0 of 20 rows) are in" in stopped.err
    assert "the same command continues" in stopped.err


@pytest.mark.parametrize("typed", [["sample"], ["infill", "C[*]"]], ids=lambda t: t[0])
def test_a_file_that_cannot_be_written_is_found_before_any_work(
    scidiff, tmp_path, monkeypatch, typed
):
    def work(*arguments: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(sampling, "load", work)
    command = [typed[0], "m", *typed[1:]]
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("")
    for name, line in {
        "folder.csv": "it is a folder",
        "missing/rows.csv": "missing does not exist",
        "file/rows.csv": "file does not exist",
        "rows.xls": ".csv",
        "rows": "no suffix",
    }.items():
        assert line in scidiff(*command, "-o", Path(tmp_path / name)).one_line()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.csv"]


@pytest.mark.parametrize("n", [0, -3])
@pytest.mark.parametrize("typed", [["sample"], ["infill", "C[*]"]], ids=lambda t: t[0])
def test_n_must_be_at_least_one(scidiff, tiny_model, typed, n):
    said = scidiff(typed[0], tiny_model, *typed[1:], "-n", n).one_line()
    assert said == f"-n must be at least 1, got {n}"
