"""Training from a recipe or a file: what comes out, what is refused, and what a kill costs."""

import json
import os
import random
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_models import SYMBOLS, write_tiny_model

import scidiff.api.train as fitting
from scidiff.api import recipe_defaults
from scidiff.api.entry import load
from scidiff.api.intake import Intake
from scidiff.api.recipe_defaults import choose_recipe
from scidiff.api.recipes import parse, read
from scidiff.api.train import sampled_like, so_far, train
from scidiff.chem.standardise import Standard
from scidiff.core import ScidiffError
from scidiff.domains.selfies import SelfiesDomain
from scidiff.domains.smiles import SmilesDomain
from scidiff.training.checkpoint import load_network, read_config

CHAINS = [f"C{'C' * n}{end}" for n in range(6) for end in ("O", "N", "F", "=O", "OC")]
RINGS = [f"c1ccccc1{s}{end}" for s in ("", "C", "CC", "O", "N") for end in ("O", "N", "CF")]
MOLECULES = [*CHAINS, *RINGS, *(f"CC(C){'C' * n}{e}" for n in range(5) for e in ("O", "N", "F"))]
BAD = {"C1CC": "ring", "C(C)(C)(C)(C)C": "valence", "hello": "SMILES"}

RECIPE = """
name = "toy"
seed = 3
domain = "{domain}"
[data]
source = "{source}"
validation = 6
{more}
[network]
width = 16
depth = 1
heads = 2
[[stages]]
process = "autoregressive"
steps = 6
batch_size = 16
precision = "32-true"
log_every = 1
checkpoint_every = 2
[[stages]]
process = "block"
block_size = 2
steps = 6
batch_size = 16
precision = "32-true"
log_every = 1
checkpoint_every = 2
[sampling]
block_size = 2
"""


@pytest.fixture
def molecules(tmp_path: Path) -> Path:
    """60 molecules that can be used and 3 rows that cannot."""
    rows = [*MOLECULES, *BAD]
    random.Random(0).shuffle(rows)
    file = tmp_path / "mols.csv"
    file.write_text("id,smiles\n" + "".join(f"{i},{s}\n" for i, s in enumerate(rows)))
    return file


def write_recipe(source: Path, domain: str = "smiles", more: str = "") -> Path:
    file = source.with_name(f"{domain}.toml")
    file.write_text(RECIPE.format(source=source, domain=domain, more=more))
    return file


def weights(folder: Path) -> list[torch.Tensor]:
    return list(load_network(folder, read_config(folder)).state_dict().values())


def equal(a: Path, b: Path) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


# ---------------------------------------------------------------- from a recipe


def test_a_file_of_molecules_becomes_a_model(molecules, tmp_path):
    assert len(MOLECULES) == len(set(MOLECULES)) == 60
    folder = train(write_recipe(molecules), tmp_path / "run", device="cpu")
    assert folder == tmp_path / "run" / "model"
    model = load(folder, device="cpu")
    assert (model.name, model.domain.name) == ("toy", "smiles")
    assert model.config["sampling"]["block_size"] == 2
    assert sum(model.config["length_counts"]) == 54
    assert len(model.sample(20)) == 20

    rejects = pd.read_csv(tmp_path / "run" / "rejects.csv")
    lines = molecules.read_text().splitlines()
    assert set(rejects["text"]) == set(BAD) and not rejects["kept"].any()
    for row in rejects.itertuples():
        assert lines[row.row - 1].endswith(f",{row.text}") and len(row.reason) > 5

    card = (folder / "README.md").read_text()
    assert "54 rows trained on, 6 held out, 3 rejected" in card
    assert "| seed | 3 |" in card and str(molecules) in card
    assert "nothing: trained from scratch" in card and "Memorisation" not in card
    count = sum(p.numel() for p in model.engine.network.parameters())
    assert f"| parameters | {count:,} |" in card
    assert "| autoregressive | 6 | 16 |" in card and "| block, blocks of 2 | 6 | 16 |" in card


def test_the_training_set_is_what_novelty_is_measured_against(molecules, tmp_path):
    model = load(train(write_recipe(molecules), tmp_path / "run", device="cpu"), device="cpu")
    state = model.domain.encode(["CCO", "CCCCCCCCC"])
    keys = [model.domain.key(r) for r in model.domain.decode(state)]
    known = [bool(k) for k in model.novelty.contains(keys)]
    assert known == ["CCO" in MOLECULES, False] and known[0]


