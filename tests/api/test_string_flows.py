"""Discrete flow on strings, from a recipe to samples, infillings and likelihoods."""

from dataclasses import asdict

import pytest
import torch

import scidiff as sd
from scidiff.api.requests import LikelihoodRequest
from scidiff.api.token_bounds import length_log_prob
from scidiff.core import ScidiffError, seeded
from scidiff.data.tokens import TokenState, Vocabulary, encode_rows
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.processes.discrete_flow import eligible
from scidiff.processes.flow_bounds import JumpBound, StepBound
from scidiff.processes.tokens import TokenFlow
from scidiff.samplers.discrete_flow import EulerJumps
from scidiff.training.checkpoint import CheckpointError, save_model

SYMBOLS = ("C", "N", "O", "F")
VOCABULARY = Vocabulary(SYMBOLS)
LENGTH = 12
TEXTS = ["CCO", "CC", "NCCOF", "OCC"]


def write(folder, flow, conditions=(), **changes):
    torch.manual_seed(0)
    standard = tuple((0.0, 1.0) for _ in conditions)
    network = TokenTransformer(
        TokenTransformerConfig(
            len(VOCABULARY), LENGTH, width=32, depth=1, heads=2, time=True, conditions=standard
        )
    )
    for p in network.parameters():
        if p.ndim == 2:
            torch.nn.init.normal_(p, std=0.3)
    law = flow.law(VOCABULARY, encode_rows(VOCABULARY, TEXTS, LENGTH)).laws.tolist()
    config = {
        "name": "tiny-flow", "domain": "smiles", "sampling": {},
        "vocabulary": {"notation": "smiles", "symbols": list(SYMBOLS)},
        "process": {"kind": "flow", "block_size": None, "flow": asdict(flow), "law": law},
        "length_counts": [0, 0, 1, 2, 0, 1],
        **({"conditions": list(conditions)} if conditions else {}),
    }  # fmt: skip
    save_model(folder, network, {**config, **changes}, "# tiny-flow\n")
    return sd.load(folder, device="cpu")


