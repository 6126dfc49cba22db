"""Values that are learned once and look ahead in designs."""

import json

import pytest
from odd_rewards import Elsewhere
from tiny_graphs import write_graph_sde
from tiny_models import write_tiny_model

import scidiff as sd
from scidiff.api.entry import load
from scidiff.api.methods import METHODS
from scidiff.api.plans import planned
from scidiff.core import ScidiffError
from scidiff.training.checkpoint import CheckpointError

HOW = dict(n=3, budget=60, seed=1, strength=8.0)


class Atoms:
    """Heavy atoms / 10; counts the objects it is asked for."""

    floor, name, version = 0.0, "atoms", "1"

    def __init__(self):
        self.seen = 0

    def __call__(self, mols):
        self.seen += len(mols)
        return [m.GetNumAtoms() / 10 for m in mols]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("values")
    seeds = {"masked": 0, "block": 1}
    models = {k: load(write_tiny_model(folder / k, k, seed)) for k, seed in seeds.items()}
    for kind in models:
        out = folder / f"{kind}-value"
        sd.fit_value(models[kind], Atoms(), out, 64, strength=8.0, fit_steps=20)
    return models, folder


@pytest.mark.parametrize("kind", ["masked", "block"])
@pytest.mark.parametrize("method", ["svdd", "smc", "nested", "beam"])
def test_a_value_looks_ahead_and_the_reward_is_asked_at_the_end(made, kind, method):
    models, folder = made
    how = {**HOW, "method": method, "value": folder / f"{kind}-value"}
    hits = sd.design(models[kind], Atoms(), **how)
    plan = hits.provenance["design"]
    assert hits.ledger.asked <= 3 * plan["particles"] * plan["branch"]
    assert len(hits) == 3 and plan["value"]
    assert 15 < plan["particles"] * plan["branch"] <= 20  # of 60 calls, none on the way
    assert hits.to_frame().equals(sd.design(models[kind], Atoms(), **how).to_frame())


@pytest.mark.parametrize(("method", "shape", "sizes"), [
    ("svdd", {}, (1, 30)), ("smc", {}, (30, 1)), ("nested", {}, (5, 6)),
    ("nested", {"particles": 10}, (10, 3)), ("nested", {"branch": 4}, (7, 4)),
    ("smc", {"particles": 12, "every": 2}, (12, 1))])
def test_all_calls_are_there_for_the_end(method, shape, sizes):
    how = METHODS[method]
    plan = planned(how.plan, how.shape, 30, shape, 8, free=True)
    assert (plan.particles, plan.branch) == sizes and plan.looks >= 1
    with pytest.raises(ValueError, match="ask 40 objects at the end: .* at least 40, got 30"):
        planned(how.plan, how.shape, 30, {"particles": 40, "branch": 1}, 8, free=True)


def test_why_nothing_can_be_learned_is_said(tmp_path):
    def broken(mols):
        raise OSError("no licence")

    broken.floor = 0.0
    always_valid = {"notation": "smiles", "symbols": ["C", "N", "O", "S"]}
    model = load(write_tiny_model(tmp_path / "model", vocabulary=always_valid))
    with pytest.raises(ValueError, match="none of 6 runs: .*; the first reason: OSError: no lic"):
        sd.fit_value(model, broken, tmp_path / "v", 6)


def test_a_value_of_graphs(tmp_path):
    model, reward = load(write_graph_sde(tmp_path / "sde")), Atoms()
    sd.fit_value(model, reward, tmp_path / "value", 32, strength=8.0, fit_steps=5, nodes=3)
    hits = sd.design(model, reward, **HOW, method="smc", value=tmp_path / "value", nodes=3)
    assert len(hits) == 3