@pytest.mark.parametrize("stop", [("stage1-autoregressive", 3), ("stage2-block", 5)])
def test_a_killed_run_ends_with_the_same_weights(molecules, tmp_path, stop):
    recipe = write_recipe(molecules)
    whole = train(recipe, tmp_path / "whole", device="cpu")

    def cut(stage, step, row):
        if (stage, step) == stop:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(recipe, tmp_path / "cut", device="cpu", on_log=cut)
    assert not (tmp_path / "cut" / "model").exists()
    seen = []
    again = train(recipe, tmp_path / "cut", device="cpu", on_log=lambda *row: seen.append(row))
    assert equal(whole, again) and seen and seen[0][1] > 1
    reseeded = recipe.with_name("reseeded.toml")
    reseeded.write_text(recipe.read_text().replace("seed = 3", "seed = 4"))
    assert not equal(whole, train(reseeded, tmp_path / "other", device="cpu"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stop", [("stage1-autoregressive", 3), ("stage2-block", 5)])
def test_what_a_signal_stops_is_a_model(molecules, tmp_path, stop, number):
    recipe, out = write_recipe(molecules), tmp_path / "cut"

    def cut(stage, step, row):
        if (stage, step) == stop:
            os.kill(os.getpid(), number)

    arrived = []
    before = signal.signal(number, lambda *told: arrived.append(sorted(out.rglob("model"))))
    try:
        train(recipe, out, device="cpu", on_log=cut)
    finally:
        signal.signal(number, before)
    stages = ["stage1-autoregressive", "stage2-block"][: int(stop[0][5])]
    assert arrived == [[out / stage / "model" for stage in stages]]  # written before it takes hold
    for stage, block in zip(stages, (1, 2), strict=False):
        model = load(out / stage / "model", device="cpu")
        assert model.config["sampling"]["block_size"] == block and len(model.sample(3)) == 3
    card = (out / stop[0] / "model" / "README.md").read_text()
    assert f"| {stop[1]} | 16 |" in card and card.count("| 16 |") == len(stages)
    whole = train(recipe, tmp_path / "whole", device="cpu")
    assert equal(whole, train(recipe, out, device="cpu"))


def test_chosen_noise_levels_stand_in_config_and_card(molecules, tmp_path):
    file = write_recipe(molecules)
    file.write_text(file.read_text().replace("block_size = 2\nsteps", "block_size = 2\n"
                                             'noise_range = "auto"\nsteps'))  # fmt: skip
    folder = train(file, tmp_path / "run")
    low, high = read_config(folder)["process"]["noise_range"]
    assert 0 <= low < high <= 1
    words = f"| block, blocks of 2, noise levels {low:g} to {high:g} (chosen) |"
    assert words in (folder / "README.md").read_text()
    assert read_config(folder)["recipe"]["stages"][1]["noise_range"] == "auto"
    assert len(load(folder, device="cpu").sample(2)) == 2


def test_selfies_are_trained_on_and_decoded(molecules, tmp_path):
    folder = train(write_recipe(molecules, "selfies"), tmp_path / "run", device="cpu")
    model = load(folder, device="cpu")
    assert model.config["vocabulary"]["notation"] == "selfies"
    assert "[C]" in model.engine.vocabulary.symbols
    drawn = model.sample(20)  # every SELFIES string but the empty one is a molecule
    assert 0 < drawn.valid.sum() and {r.text for r in drawn if not r.valid} <= {""}
    (key,) = (model.domain.key(r) for r in model.domain.decode(model.domain.encode(["CCO"])))
    assert model.novelty.contains([key])[0]


def test_standardisation_is_as_the_recipe_says(molecules, tmp_path):
    recipe = write_recipe(molecules, more="standardise = { salts = false, stereo = true }")
    card = train(recipe, tmp_path / "run", device="cpu") / "README.md"
    assert read(recipe).data.standardise == {"salts": False, "stereo": True}
    assert Standard(salts=False, stereo=True).describe() in card.read_text()
    wrong = write_recipe(molecules, more="standardise = { salt = true }")
    with pytest.raises(ScidiffError, match="data.standardise takes cleanup, salts.*got salt$"):
        train(wrong, tmp_path / "wrong", device="cpu")


def test_a_file_of_graphs_is_trained_as_graphs(tmp_path):
    file = tmp_path / "mine.g6"
    file.write_text("Bw\nCr\n")
    recipe = choose_recipe(file, None, None, None, 7, None)
    assert recipe.domain == "graph" and recipe.network.kind == "graph_transformer"
    assert [(s.process, s.training.steps) for s in recipe.stages] == [("masked", 7)]
    file = tmp_path / "mine.csv"
    file.write_text("smiles\nCC\n")
    assert choose_recipe(file, None, "molecule_graph", None, 7, None).sampling.block_size is None


def test_a_molecule_written_twice_is_taken_once():
    intake = Intake(Standard(), SmilesDomain)
    assert [intake(text) for text in ("CCO", "CCN")] == ["", ""]
    assert [intake(text) for text in ("OCC", "CCO", "CCO.Cl")] == [
        "repeats CCO, which stands above it"] * 3  # fmt: skip
    assert intake.taken == {"CCO": "CCO", "CCN": "CCN"}


def test_a_setting_that_the_source_cannot_follow_is_refused(molecules, tmp_path):
    part = write_recipe(molecules, more='split = "train"')
    with pytest.raises(ScidiffError, match="is a file, read whole: data.split cannot be given"):
        train(part, tmp_path / "part", device="cpu")
    salts = write_recipe(molecules, more='column = "smiles"\nstandardise = { salts = true }')
    salts.write_text(salts.read_text().replace(str(molecules), "qm9"))
    with pytest.raises(ScidiffError, match="qm9 is a data set.*: data.column, data.standardise"):
        train(salts, tmp_path / "salts", device="cpu")


# ---------------------------------------------------------------- which rows


def test_rows_are_brought_to_one_form():
    take = Intake(Standard(), SmilesDomain, longest=6)
    assert take("OCC") == "" and take("[Na+].CC(=O)[O-]") != ""  # CC(=O)O has 7 tokens
    assert take.taken == {"OCC": "CCO"}
    assert take("CCCCC") == "" and take("CCCCCC") == "has 6 tokens, the model takes at most 5"
    assert take("C1CC") and "C1CC" not in take.taken


def test_rows_that_selfies_cannot_hold_are_rejected():
    take = Intake(Standard(), SelfiesDomain)
    assert take("CCO") == "" and take.taken["CCO"] == "[C][C][O]"
    reason = take("FI(F)(F)(F)F")
    assert "cannot be written as SELFIES" in reason and "row 1" not in reason


def test_a_file_without_a_usable_row(tmp_path):
    file = tmp_path / "bad.csv"
    file.write_text("smiles\nC1CC\n")
    with pytest.raises(ScidiffError, match=r"no row can be used; see .*rejects.csv"):
        train(write_recipe(file), tmp_path / "run", device="cpu")
    assert "C1CC" in (tmp_path / "run" / "rejects.csv").read_text()


# ---------------------------------------------------------------- from a file, or from a model


def test_a_file_alone_gets_the_default_recipe(molecules):
    recipe = choose_recipe(molecules, None, None, "smiles", 40, None)
    assert [(s.process, s.training.steps) for s in recipe.stages] == [
        ("autoregressive", 40), ("block", 20)]  # fmt: skip
    assert (recipe.name, recipe.seed, recipe.domain) == ("mols", 0, "smiles")
    assert recipe.data.column == "smiles" and recipe.sampling.block_size == 4
    assert choose_recipe(molecules, None, None, None, None, 5).seed == 5
    assert choose_recipe(molecules, None, None, None, 1, None).stages[1].training.steps == 1


def test_the_default_recipe_trains(molecules, tmp_path, monkeypatch):
    def small(content, where):
        content["network"] = {"width": 16, "depth": 1, "heads": 2}
        return parse(content, where)

    parse = recipe_defaults.parse
    monkeypatch.setattr(recipe_defaults, "parse", small)
    folder = train(molecules, tmp_path / "run", steps=2, device="cpu")
    assert len(load(folder, device="cpu").sample(4)) == 4


def test_a_model_is_tuned_on_new_data(tiny_model, tmp_path, caplog):
    file = tmp_path / "new.smi"
    texts = [f"{'C' * n}S{'C' * m}" for n in range(1, 6) for m in range(1, 6)]
    file.write_text("\n".join([*texts, "C" * 12, "CCCl"]) + "\n")
    folder = train(file, tmp_path / "run", init=str(tiny_model), steps=4, device="cpu")
    config = json.loads((folder / "config.json").read_text())
    assert config["vocabulary"]["symbols"] == [*SYMBOLS, "Cl", "S"]
    stage = config["recipe"]["stages"][0]
    assert stage["process"] == "masked" and stage["training"]["patience"] == 5
    assert "1 rejected" in caplog.text or "1 problems" in caplog.text
    assert "has 12 tokens, the model takes at most 11" in (
        tmp_path / "run" / "rejects.csv").read_text()  # fmt: skip
    card = (folder / "README.md").read_text()
    assert f"| continued from | {tiny_model} |" in card and "1 rejected" in card
    assert "## Memorisation" in card and "training rows." in card
    model = load(folder, device="cpu")
    assert len(model.sample(5)) == 5
    with pytest.raises(ScidiffError, match="is a smiles model, got domain='selfies'"):
        choose_recipe(file, str(tiny_model), "selfies", None, None, None)


def test_a_model_goes_on_as_it_was_sampled_in_blocks_of_the_same_size(molecules, tmp_path):
    parent = write_tiny_model(tmp_path / "parent", "block")  # says blocks of 4, random order
    recipe = choose_recipe(molecules, str(parent), None, None, 4, None)
    assert (recipe.sampling.block_size, recipe.sampling.order) == (4, "random")
    for size, order in ((4, "random"), (2, "sequential")):
        stage = {"process": "block", "block_size": size, "steps": 4}
        content = {"name": "toy", "data": {"source": "a.smi"}, "stages": [stage]}
        told = sampled_like(parse(content, "toy"), read_config(parent)).sampling
        assert (told.block_size, told.order) == (size, order)


def test_the_model_of_a_stage_on_the_way_is_sampled_as_that_stage_is():
    stages = [{"process": "masked", "steps": 4}, {"process": "autoregressive", "steps": 4},
              {"process": "block", "block_size": 4, "steps": 4}]  # fmt: skip
    content = {"name": "toy", "data": {"source": "a.smi"}, "stages": stages}
    recipe = parse({**content, "sampling": {"block_size": 2, "temperature": 0.5}}, "toy")
    told = [so_far(recipe, n).sampling for n in (1, 2, 3)]
    assert [(s.block_size, s.order) for s in told] == [
        (None, "random"), (1, "sequential"), (2, "sequential")]  # fmt: skip
    assert {s.temperature for s in told} == {0.5}


def test_a_model_that_recites_is_said_to(tiny_model, tmp_path, caplog, monkeypatch):
    file = tmp_path / "new.smi"
    file.write_text("\n".join(["CCO", "CCN", "COC", "CCC"] * 5) + "\n")
    folder = train(file, tmp_path / "run", init=str(tiny_model), steps=2, device="cpu")
    drawn = load(folder, device="cpu").sample(fitting.MEMORY_SAMPLES)
    keys = {r.text for r in drawn if r.valid}
    data = type("Data", (), {"strings": sorted(keys)})()
    fitting.report_memory(folder, data, 0)
    card = (folder / "README.md").read_text()
    assert "100.0% of" in card and card.count("## Memorisation") == 1
    assert "the model recites its training set" in caplog.text


# ---------------------------------------------------------------- what is refused


def test_refusals(molecules, tmp_path, tiny_model, monkeypatch):
    recipe = write_recipe(molecules)
    with pytest.raises(ScidiffError, match=f"a recipe says steps, seed itself.* {recipe}"):
        train(recipe, tmp_path / "run", steps=5, seed=0)
    with pytest.raises(ScidiffError, match=r"no such file: .*none.csv; expected a recipe"):
        train(tmp_path / "none.csv", tmp_path / "run")
    with pytest.raises(ScidiffError, match="cannot read the recipe"):
        train(tmp_path / "none.toml", tmp_path / "run")
    for init in (None, str(tiny_model)):
        with pytest.raises(ScidiffError, match="training.steps must be at least 1, got 0"):
            train(molecules, tmp_path / "run", steps=0, init=init)
    with pytest.raises(ScidiffError, match="device must be cpu, cuda .*got 'gpu'"):
        train(recipe, tmp_path / "run", device="gpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ScidiffError, match="first GPU, got device 'cuda:1'.*VISIBLE_DEVICES=1"):
        train(recipe, tmp_path / "run", device="cuda:1")
    assert not (tmp_path / "run").exists()