FLOWS = {
    "udlm": TokenFlow("uniform", loss="nelbo"),
    "d3pm": TokenFlow("uniform", loss="steps", steps=20),
    "flow": TokenFlow("marginal"),
    "masked": TokenFlow("absorbing", loss="nelbo"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flows")
    return {name: write(folder / name, flow) for name, flow in FLOWS.items()}


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("kernel", ["flow", "posterior", "euler"])
def test_rows_are_whole_and_of_the_training_lengths(models, name, kernel):
    drawn = models[name].sample(40, 1, steps=4, kernel=kernel)
    assert drawn.texts == models[name].sample(40, 1, steps=4, kernel=kernel).texts
    assert {len(text) for text in drawn.texts} == {2, 3, 5}
    assert set("".join(drawn.texts)) <= set(SYMBOLS)


def test_only_the_bound_in_continuous_time_completes_its_predictions(models):
    assert models["udlm"].sampler().denoiser.completed_by is not None
    assert models["d3pm"].sampler().denoiser.completed_by is None
    assert models["udlm"].sampler(kernel="euler").kernel == EulerJumps()


@pytest.mark.parametrize("name", FLOWS)
def test_what_is_given_stays(models, name):
    drawn = models[name].infill("CC[*]OF", 12, 0, gap=(1, 3), steps=4)
    texts = [r.text for r in drawn]
    assert all(t.startswith("CC") and t.endswith("OF") for t in texts)
    assert {len(t) for t in texts} == {5, 6, 7}


@pytest.mark.parametrize(
    "name, process",
    [("udlm", JumpBound), ("masked", JumpBound), ("d3pm", StepBound), ("flow", StepBound)],
)
def test_likelihoods_are_those_of_its_bound(models, name, process):
    engine = models[name].engine
    bound = engine._bound()
    assert isinstance(bound, process)
    assert getattr(bound, "steps", 20) == {"d3pm": 20, "flow": 100}.get(name, 20)
    value, error = engine.log_likelihood(TEXTS, LikelihoodRequest(400))
    x0 = engine.encode(TEXTS)
    losses = torch.stack([bound.loss(engine.network, x0, seeded(9, j)) for j in range(400)])
    z = (value + losses.mean(0)) / (error.square() + losses.var(0) / 400).sqrt()
    assert z.abs().max() < 4
    alone, _ = engine.log_likelihood(TEXTS[2:3], LikelihoodRequest(400))
    assert torch.allclose(alone, value[2:3], atol=1e-5)


def test_a_length_is_as_likely_as_in_training(models):
    told = models["udlm"].engine.length_log_prob(TEXTS)
    assert told.exp().tolist() == pytest.approx([0.5, 0.25, 0.25, 0.5])
    ids = encode_rows(VOCABULARY, ["CCCC", "CCCCCC"], LENGTH)
    assert length_log_prob([0, 0, 1, 2, 0, 1], TokenState(ids), eligible(ids)).tolist() == [
        float("-inf"), float("-inf"),
    ]  # fmt: skip


def test_conditions_reach_the_network(tmp_path):
    column = {"name": "size", "labels": [], "mean": 0.0, "spread": 1.0, "quantiles": []}
    model = write(tmp_path / "told", FLOWS["udlm"], (column,))
    drawn = [model.sample(30, 1, steps=6, condition={"size": v}).texts for v in (-5.0, 5.0)]
    assert drawn[0] != drawn[1]
    bent = model.sample(30, 1, steps=6, condition={"size": 5.0}, weight=3.0).texts
    assert bent != drawn[1]


def test_what_it_cannot_do_is_said(models):
    model = models["udlm"]
    with pytest.raises(ValueError, match="takes no condition"):
        model.sample(1, condition={"size": 1.0})
    with pytest.raises(ValueError, match="has no blocks: block_size must be None, got 1"):
        model.log_likelihood(["CC"], block_size=1)
    with pytest.raises(ValueError, match="method of discrete flow must be one of t, got 'k'"):
        model.engine.log_likelihood(["CC"], LikelihoodRequest(8, method="k"))
    with pytest.raises(ScidiffError, match="has none, got"):
        model.sample(1, constraints=["require:CC"])


def test_a_law_of_another_shape_is_refused(tmp_path):
    process = {"kind": "flow", "flow": asdict(FLOWS["udlm"]), "law": [[0.5, 0.5]]}
    with pytest.raises(CheckpointError, match=r"process.law must be \(1, 7\), symbols, got \(1,"):
        write(tmp_path / "m", FLOWS["udlm"], process=process)


RECIPE = """
name = "toy"
domain = "smiles"
[data]
source = "{folder}/toy.smi"
validation = 3
[network]
width = 16
depth = 1
heads = 2
time = {time}
[[stages]]
process = "{process}"
steps = 3
batch_size = 4
precision = "32-true"
[stages.{process}]
{settings}
"""


@pytest.mark.parametrize(
    "process, settings",
    [
        ("flow", 'noise = "uniform"\nloss = "nelbo"'),
        ("flow", 'noise = "uniform"\nloss = "steps"\nsteps = 10'),
        ("flow", 'noise = "marginal"'),
        ("masked", 'loss = "rate"\nschedule = "cosine"'),
        ("masked", 'loss = "steps"\nsteps = 10\nschedule = "square"'),
        ("masked", 'loss = "count"\nscore_entropy = true'),
    ],
)
def test_recipes_train_and_their_models_are_read(tmp_path, process, settings):
    (tmp_path / "toy.smi").write_text("\n".join(["CCO", "CCN", "CC=O", "CNC", "COC", "CCC"] * 3))
    time = "true" if process == "flow" else "false"
    text = RECIPE.format(folder=tmp_path, time=time, process=process, settings=settings)
    (tmp_path / "toy.toml").write_text(text)
    folder = sd.train(tmp_path / "toy.toml", tmp_path / "run", device="cpu")
    model = sd.load(folder, device="cpu")
    assert len(model.sample(4, **({"steps": 3} if process == "flow" else {}))) == 4
    table = model.log_likelihood(["CCO", "CC=O"], draws=8)
    assert (table["log_likelihood"] < 0).all() and (table["standard_error"] > 0).any()