def test_what_was_answered_is_not_asked_again(made, tmp_path):
    models, _ = made
    reward, out = Atoms(), tmp_path / "value"
    how = dict(n=32, strength=8.0, fit_steps=3)
    sd.fit_value(models["masked"], reward, out, **how)
    weights, asked = (out / "model.safetensors").read_bytes(), reward.seen
    (out / "model.safetensors").unlink()  # as a run that was killed while it learned
    sd.fit_value(models["masked"], reward, out, **how)
    assert 0 < asked == reward.seen and (out / "model.safetensors").read_bytes() == weights
    sd.fit_value(models["masked"], reward, tmp_path / "other", cache=out / "scores.db", **how)
    assert asked == reward.seen and not (tmp_path / "other" / "scores.db").exists()


def test_a_value_is_asked_in_processes(made, tmp_path):
    models, _ = made
    found = []
    for reward, workers in ((Atoms(), 1), (Elsewhere(), 2)):
        out = tmp_path / f"{workers}"
        sd.fit_value(models["masked"], reward, out, 32, fit_steps=3, workers=workers)
        found.append((out / "model.safetensors").read_bytes())
    assert found[0] == found[1]


def test_steps_are_those_of_the_model(tmp_path):
    model = load(write_graph_sde(tmp_path / "sde"))
    value = sd.fit_value(model, Atoms(), tmp_path / "value", 16, fit_steps=2, steps=7, nodes=3)
    assert value.network.config.num_steps == 7


def test_a_value_says_what_it_is_of(made):
    models, folder = made
    told = json.loads((folder / "masked-value" / "config.json").read_text())["value"]
    assert told["model"] == "tiny-masked" and told["reward"] == "atoms" and told["n"] == 64
    assert told["model_sha256"] == models["masked"].config["sha256"]


@pytest.mark.parametrize(("kind", "value", "how", "said"), [
    ("block", "masked-value", {}, "holds a value of model tiny-masked, got tiny-block"),
    ("masked", "masked-value", {"tokens_per_step": 3}, "of a chain of 6 steps, got one of 2"),
    ("masked", "masked-value", {"method": "evolve"}, "evolve takes no value; svdd, nested"),
    ("masked", "masked-value", {"memory": {"as": "resampling"}}, "give one of the two"),
    ("masked", "masked", {}, "holds a model of domain 'smiles', expected a value"),
    ("masked", "nowhere", {}, "nowhere"),
])
def test_wrong_values_are_told(made, kind, value, how, said):
    models, folder = made
    with pytest.raises((ScidiffError, ValueError), match=said):
        how = {**HOW, "method": "smc", "value": folder / value, **how}
        sd.design(models[kind], Atoms(), **how)


def test_a_damaged_value_is_told(made, tmp_path):
    models, _ = made
    sd.fit_value(models["masked"], Atoms(), tmp_path / "value", 16, strength=8.0, fit_steps=2)
    file = tmp_path / "value" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"abcd")
    with pytest.raises(CheckpointError, match="value"):
        sd.design(models["masked"], Atoms(), **HOW, method="smc", value=tmp_path / "value")


@pytest.mark.parametrize(("changes", "said"), [
    ({"strength": 0.0}, "strength must be positive and finite, got 0"),
    ({"n": 0}, "n must be at least 1, got 0"),
    ({"fit_steps": 0}, "fit_steps must be at least 1, got 0"),
    ({"reward": "gc"}, "scores dna or rna, and the model writes molecule"),
    ({"strenght": 1.0}, "unknown argument 'strenght'; did you mean 'strength'"),
    ({"tokens_pre_step": 1}, "unknown sampling setting 'tokens_pre_step'; .* 'tokens_per_step'"),
])
def test_wrong_fits_are_told(made, tmp_path, changes, said):
    models, _ = made
    reward = Atoms()
    with pytest.raises((ScidiffError, ValueError), match=said):
        sd.fit_value(models["masked"], out=tmp_path / "v",
                     **{"n": 8, "reward": reward, **changes})
    assert not (tmp_path / "v").exists() and not reward.seen
