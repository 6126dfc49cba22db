"""`scidiff finetune`."""

import pytest

from scidiff.api.model import Model


@pytest.fixture
def pool(tmp_path):
    file = tmp_path / "pool.csv"
    file.write_text("smiles,score\nCCO,1\nCCN,0\nCOC,1\nCCC,0.5\n")
    return file


def test_a_pool_becomes_a_model(scidiff, tiny_model, pool, tmp_path):
    ran = scidiff("finetune", tiny_model, pool, "-o", tmp_path / "run", "--steps", 2,
                  "--method", "weighted", "--json")  # fmt: skip
    assert ran.code == 0, ran.err
    folder = tmp_path / "run" / "model"
    assert ran.document == {"model": str(folder)}
    tuned = Model(folder, device="cpu").config["finetuned"]
    assert (tuned["method"], tuned["steps"], tuned["objects"]) == ("weighted", 2, 4)


def test_a_reward_becomes_a_model(scidiff, tiny_model, tmp_path):
    ran = scidiff("finetune", tiny_model, "-o", tmp_path / "run", "--steps", 1, "--batch-size", 8,
                  "--method", "policy", "--reward", "qed", "--strength", 3)  # fmt: skip
    assert ran.code == 0, ran.err
    assert "run/model" in "".join(ran.out.split())


@pytest.mark.parametrize(
    "words, message",
    [
        (["--method", "grup"], "unknown method 'grup'"),
        (["--score", "qed"], "it has no column 'qed'"),
        (["--column", "smile"], "did you mean 'smiles'"),
        (["--steps", "0"], "training.steps must be at least 1"),
        (["--strength", "0"], "strength must be finite and positive"),
    ],
    ids=["method", "score", "column", "steps", "strength"],
)
def test_bad_input_is_one_line(scidiff, tiny_model, pool, tmp_path, words, message):
    ran = scidiff("finetune", tiny_model, pool, "-o", tmp_path / "run", *words)
    assert message in ran.one_line()


def test_a_pool_that_is_not_there_is_one_line(scidiff, tiny_model, tmp_path):
    ran = scidiff("finetune", tiny_model, tmp_path / "none.csv", "-o", tmp_path / "run")
    assert "none.csv" in ran.one_line()
