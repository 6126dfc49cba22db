"""What users get wrong ends in one line that names it, with exit code 2."""

import json
import pickle
from pathlib import Path

import pytest
from tiny_models import write_tiny_model

from scidiff.api import sources as models

CSV = "smiles,activity\nCCO,1\nCCN,2\nOCC,3\n"


@pytest.fixture
def copy(tmp_path) -> Path:
    """A model directory to be damaged."""
    return write_tiny_model(tmp_path / "copy")


@pytest.fixture
def molecules(tmp_path) -> Path:
    file = tmp_path / "mols.csv"
    file.write_text(CSV)
    return file


def test_an_unknown_model_lists_the_nearest(scidiff, monkeypatch, tmp_path):
    monkeypatch.setattr(models, "SHIPPED", tmp_path)
    for name in ("moses-smiles", "enhancers"):
        write_tiny_model(tmp_path / name)
    said = scidiff("sample", "moses-smile").one_line()
    assert "unknown model 'moses-smile'" in said and "nearest: moses-smiles" in said
    assert "enhancers, moses-smiles" in scidiff("models", "info", "xyz").one_line()


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_a_truncated_checkpoint(scidiff, copy, cut):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:cut])
    assert "corrupt or truncated" in scidiff("sample", copy).one_line()


def test_a_corrupt_checkpoint(scidiff, copy):
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "corrupt or truncated" in scidiff("sample", copy).one_line()


@pytest.mark.parametrize("content", ["{", "", "\0", '{"format": 1}', "[]"])
def test_a_damaged_config(scidiff, copy, content):
    (copy / "config.json").write_text(content)
    assert "config.json" in scidiff("sample", copy).one_line()


def test_a_folder_that_is_no_model(scidiff, tmp_path):
    assert "config.json is missing" in scidiff("sample", tmp_path).one_line()


class Bomb:
    """Says so if it is ever unpickled."""

    def __reduce__(self):
        return print, ("the pickle was executed",)


@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "model.ckpt", "pytorch_model.bin"])
def test_a_pickle_is_refused_unopened(scidiff, tmp_path, name):
    file = tmp_path / name
    file.write_bytes(pickle.dumps(Bomb()))
    said = scidiff("sample", file).one_line()
    assert "never opened" in said and name in said


def test_a_pickle_in_a_model_directory_is_refused(scidiff, copy):
    (copy / "model.safetensors").rename(copy / "model.pt")
    said = scidiff("sample", copy).one_line()
    assert "no model.safetensors" in said and "never opened" in said


def test_a_pickle_under_the_name_of_weights_is_refused(scidiff, copy):
    (copy / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    assert "corrupt or truncated" in scidiff("sample", copy).one_line()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--order", "randon"], "order must be one of random, confidence"),
        (["--block-size", 4], "block_size must be None"),
        (["--tokens-per-step", 0], "0"),
        (["--temperature", -1], "-1"),
        (["--dtype", "float16"], "dtype must be one of float32, bfloat16, got 'float16'"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "gpu"], "expected cpu, cuda, cuda:0, ..., got 'gpu'"),
    ],
)
def test_wrong_settings(scidiff, tiny_model, options, line):
    assert line in scidiff("sample", tiny_model, *options).one_line()


@pytest.mark.parametrize("typed", [["sample"], ["sample", "--prompt", "C"], ["infill", "C[*]O"],
                                   ["design", "--reward", "qed"]])
def test_a_file_that_rows_cannot_be_saved_to_is_told_before_they_are_drawn(
    scidiff, tiny_model, tmp_path, typed, monkeypatch
):
    from scidiff.api.model import Model

    for name in ("sample", "complete", "infill", "sampler"):
        monkeypatch.setattr(Model, name, lambda *a, **k: pytest.fail("rows were drawn"))
    for suffix in (".fasta", ".xyz"):  # a molecule that is written has no places
        out = tmp_path / f"rows{suffix}"
        said = scidiff(typed[0], tiny_model, *typed[1:], "-o", out).one_line()
        assert "expected a name that ends with .csv, .smi, .sdf, .parquet, .png, .html" in said


