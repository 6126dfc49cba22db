"""Recipes of discrete flow: what they say, what is refused, and that they train and load."""

import json

import pytest
import torch

from scidiff.core import ScidiffError
from scidiff.data.tokens import Vocabulary
from scidiff.processes.tokens import TokenFlow
from scidiff.training.bare import parse
from scidiff.training.stages import build_network, encode, process_config, train_stages

GRAPHS = ["oo-", "oo-o.-", "oo-o--", "oo-o.-o-.-"] * 6
NETWORK = {"kind": "graph_transformer", "time": True, "width": 16, "edge_width": 8, "depth": 1,
           "heads": 2}  # fmt: skip
STAGE = {"process": "flow", "steps": 5, "batch_size": 8, "precision": "32-true",
         "flow": {"noise": "uniform", "edge_weight": 2}}  # fmt: skip
DATA = encode(GRAPHS, Vocabulary.build(GRAPHS, "graph"), 4, 0)


def content(**changes):
    return {"name": "toy", "domain": "graph", "data": {"source": "toy.txt"},
            "network": NETWORK, "stages": [STAGE], **changes}  # fmt: skip


def test_both_readers_agree():
    from scidiff.api.recipes import parse as full

    a, b = parse(content(), "toy.toml"), full(content(), "toy.toml")
    assert a.stages == b.stages and a.network == b.network
    assert a.stages[0].flow == TokenFlow("uniform", "polydec", 2.0)
    assert full(json.loads(b.model_dump_json()), "copy") == b


def test_the_config_of_a_model_holds_its_noise():
    stage = parse(content(stages=[{**STAGE, "flow": {}}]), "toy.toml").stages[0]
    config = process_config(stage, DATA)
    flow = {"noise": "marginal", "distortion": "polydec", "edge_weight": 5.0,
            "loss": "cross_entropy", "steps": None}  # fmt: skip
    assert (config["kind"], config["flow"]) == ("flow", flow)
    assert torch.tensor(config["law"]).sum(1).tolist() == pytest.approx([1, 1])
    assert json.loads(json.dumps(config)) == config
    masked = parse(content(stages=[{"process": "masked", "steps": 1}]), "toy.toml").stages[0]
    assert process_config(masked, DATA) == {"kind": "masked", "block_size": None}


def test_a_network_is_trained_and_resumed(tmp_path):
    plan = parse(content(), "toy.toml")
    network = build_network(plan, DATA)
    before = [p.detach().clone() for p in network.parameters()]
    summary = train_stages(plan, network, DATA, tmp_path, "cpu")
    moved = [(a != b).any() for a, b in zip(before, network.parameters(), strict=True)]
    assert summary[0]["steps"] == 5 and sum(moved) > len(moved) / 2
    again = build_network(plan, DATA)
    train_stages(plan, again, DATA, tmp_path, "cpu")  # finished: the state is only read
    assert all(torch.equal(a, b) for a, b in
               zip(network.parameters(), again.parameters(), strict=True))  # fmt: skip
    other = parse(content(stages=[{**STAGE, "flow": {"noise": "absorbing"}}]), "toy.toml")
    with pytest.raises(ScidiffError, match="other settings .process"):
        train_stages(other, again, DATA, tmp_path, "cpu")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"stages": [{**STAGE, "flow": {"nois": "uniform"}}]}, "flow.nois; did you mean 'noise'"),
        ({"stages": [{**STAGE, "flow": {"noise": "gauss"}}]}, "noise must be one of marginal"),
        ({"stages": [{**STAGE, "flow": {"distortion": "cosine"}}]}, "distortion must be one of"),
        ({"stages": [{"process": "flow", "steps": 4}]}, "flow belongs to process = 'flow'"),
    ],
)
def test_errors_name_the_key(changes, message):
    with pytest.raises(ScidiffError, match=message):
        parse(content(**changes), "toy.toml")


def test_a_flow_needs_a_network_that_reads_the_time_and_masks_one_that_does_not():
    blind = parse(content(network={**NETWORK, "time": False}), "toy.toml")
    with pytest.raises(ValueError, match="network.time must be True .* 'flow', got False"):
        build_network(blind, DATA)
    masked = {"process": "masked", "steps": 1}
    with pytest.raises(ValueError, match="network.time must be False .* 'masked', got True"):
        build_network(parse(content(stages=[masked]), "toy.toml"), DATA)
    with pytest.raises(ValueError, match="network.time must be True .*, got False"):
        build_network(parse(content(network={}), "toy.toml"), DATA)


@pytest.mark.parametrize("kind", ["flow", "sde"])
def test_a_trained_recipe_loads_samples_and_is_continued(tmp_path, kind):
    import scidiff as sd

    smiles = ["CCO", "CCN", "CC=O", "CNC", "COC", "CCC", "C1CC1", "NCC=O"]
    (tmp_path / "toy.smi").write_text("\n".join(smiles) + "\n")
    flow = 'kind = "graph_transformer"\ntime = true\nwidth = 16\nedge_width = 8'
    sde = 'kind = "gdss"\nhidden = 8\ndepth_x = 1\ndepth_a = 2\nattention_dim = 4'
    stage = 'process = "flow"\nflow = {}' if kind == "flow" else 'process = "graph_sde"\nsde = {}'
    (tmp_path / "toy.toml").write_text(
        f'name = "toy"\ndomain = "molecule_graph"\n[data]\nsource = "{tmp_path}/toy.smi"\n'
        f"validation = 0\n[network]\nheads = 2\n{flow if kind == 'flow' else sde}\n[[stages]]\n"
        f'{stage}\nsteps = 2\nprecision = "32-true"\n'
    )
    folder = sd.train(tmp_path / "toy.toml", tmp_path / "run", device="cpu")
    model = sd.load(folder, device="cpu")
    drawn = model.sample(5, steps=2)
    assert len(drawn) == 5 and model.config["sampling"] == {}
    if kind == "flow":
        law = torch.tensor(model.config["process"]["law"])
        assert law[0, model.engine.vocabulary.encode("C")[0]] == pytest.approx(0.69, abs=0.05)
    more = sd.train(tmp_path / "toy.smi", tmp_path / "more", init=str(folder), steps=1,
                    device="cpu")  # fmt: skip
    assert sd.load(more, device="cpu").config["process"] == model.config["process"]
