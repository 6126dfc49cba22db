"""Recipes of graphs in blocks: what they say, what is refused, and that they train and resume."""

import json

import pytest
import torch

from scidiff.core import ScidiffError
from scidiff.data.tokens import Vocabulary
from scidiff.processes.graph_blocks import TooMuchMemory
from scidiff.processes.tokens import GraphBlocks, TokenFlow
from scidiff.training.bare import parse
from scidiff.training.stages import build_network, encode, process_config, train_stages

GRAPHS = ["oo-", "oo-o.-", "oo-o--", "oo-o.-o-.-"] * 6
NETWORK = {"kind": "graph_blocks", "width": 16, "edge_width": 8, "depth": 1, "heads": 2}
BLOCKS = {"hops": 1, "mode": "sequential", "structure": 0.5, "flow": {"edge_weight": 2}}
STAGE = {"process": "graph_blocks", "steps": 5, "batch_size": 8, "precision": "32-true",
         "blocks": BLOCKS}  # fmt: skip
DATA = encode(GRAPHS, Vocabulary.build(GRAPHS, "graph"), 4, 0)


def content(network=NETWORK, stage=STAGE):
    return {"name": "toy", "domain": "graph", "data": {"source": "toy.txt"},
            "network": network, "stages": [stage]}  # fmt: skip


def test_both_readers_agree():
    from scidiff.api.recipes import parse as full

    a, b = parse(content(), "toy.toml"), full(content(), "toy.toml")
    assert a.stages == b.stages and a.network == b.network
    assert a.stages[0].blocks == GraphBlocks(1, "sequential", 0.5, None, TokenFlow(edge_weight=2))
    assert full(json.loads(b.model_dump_json()), "copy") == b


def test_the_config_of_a_model_holds_its_noise_and_how_graphs_begin():
    config = process_config(parse(content(), "toy.toml").stages[0], DATA)
    assert config["kind"] == "graph_blocks" and config["blocks"]["flow"]["noise"] == "marginal"
    assert torch.tensor(config["law"]).sum(1).tolist() == pytest.approx([1, 1])
    assert sum(config["first_sizes"]) == sum(config["block_counts"]) == len(DATA.train)
    assert json.loads(json.dumps(config)) == config


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_a_network_is_trained_and_resumed(tmp_path, mode):
    how = {"causal": True, "walks": 0} if mode == "parallel" else {}
    recipe = content({**NETWORK, **how}, {**STAGE, "blocks": {**BLOCKS, "mode": mode}})
    plan = parse(recipe, "toy.toml")
    network = build_network(plan, DATA)
    before = [p.detach().clone() for p in network.parameters()]
    summary = train_stages(plan, network, DATA, tmp_path, "cpu")
    moved = [(a != b).any() for a, b in zip(before, network.parameters(), strict=True)]
    assert summary[0]["steps"] == 5 and sum(moved) > len(moved) / 2
    again = build_network(plan, DATA)
    train_stages(plan, again, DATA, tmp_path, "cpu")  # finished: the state is only read
    assert all(torch.equal(a, b) for a, b in
               zip(network.parameters(), again.parameters(), strict=True))  # fmt: skip
    other = content({**NETWORK, **how}, {**STAGE, "blocks": {**BLOCKS, "mode": mode, "hops": 2}})
    with pytest.raises(ScidiffError, match="other settings .process"):
        train_stages(parse(other, "toy.toml"), again, DATA, tmp_path, "cpu")


def test_graphs_that_would_not_fit_are_refused_before_training(tmp_path):
    stage = {**STAGE, "blocks": {**BLOCKS, "memory_gb": 1e-5}}
    plan = parse(content(stage=stage), "toy.toml")
    with pytest.raises(TooMuchMemory, match="training of 8 graphs of 4 nodes takes about"):
        train_stages(plan, build_network(plan, DATA), DATA, tmp_path, "cpu")
    enough = build_network(plan, DATA).training_bytes(8, 4, False) / 1e9
    for hops, fits in ((1, False), (0, True)):  # one block has no copies, so nothing is doubled
        blocks = {"hops": hops, "mode": "parallel", "memory_gb": 1.5 * enough}
        network = {**NETWORK, "causal": True, "walks": 0}
        plan = parse(content(network, {**STAGE, "blocks": blocks}), "toy.toml")
        if fits:
            train_stages(plan, build_network(plan, DATA), DATA, tmp_path / "one", "cpu")
            continue
        with pytest.raises(TooMuchMemory, match="^parallel training .* or mode = 'sequential'"):
            train_stages(plan, build_network(plan, DATA), DATA, tmp_path / "two", "cpu")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"blocks": {"hop": 1}}, "blocks.hop; did you mean 'hops'|hop"),
        ({"blocks": {"mode": "both"}}, "mode"),
        ({"blocks": {"memory_gb": -1}}, "blocks.memory_gb must be positive, got -1"),
        ({"blocks": {"memory_gb": 0.0}}, "blocks.memory_gb must be positive, got 0"),
        ({"blocks": {"memory_gb": float("inf")}}, "memory_gb must be positive, got inf"),
        ({"blocks": {"flow": {"loss": "nelbo"}}}, "loss must be cross_entropy or steps"),
        ({"blocks": None}, "blocks belongs to process = 'graph_blocks'"),
    ],
)
def test_errors_name_the_key(changes, message):
    stage = {k: v for k, v in {**STAGE, **changes}.items() if v is not None}
    with pytest.raises(ScidiffError, match=message):
        parse(content(stage=stage), "toy.toml")


def test_all_blocks_at_once_need_a_causal_network():
    plan = parse(content(stage={**STAGE, "blocks": {"hops": 1}}), "toy.toml")
    with pytest.raises(ValueError, match="blocks.mode = 'parallel' needs network.causal = true"):
        build_network(plan, DATA)
    one = parse(content(stage={**STAGE, "blocks": {"hops": 0}}), "toy.toml")
    build_network(one, DATA)
    wrong = parse(content({**NETWORK, "kind": "graph_transformer"}), "toy.toml")
    with pytest.raises(ValueError, match="is trained by masked, flow, got process = 'graph_b"):
        build_network(wrong, DATA)