@pytest.mark.parametrize("pattern", ["CCO", "C[*]C[*]C", "CXe[*]C"])
def test_a_wrong_pattern(scidiff, tiny_model, pattern):
    said = scidiff("infill", tiny_model, pattern).one_line()
    assert "[*]" in said or "'X'" in said


def test_a_wrong_gap(scidiff, tiny_model):
    said = scidiff("infill", tiny_model, "C[*]", "--shortest", 5, "--longest", 2).one_line()
    assert "(5, 2)" in said


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--reward", "qedd"], "qed"),
        (["--reward", "0.7*qed +"], "0.7*qed +"),
        (["--reward", "__import__('os')"], "__import__"),
        (["--reward", "no_such_module:score"], "no_such_module"),
        (["--reward", "qed", "--method", "svd"], "did you mean 'svdd'"),
        (["--reward", "qed", "-n", 0], "at least 1, got 0"),
        (["--reward", "qed", "-n", 8, "--budget", 4], "at least 8, got 4"),
        (["--reward", "qed", "-o", "no/such/folder/x.csv"], "no/such/folder does not exist"),
        (["--reward", "qed", "-o", "hits.docx"], ".csv"),
        ([], "needs --reward"),
        (["--reward", "qed", "--resume"], "--resume goes on with a folder, got --out None"),
        (["--reward", "qed", "--window", 0.9, 0.2], "0 <= first < last <= 1, got (0.9, 0.2)"),
        (["--reward", "qed", "--memory", "scafold"], "did you mean 'scaffold'"),
        (["--reward", "qed", "--memory", "scaffold:"], "got '', expected what is written as"),
        (["--reward", "qed", "--memory", "edit:bucket=x"], "got 'bucket=x', expected what is"),
        (["--reward", "qed", "--memory", "edit:0.3"], "got '0.3', expected what is written as"),
        (["--reward", "qed", "--memory", "edit:buket=3"], "did you mean 'bucket'"),
        (["--reward", "qed", "--memory", "scaffold:as=resampling"], "nested, smc, fk"),
        (["--reward", "qed", "--method", "svdd", "--ess", 0.3], "nested, smc, fk do"),
        (["--reward", "qed", "--method", "smc", "--every", 0], "every must be at least 1, got 0"),
        (["--reward", "qed", "--screen", "sa"], "evolve takes no screen; svdd, nested"),
        (["--reward", "qed", "--max-seconds", 0], "limit of seconds must be positive"),
    ],
)
def test_a_wrong_design(scidiff, tiny_model, options, line):
    assert line in scidiff("design", tiny_model, *options).one_line()


@pytest.mark.parametrize("method", ["svdd", "smc", "nested"])
def test_a_deterministic_sampler_cannot_branch(scidiff, tiny_model, method):
    fixed = ["--temperature", 0, "--order", "confidence", "-n", 2, "--budget", 40]
    said = scidiff("design", tiny_model, "--reward", "qed", "--method", method, *fixed).one_line()
    assert "deterministic" in said and "temperature > 0" in said


@pytest.mark.parametrize("typed", [["evaluate"], ["likelihood", "MODEL"], ["train"]])
def test_a_file_that_cannot_be_read(scidiff, tiny_model, tmp_path, typed):
    out = ["--out", tmp_path / "run"] if typed[0] == "train" else []
    command = [tiny_model if t == "MODEL" else t for t in typed]
    for name, content in {
        "binary.csv": bytes(range(256)) * 8,
        "empty.csv": b"",
        "header.csv": b"smiles\n",
        "rows.docx": b"PK\x03\x04",
        "packed.csv.gz": b"not gzip",
        "broken.parquet": b"PAR1",
    }.items():
        (tmp_path / name).write_bytes(content)
        assert name in scidiff(*command, tmp_path / name, *out).one_line()
    if typed[0] != "evaluate":
        assert "missing.csv" in scidiff(*command, tmp_path / "missing.csv", *out).one_line()


def test_a_missing_column_lists_those_that_are_there(scidiff, tiny_model, molecules, tmp_path):
    for command in (["likelihood", tiny_model, molecules], ["train", molecules, "-o", tmp_path]):
        said = scidiff(*command, "--column", "smile").one_line()
        assert "'smile'" in said and "smiles, activity" in said


