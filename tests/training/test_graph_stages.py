"""Recipes of graph SDE models: what they say, what is refused, and that they train."""

from dataclasses import dataclass, field

import pytest
import torch

from scidiff.core import ScidiffError
from scidiff.data.tokens import Vocabulary
from scidiff.networks.graph_score import graph_denoiser
from scidiff.processes.graph_sde import GraphSDE, Noise
from scidiff.training.bare import parse
from scidiff.training.config import TrainConfig
from scidiff.training.plan import Stage
from scidiff.training.sizes import GDSSSize, GraphScoreSize, NetworkSize, TokenTransformerSize
from scidiff.training.stages import build_network, encode, train_stages

GRAPHS = ["oo-", "oo-o.-", "oo-o--", "oo-o.-o-.-"] * 6
SDE = {"x": {"kind": "vp"}, "a": {"kind": "ve", "min": 0.2, "max": 1}}
STAGE = {"process": "graph_sde", "steps": 4, "sde": SDE}
SMALL = {
    "gdss": GDSSSize("gdss", hidden=8, depth_x=1, depth_a=2, attention_dim=4, heads=2),
    "graph_score": GraphScoreSize("graph_score", width=16, edge_width=8, depth=1, heads=2),
}


@dataclass(frozen=True)
class Toy:
    network: NetworkSize
    stages: list[Stage] = field(
        default_factory=lambda: [Stage("graph_sde", TRAINING, sde=GraphSDE())]
    )
    seed: int = 0


TRAINING = TrainConfig(steps=5, batch_size=8, precision="32-true", log_every=1)
DATA = encode(GRAPHS, Vocabulary.build(GRAPHS, "graph"), 4, 0)


def content(**changes):
    return {"name": "toy", "domain": "graph", "data": {"source": "toy.txt"},
            "network": {"kind": "gdss"}, "stages": [STAGE], **changes}  # fmt: skip


def test_a_recipe_says_network_and_noise():
    recipe = parse(content(network={"kind": "gdss", "hidden": 16, "features": 10}), "toy.toml")
    stage = recipe.stages[0]
    assert recipe.network == GDSSSize("gdss", hidden=16, features=10)
    assert stage.sde == GraphSDE(Noise("vp", 0.1, 1.0), Noise("ve", 0.2, 1.0))
    x, a = ({"kind": kind, "min": low, "max": 1.0} for kind, low in (("vp", 0.1), ("ve", 0.2)))
    kept = {"x": x, "a": a, "nodes": "types"}
    assert stage.spec == {"kind": "graph_sde", "block_size": None, "sde": kept}


def test_both_readers_agree():
    from scidiff.api.recipes import parse as full

    a, b = parse(content(), "toy.toml"), full(content(), "toy.toml")
    assert a.stages == b.stages and a.network == b.network


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"stages": [{**STAGE, "sde": {"y": 1}}]}, "stages.0.sde.y; "),
        ({"stages": [{**STAGE, "sde": {"x": {"kind": "vpp"}}}]}, "sde.x.kind must be one of vp"),
        ({"stages": [{**STAGE, "sde": {"x": {"kind": "ve", "min": 2}}}]}, "sigma_min < sigma_max"),
        ({"stages": [{"process": "graph_sde", "steps": 4}]}, "sde belongs to process"),
        ({"network": {"kind": "gdss", "widht": 3}}, "network.widht"),
    ],
)
def test_errors_name_the_key(changes, message):
    with pytest.raises(ScidiffError, match=message):
        parse(content(**changes), "toy.toml")


@pytest.mark.parametrize("kind", SMALL)
def test_a_network_is_trained_and_resumed_and_gives_a_denoiser(tmp_path, kind):
    plan = Toy(SMALL[kind])
    network = build_network(plan, DATA)
    before = [p.detach().clone() for p in network.parameters()]
    summary = train_stages(plan, network, DATA, tmp_path, "cpu")
    moved = [(a != b).any() for a, b in zip(before, network.parameters(), strict=True)]
    assert summary[0]["steps"] == 5 and sum(moved) > len(moved) / 2
    again = build_network(plan, DATA)
    train_stages(plan, again, DATA, tmp_path, "cpu")  # finished: the state is only read
    assert all(torch.equal(a, b) for a, b in
               zip(network.parameters(), again.parameters(), strict=True))  # fmt: skip
    denoiser = graph_denoiser(network, {"process": plan.stages[0].spec})
    assert [c.schedule for c in denoiser.components] == list(GraphSDE().schedules())


def test_a_process_the_network_does_not_know_is_refused():
    stages = [Stage("masked", TRAINING)]
    with pytest.raises(ValueError, match="'gdss' is trained by graph_sde, got process = 'masked'"):
        build_network(Toy(SMALL["gdss"], stages), DATA)
    with pytest.raises(ValueError, match="is trained by masked, block, autoregressive"):
        build_network(Toy(TokenTransformerSize()), DATA)
