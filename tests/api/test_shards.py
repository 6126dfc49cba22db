"""Sharded sampling: the rows of Model.sample, whatever was interrupted."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_models import write_tiny_model

import scidiff.api.model as models
import scidiff.api.shards as shards
from scidiff.api.entry import evaluate, load
from scidiff.api.model import Model
from scidiff.api.shards import ShardError, sample_shards
from scidiff.core import seeded
from scidiff.guidance.particles import sample

CHUNK = 7  # rows; the package's chunks of 1000 would make these tests slow


@pytest.fixture
def model(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setattr(shards, "CHUNK", CHUNK)
    monkeypatch.setattr(models, "CHUNK", CHUNK)
    return load(tiny_model, device="cpu")


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def stop_after(rows: int):
    """A listener that interrupts the run once more than `rows` rows are there."""
    seen = 0

    def listen(new: int) -> None:
        nonlocal seen
        seen += new
        if seen > rows:
            raise KeyboardInterrupt

    return listen


def test_shards_hold_the_rows_of_one_seeded_chunk_after_the_other(model, tmp_path):
    done = sample_shards(model, 45, tmp_path / "run", seed=3, chunks=2)
    sampler = model.sampler()
    expected = [
        record.text
        for j, size in enumerate([7, 7, 7, 7, 7, 7, 3])
        for record in model.domain.decode(sample(sampler, size, seeded(3, j)))
    ]
    table = done.dataset().to_table().to_pandas()
    assert table["smiles"].tolist() == expected
    assert (done.shards, done.drawn, done.valid) == (4, 4, int(table["valid"].sum()))
    assert 0 < done.valid < 45, "the tiny model writes molecules and others"
    assert (table["valid"] == (table["reason"] == "")).all()


def test_the_first_shard_is_what_model_sample_draws(tiny_model, tmp_path):
    """With the package's own chunk size."""
    model = load(tiny_model, device="cpu")
    sample_shards(model, 1200, tmp_path, seed=5, chunks=1)
    assert pd.read_parquet(tmp_path)["smiles"].tolist() == [r.text for r in model.sample(1200, 5)]


def test_one_folder_reads_as_one_table(model, tmp_path):
    sample_shards(model, 30, tmp_path, chunks=1)
    assert len(pd.read_parquet(tmp_path)) == 30
    assert [len(pd.read_parquet(p)) for p in sorted(tmp_path.glob("part-*"))] == [7, 7, 7, 7, 2]


@pytest.mark.parametrize("rows", [0, 6, 14, 20, 44])
def test_an_interrupted_run_ends_with_the_same_files(model, tmp_path, rows):
    sample_shards(model, 45, tmp_path / "whole", chunks=2)
    with pytest.raises(KeyboardInterrupt):
        sample_shards(model, 45, tmp_path / "cut", chunks=2, on_rows=stop_after(rows))
    sample_shards(model, 45, tmp_path / "cut", chunks=2)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_only_missing_shards_are_drawn(model, tmp_path):
    sample_shards(model, 45, tmp_path, chunks=2)
    (tmp_path / "part-00002.parquet").unlink()
    told: list[int] = []
    assert sample_shards(model, 45, tmp_path, chunks=2, on_rows=told.append).drawn == 1
    assert told == [45 - 14, 7, 7]


def test_a_damaged_shard_is_drawn_again_and_half_written_ones_are_removed(model, tmp_path):
    sample_shards(model, 30, tmp_path, chunks=2)
    before = contents(tmp_path)
    first, second, last = sorted(tmp_path.glob("part-*"))
    first.write_bytes(first.read_bytes()[:-20])
    second.write_bytes(last.read_bytes())  # readable, with fewer rows than it should have
    (tmp_path / ".part-00001.parquet.4711.tmp").write_bytes(b"half")
    assert sample_shards(model, 30, tmp_path, chunks=2).drawn == 2
    assert contents(tmp_path) == before


