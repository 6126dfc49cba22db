"""`scidiff design`, `train`, `evaluate`, `likelihood`, `models`, `data`, `doctor`."""

import sys
from pathlib import Path

import pandas as pd
import pytest
from tiny_models import write_tiny_model

from scidiff.api import sources as models
from scidiff.api.entry import load

STRINGS = ["CCO", "CCN", "OCC", "CCCCF", "NCCO", "COC", "CNC", "CCOCC", "OCCN", "CCCN"]


@pytest.fixture
def molecules(tmp_path) -> Path:
    file = tmp_path / "mols.csv"
    file.write_text("".join(f"{line}\n" for line in ["smiles", *STRINGS]))
    return file


@pytest.mark.parametrize("method", ["svdd", "smc", "nested", "best-of-n"])
def test_design_shows_scores_ledger_and_certificate(scidiff, tiny_model, method):
    typed = ["design", tiny_model, "--reward", "qed", "--method", method, "-n", 3, "--budget", 60]
    told, again = scidiff(*typed, "--json").document, scidiff(*typed, "--json").document
    assert len(told["rows"]) == 3 and told["rows"] == again["rows"]
    shown = scidiff(*typed).out
    assert "objects asked" in shown and "log Z" in shown and "score" in shown
    assert told["summary"]["verdict"] in shown and told["summary"]["asked"] <= 60


def test_the_same_seed_writes_the_same_designs(scidiff, tiny_model, tmp_path):
    files = [tmp_path / name for name in ("a.csv", "b.csv", "c.csv")]
    for file, seed in zip(files, [4, 4, 5], strict=True):
        typed = ["design", tiny_model, "--reward", "qed", "-n", 4, "--budget", 40, "--seed", seed]
        assert scidiff(*typed, "-o", file).code == 0
    a, b, c = (f.read_bytes() for f in files)
    assert a == b != c


def test_a_reward_may_stand_in_the_current_folder(scidiff, tiny_model, tmp_path, monkeypatch):
    (tmp_path / "my_rewards_here.py").write_text(
        "def length(mols):\n    print('asked')\n    return [m.GetNumAtoms() for m in mols]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    typed = ["--reward", "my_rewards_here:length", "--floor", 0, "-n", 2, "--budget", 20]
    told = scidiff("design", tiny_model, *typed, "--json")
    assert len(told.document["rows"]) == 2 and "asked" in told.err


def test_train_then_sample_and_train_again_from_it(scidiff, molecules, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        f"""
        name = "mine"
        [data]
        source = "{molecules}"
        validation = 2
        [network]
        width = 32
        depth = 1
        heads = 2
        [[stages]]
        process = "masked"
        steps = 4
        batch_size = 4
        """
    )
    told = scidiff("train", recipe, "-o", tmp_path / "run", "--json").document
    folder = Path(told["model"])
    assert {"config.json", "model.safetensors", "README.md"} <= {p.name for p in folder.iterdir()}
    before = (folder / "model.safetensors").read_bytes()
    assert scidiff("sample", folder, "-n", 3, "--json").document["provenance"]["model"] == "mine"
    assert scidiff("train", recipe, "-o", tmp_path / "run").code == 0, "a finished run goes on"
    assert (folder / "model.safetensors").read_bytes() == before


def test_interrupted_training_says_how_to_go_on(scidiff, molecules, tmp_path, monkeypatch):
    import scidiff.api.train as fitting

    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "train", stop)
    stopped = scidiff("train", molecules, "-o", tmp_path / "run")
    assert stopped.code == 130
    assert f"{tmp_path / 'run'} holds the last checkpoint" in stopped.err


def test_evaluate_a_file_and_a_model(scidiff, tiny_model, molecules):
    told = scidiff("evaluate", molecules, "--no-fcd", "--json").document
    assert told["suite"] == "moses" and len(told["metrics"]) > 3
    shown = scidiff("evaluate", tiny_model, "-n", 40, "--no-fcd").out
    assert "valid" in shown


