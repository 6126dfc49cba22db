"""Training without RDKit and pydantic, and the model directory that is made elsewhere."""

import gzip
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from scidiff.core import ScidiffError
from scidiff.training.bare import BareRecipe, Sampling, main, parse, read_recipe, read_strings
from scidiff.training.plan import STEPPED

ROOT = Path(__file__).parents[2]
STAGE = {"process": "masked", "steps": 4}
AR = {"process": "autoregressive", "steps": 4}
BLOCK = {"process": "block", "block_size": 4, "steps": 4}
RECIPE = """
name = "toy"
[data]
source = "SOURCE"
validation = 8
limit = 40
[network]
width = 16
depth = 1
heads = 2
[[stages]]
process = "autoregressive"
steps = 3
batch_size = 8
precision = "32-true"
[[stages]]
process = "block"
block_size = 2
steps = 3
batch_size = 8
precision = "32-true"
[sampling]
block_size = 2
"""
BARE = """
import sys
absent = {"rdkit", "pydantic", "typer", "click", "rich", "pandas", "pyarrow", "matplotlib"}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is absent on this machine", name=name)
import torch, lightning.fabric
for known in [n for n in sys.modules if n.split(".")[0] in absent]:
    sys.modules.pop(known)
sys.meta_path.insert(0, Absent())
torch.set_num_threads(1)
from scidiff.training.bare import main
main(sys.argv[1:])
assert not absent & set(sys.modules)
"""


def content(**changes):
    return {"name": "toy", "data": {"source": "toy.smi"}, "stages": [STAGE], **changes}


