"""Recipes: what is refused and how."""

import json
from pathlib import Path

import pytest

from scidiff.api.recipes import parse, read
from scidiff.api.settings import FlowBlockSettings, FlowSettings
from scidiff.core import ScidiffError

ROOT = Path(__file__).parents[2]
STAGE = {"process": "masked", "steps": 4}
AR = {"process": "autoregressive", "steps": 4}
BLOCK = {"process": "block", "block_size": 4, "steps": 4}
SDE = {"process": "graph_sde", "steps": 4, "sde": {"x": {"kind": "vp"}, "a": {"kind": "vp"}}}
FLOW = {"process": "flow", "steps": 4, "flow": {}}
GRAPH_BLOCKS = {"process": "graph_blocks", "steps": 4, "blocks": {}}


def content(**changes):
    return {"name": "toy", "data": {"source": "toy.smi"}, "stages": [STAGE], **changes}


@pytest.mark.parametrize("file", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda p: p.name)
def test_shipped_recipes_parse(file):
    recipe = read(file)
    width = getattr(recipe.network, "width", recipe.network.heads * 2)  # gdss splits elsewhere
    assert recipe.stages and width % (2 * recipe.network.heads) == 0


def test_defaults():
    recipe = parse(content(), "toy.toml")
    assert recipe.stages[0].training.steps == 4 and recipe.stages[0].training.lr == 3e-3
    assert recipe.stages[0].spec == {"kind": "masked", "block_size": None}
    assert recipe.stage_names == ["stage1-masked"]


def test_a_recipe_survives_its_own_dump():
    block = {"process": "block", "block_size": 2, "steps": 3, "lr": 0.5}
    recipe = parse(content(stages=[STAGE, block], sampling={"block_size": 2}), "toy.toml")
    assert parse(json.loads(recipe.model_dump_json()), "copy") == recipe


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seeed": 1}, "toy.toml: seeed: .*did you mean 'seed'"),
        ({"stagess": []}, "stagess: .*did you mean 'stages'"),
        ({"data": {"source": "a", "colum": "b"}}, "data.colum: .*did you mean 'column'"),
        ({"network": {"widht": 8}}, "network.widht: .*did you mean 'width'"),
        ({"stages": [{**STAGE, "warmupp": 3}]}, r"stages.0.warmupp: .*did you mean 'warmup'"),
        ({"stages": [{"proces": "masked", "steps": 4}]}, "proces: .*did you mean 'process'"),
        ({"sampling": {"temprature": 1.0}}, "sampling: .*temprature.*did you mean 'temperature'"),
        ({"sampling": {"temperature": "hot"}}, "sampling: .*temperature must be .*'hot'"),
        ({"sampling": {"steps": 9}}, "unknown sampling setting 'steps'; .* one of block_size"),
        ({"sampling": 3}, "sampling must be a table, got 3"),
        ({"stages": [SDE], "sampling": {"block_size": 4}}, "'block_size'; .* one of solver"),
        ({"stages": [FLOW], "sampling": {"temperature": 0.5}}, "'temperature'; .* one of steps"),
        ({"stages": [FLOW], "sampling": {"kernel": "flw"}}, "kernel 'flw'.* did you mean 'flow'"),
        ({"stages": [{**STAGE, "steps": "many"}]}, r"stages.0.steps: .*integer"),
        ({"stages": [{**STAGE, "steps": 0}]}, "training.steps must be at least 1, got 0"),
        ({"stages": [{**STAGE, "precision": "fp8"}]}, "stages.0.precision: .*bf16-mixed"),
        ({"stages": [{"process": "masked"}]}, "stages.0.steps"),
        ({"stages": [{**STAGE, "process": "maskd"}]}, "stages.0.process: .*'masked'"),
        ({"stages": [{**STAGE, "block_size": 4}]}, "block_size belongs to process = 'block'"),
        ({"stages": [{**STAGE, "process": "block"}]}, "block_size belongs to process = 'block'"),
        ({"stages": []}, "stages: .*at least 1"),
        ({"sampling": {"order": "best"}}, "order must be one of random, confidence"),
        ({"sampling": {"block_size": 4}}, "sampling.block_size must be left out"),
        ({"stages": [AR], "sampling": {"block_size": 4}}, "must be 1 where .* 'autoreg.*got 4"),
        ({"stages": [BLOCK], "sampling": {"block_size": 8}}, "in 1..4 where .* of 4, got 8"),
        ({"stages": [BLOCK], "sampling": {"block_size": 0}}, "in 1..4 where .* of 4, got 0"),
        ({"stages": [BLOCK], "sampling": {"block_size": None}}, "'block' of .* of 4, got None"),
        ({"stages": [AR], "sampling": {"block_size": None}}, "must be 1 .*'autoreg.*, got None"),
        ({"data": {"source": "a", "validation": -1}}, "data.validation must be at least 0"),
        ({"data": {"source": "a", "limit": 0}}, "data.limit must be at least 1, got 0"),
        ({"stages": [{**STAGE, "process": "block", "block_size": 0}]}, "at least 1, got 0"),
        ({"stages": [3]}, "stages.0"),
        ({"name": None}, "name: "),
    ],
)
def test_errors_are_one_line_and_name_the_key(changes, message):
    with pytest.raises(ScidiffError, match=message) as caught:
        parse(content(**changes), "toy.toml")
    assert "\n" not in str(caught.value)