def test_evaluate_takes_a_training_set_and_a_reference(scidiff, molecules, tmp_path):
    file = tmp_path / "own.smi"
    file.write_text("CCO\nCCN\nCCCl\n\n")
    typed = ["evaluate", molecules, "--train", file, "--reference", file, "--no-fcd"]
    told = {m["name"]: m for m in scidiff(*typed, "--json").document["metrics"]}
    assert told["novelty"]["value"] == 6 / 8 and "own.smi" in told["novelty"]["note"]
    assert told["snn_own"]["method"] == "Student t"
    shown = scidiff(*typed, "--suite", "fragment").out
    assert "quality" in shown and "95 % intervals: Wilson" in shown


def test_likelihood_is_that_of_the_model(scidiff, molecules, tmp_path):
    model = write_tiny_model(tmp_path / "tiny", "autoregressive")
    told = scidiff("likelihood", model, molecules, "--json").document
    expected = load(model, device="cpu").log_likelihood(STRINGS)
    assert [r["log_likelihood"] for r in told["rows"]] == expected["log_likelihood"].tolist()
    assert {r["standard_error"] for r in told["rows"]} == {0.0}
    assert 0 < told["summary"]["nats a token"] < 10
    for file in (tmp_path / "out.csv", tmp_path / "out.CSV", tmp_path / "out.parquet"):
        assert scidiff("likelihood", model, molecules, "-o", file).code == 0
        read = pd.read_csv if file.suffix.lower() == ".csv" else pd.read_parquet
        assert read(file)["text"].tolist() == STRINGS


def test_models_list_and_info(scidiff, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "SHIPPED", tmp_path)
    assert scidiff("models", "list", "--json").document == {"models": []}
    write_tiny_model(tmp_path / "tiny", "block")
    (listed,) = scidiff("models", "list", "--json").document["models"]
    assert (listed["name"], listed["block size"]) == ("tiny", 4)
    assert "tiny" in scidiff("models", "list").out
    told = scidiff("models", "info", "tiny", "--json").document
    assert told["card"].startswith("# tiny-block") and told["config"]["domain"] == "smiles"
    assert "random weights" in scidiff("models", "info", "tiny").out


def test_models_push_names_the_page(scidiff, tiny_model, monkeypatch):
    from scidiff.training import hub

    asked: list[tuple[object, ...]] = []

    def push(folder: Path, uri: str, *, private: bool) -> str:
        asked.append((folder, uri, private))
        return "https://page"

    monkeypatch.setattr(hub, "push", push)
    for name in ("me/mine", "hf://me/mine"):
        told = scidiff("models", "push", tiny_model, name, "--private", "--json").document
        assert told["page"] == "https://page"
    assert asked == [(tiny_model, "hf://me/mine", True)] * 2


def test_data_list_and_info(scidiff):
    listed = scidiff("data", "list", "--json").document["datasets"]
    assert any("moses" in d["name"] for d in listed)
    assert all("licence" in d for d in listed)
    name = listed[0]["name"]
    assert scidiff("data", "info", name, "--json").document["name"] == name
    assert name in scidiff("data", "list").out and name in scidiff("data", "info", name).out


def test_data_get_says_where_the_files_are(scidiff):
    (file,) = scidiff("data", "get", "qm9", "--json").document["files"]
    assert Path(file).is_file() and file in scidiff("data", "get", "qm9").out


def test_doctor_names_versions_and_licences(scidiff):
    told = scidiff("doctor", "--json").document
    assert told["torch"]["version"] and any(p["licence"] for p in told["packages"])
    assert "rdkit" in scidiff("doctor").out


def test_likelihood_lists_what_it_cannot_read(scidiff, tmp_path):
    model = write_tiny_model(tmp_path / "tiny", "autoregressive")
    file = tmp_path / "some.csv"
    file.write_text("smiles,x\nCCO,1\nCCBr,2\n,3\nCCCCCCCCCCCCCCC,4\n")
    told = scidiff("likelihood", model, file, "--json").document
    assert [r["text"] for r in told["rows"]] == ["CCO"]
    reasons = {r["row"]: r["reason"] for r in told["rejects"]}
    assert set(reasons) == {3, 4, 5} and "'Br'" in reasons[3] and "at most 11" in reasons[5]
    assert "'Br'" in scidiff("likelihood", model, file).out
    file.write_text("smiles\nCCBr\n")
    assert "row 2: unknown token" in scidiff("likelihood", model, file).one_line()
