"""`scidiff value`, and rewards that a person wrote in the folder where the command is typed."""

import json
import sys

import pytest

MINE = """
class Mine:
    floor, name, version = 0.0, "mine", "1"

    def __call__(self, mols):
        return [m.GetNumAtoms() / 10 for m in mols]
"""


def test_a_value_is_learned_and_looks_ahead(scidiff, tiny_model, tmp_path):
    typed = ["value", tiny_model, "--reward", "qed", "-n", 24, "--fit-steps", 3, "--strength", 9,
             "--json", "-o", tmp_path / "value"]  # fmt: skip
    ran = scidiff(*typed)
    assert ran.code == 0, ran.err
    assert ran.document == {"value": str(tmp_path / "value")}
    told = json.loads((tmp_path / "value" / "config.json").read_text())["value"]
    assert (told["reward"], told["n"], told["strength"]) == ("qed", 24, 9.0)
    ran = scidiff("design", tiny_model, "--reward", "qed", "--method", "smc", "-n", 2, "--budget",
                  30, "--value", tmp_path / "value", "--json")  # fmt: skip
    assert ran.code == 0 and len(ran.document["rows"]) == 2, ran.err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--reward", "qedd"], "did you mean 'qed'"),
        (["--reward", "qed", "--strength", 0], "strength must be positive and finite, got 0"),
        (["--reward", "qed", "-n", 0], "n must be at least 1, got 0"),
        (["--reward", "qed", "--fit-steps", 0], "fit_steps must be at least 1, got 0"),
        (["--reward", "logp"], "logp"),
        (["--reward", "qed", "--tokens-per-step", 0], "tokens_per_step"),
    ],
)
def test_a_wrong_value(scidiff, tiny_model, tmp_path, options, line):
    assert line in scidiff("value", tiny_model, *options, "-o", tmp_path / "value").one_line()
    assert not (tmp_path / "value").exists()


def test_a_value_over_a_file(scidiff, tiny_model, tmp_path):
    (tmp_path / "value").write_text("mine")
    said = scidiff("value", tiny_model, "--reward", "qed", "-o", tmp_path / "value").one_line()
    assert "it is a file, expected a folder" in said


@pytest.mark.parametrize("command", ["design", "value", "finetune"])
def test_a_reward_from_this_folder(scidiff, tiny_model, tmp_path, monkeypatch, command):
    module = f"rewards_of_{command}"
    (tmp_path / f"{module}.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    options = {"design": ["-n", 2, "--budget", 8], "value": ["-n", 8, "--fit-steps", 1],
               "finetune": ["--method", "policy", "--steps", 1, "--batch-size", 8]}[command]
    ran = scidiff(command, tiny_model, "--reward", f"{module}:Mine", *options, "-o", "run")
    assert ran.code == 0, ran.err
    assert (tmp_path / "run" / "scores.db").is_file()
