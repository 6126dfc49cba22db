"""Training that is killed at random moments, and training on two processes.

Run as a script, this file trains the toy: OUT STEPS.
"""

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from scidiff.api.recipes import parse
from scidiff.data.tokens import Vocabulary
from scidiff.training.stages import build_network, encode, train_stages

pytestmark = pytest.mark.slow

STAGE = {
    "batch_size": 32,
    "lr": 1e-2,
    "warmup": 5,
    "precision": "32-true",
    "log_every": 4,
    "validate_every": 30,
    "checkpoint_every": 7,
}
NAMES = ("stage1-autoregressive", "stage2-block")


def train_toy(out: str, steps: int) -> None:
    """Two stages of `steps` steps on toy strings; the last thing written is weights.pt."""
    torch.set_num_threads(1)
    strings = ["C" * (n % 9) + "NO" + "C" * (n % 4) for n in range(400)]
    first = {"process": "autoregressive", "steps": steps, **STAGE}
    recipe = parse(
        {
            "name": "toy",
            "data": {"source": "toy.smi"},
            "network": {"width": 32, "depth": 2, "heads": 2},
            "stages": [first, {**first, "process": "block", "block_size": 4}],
            "sampling": {"block_size": 4},
        },
        "toy",
    )
    data = encode(strings, Vocabulary.build(strings), 40, 0)
    network = build_network(recipe, data)
    train_stages(recipe, network, data, Path(out), "cpu")
    torch.save(network.state_dict(), Path(out) / "weights.pt")


def log_of(out: Path) -> list[dict[str, float]]:
    files = [out / name / "log.jsonl" for name in NAMES]
    lines = [line for f in files for line in f.read_text().splitlines()]
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def rows_logged(out: Path) -> int:
    files = [out / name / "log.jsonl" for name in NAMES]
    return sum(f.read_text().count("\n") for f in files if f.exists())


def run_until_killed(context, out: Path, steps: int, chance: random.Random) -> bool:
    """SIGKILL a run somewhere behind a random number of new log rows; True if it ended before."""
    process = context.Process(target=train_toy, args=(str(out), steps))
    process.start()
    seen, more, deadline = rows_logged(out), chance.randint(3, 25), time.monotonic() + 300
    while process.is_alive() and rows_logged(out) < seen + more:
        assert time.monotonic() < deadline, "the run does not move on"
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.05))
    process.kill()
    process.join()
    return process.exitcode == 0


def test_a_run_killed_at_random_ends_as_if_it_had_not_been(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scidiff.api.recipes", "scidiff.training.stages"])
    steps, chance, kills = 120, random.Random(0), 0
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    process = context.Process(target=train_toy, args=(str(whole), steps))
    process.start()
    process.join()
    assert process.exitcode == 0
    while kills < 30 and not run_until_killed(context, cut, steps, chance):
        kills += 1
    assert 3 <= kills < 30
    assert log_of(cut) == log_of(whole)
    a, b = (torch.load(out / "weights.pt", weights_only=True) for out in (whole, cut))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_two_processes_train_together(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node=2", __file__, str(tmp_path / "run"), "60"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, timeout=600, capture_output=True)
    rows = log_of(tmp_path / "run")
    first = [r for r in rows if "loss" in r][: 60 // 4]
    assert [r["step"] for r in first] == list(range(4, 61, 4))  # written by one process only
    assert first[-1]["loss"] < 0.7 * first[0]["loss"]
    assert [r["step"] for r in rows if "validation" in r] == [30, 60] * 2


if __name__ == "__main__":
    train_toy(sys.argv[1], int(sys.argv[2]))