def test_sampling_is_of_the_process_of_the_last_stage():
    assert parse(content(stages=[FLOW]), "toy.toml").sampling == FlowSettings()
    said = parse(content(stages=[STAGE, FLOW], sampling={"steps": 9, "eta": 2.0}), "toy.toml")
    assert said.sampling == FlowSettings(steps=9, eta=2.0)
    assert parse(json.loads(said.model_dump_json()), "copy") == said


def test_blocks_of_graphs_may_be_annealed_and_whole_graphs_not():
    said = {"sampling": {"steps": 9, "last_steps": 3}}
    recipe = parse(content(stages=[GRAPH_BLOCKS], **said), "toy.toml")
    assert recipe.sampling == FlowBlockSettings(steps=9, last_steps=3)
    assert parse(json.loads(recipe.model_dump_json()), "copy") == recipe
    with pytest.raises(ScidiffError, match="unknown sampling setting 'last_steps'"):
        parse(content(stages=[FLOW], **said), "toy.toml")
    with pytest.raises(ScidiffError, match=r"last_steps must be in 1 \.\. 2, .* got 3"):
        parse(content(stages=[GRAPH_BLOCKS], sampling={"steps": 2, "last_steps": 3}), "toy")


@pytest.mark.parametrize(
    "stages, said, expected",
    [
        ([AR], {}, (1, "sequential")),
        ([AR], {"temperature": 0.5}, (1, "sequential")),
        ([AR, BLOCK], {}, (4, "sequential")),
        ([BLOCK], {"order": "confidence"}, (4, "confidence")),
        ([BLOCK], {"block_size": 2}, (2, "sequential")),
        ([AR, STAGE], {}, (None, "random")),
    ],
)
def test_sampling_that_is_not_said_follows_from_the_last_stage(stages, said, expected):
    for given in ({"sampling": said}, {} if not said else {"sampling": said}):
        sampling = parse(content(stages=stages, **given), "toy.toml").sampling
        assert (sampling.block_size, sampling.order) == expected


def test_stage_settings_may_be_nested_but_not_lost():
    stage = {"process": "masked", "training": {"steps": 4, "lr": 0.5}, "clip": 2.0}
    training = parse(content(stages=[stage]), "toy.toml").stages[0].training
    assert (training.steps, training.lr, training.clip) == (4, 0.5, 2.0)


@pytest.mark.parametrize("text", ["name = ", "\xff"])
def test_unreadable_recipes(tmp_path, text):
    file = tmp_path / "bad.toml"
    with pytest.raises(ScidiffError, match="cannot read the recipe"):
        read(file)
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ScidiffError, match="cannot read the recipe"):
        read(file)