def test_a_shard_appears_whole_or_not_at_all(model, tmp_path, monkeypatch):
    def half(table, file):
        file.write(b"PAR1")
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(KeyboardInterrupt):
        sample_shards(model, 30, tmp_path)
    assert list(contents(tmp_path)) == ["_manifest.json"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed 0 there, 1 now"),
        ({"n": 31}, "n 30 there, 31 now"),
        ({"chunks": 3}, "chunks_per_shard 2 there, 3 now"),
        ({"temperature": 0.5}, "sampling.temperature 1.0 there, 0.5 now"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(model, tmp_path, change, named):
    run = {"n": 30, "seed": 0, "chunks": 2}
    sample_shards(model, folder=tmp_path, **run)
    with pytest.raises(ShardError, match=f"holds another run .*{named}"):
        sample_shards(model, folder=tmp_path, **{**run, **change})


def test_another_model_in_the_same_folder_is_refused(model, tmp_path):
    other = load(write_tiny_model(tmp_path / "other", seed=1), device="cpu")
    sample_shards(model, 30, tmp_path / "run")
    with pytest.raises(ShardError, match=f"sha256 '{model.config['sha256']}' there, '.*' now"):
        sample_shards(other, 30, tmp_path / "run")


def test_a_folder_of_something_else_is_refused(model, tmp_path):
    (tmp_path / "thesis.docx").write_text("ten years")
    with pytest.raises(ShardError, match=r"is not empty \(it holds thesis.docx\)"):
        sample_shards(model, 30, tmp_path)
    (tmp_path / "thesis.docx").rename(tmp_path / "_manifest.json")
    with pytest.raises(ShardError, match="_manifest.json is damaged"):
        sample_shards(model, 30, tmp_path)


@pytest.mark.parametrize(("n", "chunks"), [(0, 1), (-5, 1), (5, 0)])
def test_sizes_are_checked_before_anything_is_written(model, tmp_path, n, chunks):
    with pytest.raises(ValueError, match="at least 1"):
        sample_shards(model, n, tmp_path / "run", chunks=chunks)
    assert not (tmp_path / "run").exists()


def test_every_shard_says_where_it_came_from(model, tmp_path):
    sample_shards(model, 10, tmp_path, seed=8)
    known = json.loads(pq.read_schema(tmp_path / "part-00000.parquet").metadata[b"scidiff"])
    assert known == json.loads((tmp_path / "_manifest.json").read_text())
    assert known["seed"] == 8 and known["sha256"] == model.config["sha256"]


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
import scidiff.api.model as models
import scidiff.api.shards as shards
from scidiff.api.entry import load
models.CHUNK = shards.CHUNK = 25
shards.sample_shards(load(sys.argv[1], device="cpu"), 4000, sys.argv[2], seed=2, chunks=4)
"""


@pytest.mark.slow
def test_sigkill_at_random_moments_and_the_files_are_the_same(tiny_model, tmp_path):
    def start(folder: str) -> subprocess.Popen:
        command = [sys.executable, "-c", SCRIPT, str(tiny_model), str(tmp_path / folder)]
        return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})

    assert start("whole").wait() == 0
    rng, kills = random.Random(0), 0
    for _ in range(100):
        process = start("cut")
        begun = len(list((tmp_path / "cut").glob("part-*")))
        while process.poll() is None and len(list((tmp_path / "cut").glob("part-*"))) < begun + 9:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        kills += 1
    assert kills >= 2
    assert start("cut").wait() == 0
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_finished_folder_is_measured_as_the_rows_it_holds(model, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        sample_shards(model, 40, tmp_path / "run", 3, chunks=2, on_rows=stop_after(20))
    with pytest.raises(ShardError, match="holds 14 of 40 rows: finish it first"):
        evaluate(tmp_path / "run", fcd=False)
    sample_shards(model, 40, tmp_path / "run", 3, chunks=2)
    found, expected = evaluate(tmp_path / "run", fcd=False), model.sample(40, 3)
    assert found["valid"].n == 40 and found["valid"].value == expected.valid.mean()
    assert found["int_div"].value == pytest.approx(evaluate(expected, fcd=False)["int_div"].value,
                                                   nan_ok=True)


def test_a_run_of_sequences_is_measured_too(tmp_path):
    rna = load(write_tiny_model(tmp_path / "rna", domain="rna", vocabulary={
        "notation": "characters", "symbols": list("ACGU")}), device="cpu")  # fmt: skip
    sample_shards(rna, 20, tmp_path / "run", 3)
    held = ["ACGUACG", "GGCUA", "AUGGCC"]
    report = evaluate(tmp_path / "run", "rna", reference=held)
    expected = evaluate(rna.sample(20, 3), "rna", reference=held)
    for name in ("valid", "unique", "kmer2_js_sqrt_nats"):
        assert (report[name].value, report[name].n) == (expected[name].value, expected[name].n)
    with pytest.raises(ShardError, match="holds no molecules: its columns are sequence"):
        evaluate(tmp_path / "run", fcd=False)
