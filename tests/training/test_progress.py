"""What a training run shows while it runs."""

import io
import sys
import types

import pytest
from rich.console import Console

from scidiff.training.progress import TrainingProgress


def show(tmp_path, terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with TrainingProgress({"stage1": 10, "stage2": 4}, tmp_path, console) as progress:
        progress("stage1", 5, {"loss": 2.5, "lr": 0.1})
        progress("stage1", 10, {"validation": 1.25})
        progress("stage2", 4, {"loss": 0.5})
    return console.file.getvalue()


def test_rows_are_lines_outside_a_terminal(tmp_path):
    assert show(tmp_path, False).splitlines() == [
        "stage1  5/10  loss 2.5000",
        "stage1  10/10  loss 2.5000  validation 1.2500",
        "stage2  4/4  loss 0.5000",
    ]


def test_a_bar_a_stage_in_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    said = show(tmp_path, True)
    assert "10/10" in said and "4/4" in said and "validation 1.2500" in said


@pytest.mark.parametrize("installed", [True, False])
def test_tensorboard_where_it_is_installed(tmp_path, monkeypatch, installed):
    written = []

    class Writer:
        def __init__(self, folder, purge_step):
            written.append((folder, purge_step))

        def add_scalar(self, *row):
            written.append(row)

        def close(self):
            written.append("closed")

    fake = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: fake if installed else None)
    show(tmp_path, False)
    assert written == ([
        (str(tmp_path / "stage1" / "tensorboard"), 5),
        ("loss", 2.5, 5),
        ("lr", 0.1, 5),
        ("validation", 1.25, 10),
        (str(tmp_path / "stage2" / "tensorboard"), 4),
        ("loss", 0.5, 4),
        "closed",
        "closed",
    ] if installed else [])  # fmt: skip