def test_trained_bare_and_finished_elsewhere(tmp_path):
    import scidiff as sd

    strings = ["C" * (n // 4 + 1) + "NOFS"[n % 4] for n in range(50)]  # standard as they are
    (tmp_path / "toy.smi").write_text("\n".join(strings) + "\n")
    recipe = RECIPE.replace("SOURCE", str(tmp_path / "toy.smi"))
    (tmp_path / "toy.toml").write_text(recipe)
    with gzip.open(tmp_path / "rows.txt.gz", "wt") as file:
        file.writelines(f"{text}\n" for text in strings)
    paths = [str(tmp_path / name) for name in ("toy.toml", "rows.txt.gz", "run")]
    command = [sys.executable, "-c", BARE, *paths[:2], "--out", paths[2], "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
    assert "stage2-block  step 3  validation" in done.stdout
    logged = []
    model = sd.train(paths[0], paths[2], device="cpu", on_log=lambda *row: logged.append(row))
    assert not logged  # nothing was trained anew
    assert sum(sd.load(model).config["length_counts"]) == 32
    assert "32 rows trained on, 8 held out" in (model / "README.md").read_text()
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("\n".join(strings[::-1]))
    with pytest.raises(SystemExit, match="error: .*run was started on other rows"):
        main([paths[0], str(wrong), "--out", paths[2], "--device", "cpu"])


@pytest.mark.parametrize("file", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda p: p.name)
def test_shipped_recipes_say_the_same_to_both_readers(file):
    from scidiff.api import recipes

    full = recipes.read(file)
    if full.init is not None:
        with pytest.raises(ScidiffError, match="continued by scidiff train only"):
            read_recipe(file)
        return
    bare = read_recipe(file)
    for name in ("data", "network", "stages", "seed", "domain", "store"):
        assert getattr(bare, name) == getattr(full, name)
    if bare.stages[-1].process not in STEPPED:  # others are sampled in ways of their own
        assert vars(bare.sampling) == vars(full.sampling)


def test_both_readers_know_the_same_keys():
    from scidiff.api import recipes
    from scidiff.api.settings import TokenSettings

    assert {f.name for f in fields(BareRecipe)} == set(recipes.Recipe.model_fields)
    assert parse(content(), "toy").sampling == Sampling(**vars(TokenSettings()))
    for stage in (AR, BLOCK):  # what is not said follows from the last stage
        for said in ({}, {"temperature": 0.5}, {"block_size": 1}, {"order": "random"}):
            both = content(stages=[stage], sampling=said)
            full = recipes.parse(both, "toy").sampling
            assert vars(parse(both, "toy").sampling) == vars(full)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seeed": 1}, "toy.toml: unknown key seeed; did you mean 'seed'"),
        ({"data": {"source": "a", "colum": "b"}}, "key data.colum; did you mean 'column'"),
        ({"network": {"widht": 8}}, "network.widht; did you mean 'width'"),
        ({"stages": [{**STAGE, "warmupp": 3}]}, r"stages.0.warmupp; did you mean 'warmup'"),
        ({"sampling": {"temprature": 1.0}}, "temprature; did you mean 'temperature'"),
        ({"stages": [{**STAGE, "steps": "many"}]}, "steps must be an integer, got 'many'"),
        ({"stages": [{**STAGE, "steps": 4.5}]}, r"stages.0.steps must be an integer, got 4.5"),
        ({"stages": [{**STAGE, "steps": True}]}, r"stages.0.steps must be an integer, got True"),
        ({"stages": [{**STAGE, "steps": 0}]}, "stages.0: training.steps must be at least 1"),
        ({"stages": [{**STAGE, "compile": 1}]}, "stages.0.compile must be true or false, got 1"),
        ({"stages": [{"process": "masked"}]}, "stages.0.steps is missing"),
        ({"stages": [{**STAGE, "process": "maskd"}]}, "process must be one of masked, block"),
        ({"stages": [{**STAGE, "block_size": 4}]}, "block_size belongs to process = 'block'"),
        ({"stages": {}}, "stages must be a list, got"),
        ({"stages": []}, "at least 1 stage"),
        ({"stages": [3]}, "stages.0 must be a table, got 3"),
        ({"data": {"source": "a", "validation": -1}}, "data.validation must be at least 0"),
        ({"data": {"source": "a", "standardise": {"x": 1}}}, "data.standardise.x must be true"),
        ({"sampling": {"block_size": 4}}, "sampling.block_size must be left out"),
        ({"stages": [AR], "sampling": {"block_size": 4}}, "must be 1 where .* 'autoreg.*got 4"),
        ({"stages": [BLOCK], "sampling": {"block_size": 8}}, "in 1..4 where .* of 4, got 8"),
        ({"stages": [BLOCK], "sampling": {"block_size": 0}}, "in 1..4 where .* of 4, got 0"),
        ({"name": 3}, "name must be a text, got 3"),
        ({"init": "moses-smiles"}, "continued by scidiff train only, got init='moses-smiles'"),
    ],
)
def test_errors_are_one_line_and_name_the_key(changes, message):
    with pytest.raises(ScidiffError, match=message) as caught:
        parse(content(**changes), "toy.toml")
    assert "\n" not in str(caught.value)


def test_numbers_are_read_as_pydantic_reads_them():
    training = parse(content(stages=[{**STAGE, "steps": 3e4, "lr": 1}]), "toy").stages[0].training
    assert (training.steps, training.lr) == (30000, 1.0)
    assert isinstance(training.steps, int) and isinstance(training.lr, float)


def test_unreadable_files(tmp_path):
    file = tmp_path / "rows.txt.gz"
    file.write_bytes(b"CCO\n")
    with pytest.raises(ScidiffError, match="cannot read the strings .*rows.txt.gz"):
        read_strings(file)
    with pytest.raises(ScidiffError, match="cannot read the recipe .*none.toml"):
        read_recipe(tmp_path / "none.toml")
    plain = tmp_path / "rows.txt"
    plain.write_text("CCO\n\nC")
    with pytest.raises(ScidiffError, match="line 2 is empty"):
        read_strings(plain)
    plain.write_text("CCO\n C")
    assert read_strings(plain) == ["CCO", " C"]