def test_a_token_that_the_model_lacks_is_named_with_its_row(scidiff, tiny_model, tmp_path):
    file = tmp_path / "mols.smi"
    file.write_text("CCO\nCCBr\n")
    (left,) = scidiff("likelihood", tiny_model, file, "--json").document["rejects"]
    assert left["row"] == 2 and "'Br'" in left["reason"]


def test_an_unknown_suite(scidiff, molecules):
    assert "moses" in scidiff("evaluate", molecules, "--suite", "mozes").one_line()


def test_an_unknown_suite_is_told_before_anything_is_drawn(scidiff, tiny_model, monkeypatch):
    monkeypatch.setattr("scidiff.api.model.Model.sample", lambda *a, **k: pytest.fail("drawn"))
    assert "moses" in scidiff("evaluate", tiny_model, "--suite", "mozes").one_line()
    said = scidiff("evaluate", tiny_model, "--suite", "dna").one_line()
    assert "kind sequence, got draws of tiny-masked of the kind molecule" in said


@pytest.mark.parametrize("name, kind, suites", [
    ("x.fasta", "sequence", "dna, peptide, rna"), ("x.fa.gz", "sequence", "dna, peptide, rna"),
    ("x.g6", "graph", "graph")])  # fmt: skip
def test_a_file_of_another_kind_is_not_read_as_invalid_molecules(
    scidiff, tmp_path, name, kind, suites
):
    (tmp_path / name).write_text("")
    said = scidiff("evaluate", tmp_path / name, "--suite", "fragment").one_line()
    assert f"of the kind {kind}; expected one of the suites {suites}" in said


RECIPE = """
name = "mine"
[data]
source = "mols.csv"
[[stages]]
process = "masked"
steps = 2
"""


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("steps = 2", "stepz = 2"), "did you mean 'steps'"),
        (("source", "sourc"), "did you mean 'source'"),
        (('"masked"', '"msked"'), "masked"),
        (("[data]", "[data"), "cannot read the recipe"),
    ],
)
def test_a_wrong_recipe(scidiff, tmp_path, change, line):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE.replace(*change))
    assert line in scidiff("train", recipe, "-o", tmp_path / "run").one_line()


def test_a_run_that_cannot_be_written(scidiff, tmp_path, molecules):
    for out in (molecules, molecules / "run"):
        assert "expected a folder" in scidiff("train", molecules, "-o", out).one_line()


def test_a_device_that_is_not_there(scidiff, molecules, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    said = scidiff("train", molecules, "-o", tmp_path / "run", "--device", "cuda").one_line()
    assert "torch sees no CUDA device" in said


def test_an_unknown_data_set(scidiff):
    for command in (["data", "info"], ["data", "get"]):
        assert "moses" in scidiff(*command, "mozes").one_line()


def test_pushing_something_that_is_no_model(scidiff, tmp_path, tiny_model):
    assert "config.json" in scidiff("models", "push", tmp_path, "me/mine").one_line()
    assert "hf://owner/name" in scidiff("models", "push", tiny_model, "mine").one_line()


def test_the_line_is_one_even_where_a_message_has_many(scidiff, copy):
    config = json.loads((copy / "config.json").read_text())
    config["network"]["config"]["width"] = 32
    (copy / "config.json").write_text(json.dumps(config))
    assert "do not fit" in scidiff("sample", copy).one_line()


def test_a_file_that_is_not_there_is_not_called_a_model(scidiff):
    assert scidiff("evaluate", "nofile.csv").one_line() == "no such file: nofile.csv"


def test_an_unbounded_reward_asks_for_the_option(scidiff):
    assert "--floor" in scidiff("design", "never-loaded", "--reward", "logp").one_line()


def test_a_misspelt_domain_ends_before_training(scidiff, molecules, tmp_path):
    out = tmp_path / "run"
    said = scidiff("train", molecules, "--domain", "smile", "--out", out).one_line()
    assert "'smile'" in said and "selfies" in said
    assert not out.exists()
