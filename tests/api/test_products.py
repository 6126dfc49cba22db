"""Models made of models: their law against enumeration, and what does not go together."""

from itertools import product as each

import pytest
import torch
from tiny_graphs import write_graph_flow, write_graph_sde
from tiny_models import SYMBOLS, write_tiny_model

from scidiff.api.composed import multiplied
from scidiff.api.design import design
from scidiff.api.entry import load
from scidiff.api.products import anneal, product, superpose
from scidiff.core import ScidiffError, seeded
from scidiff.guidance.lookahead import Decoded
from scidiff.guidance.particles import guided_sample
from scidiff.guidance.selection import nested
from scidiff.rewards.combine import reward as sd_reward
from scidiff.samplers.feynman_kac import FeynmanKac
from scidiff.samplers.tempered import Product

LENGTHS = ([0, 1, 2, 1], [0, 3, 1, 1])  # of two models
TEXTS = ["".join(row) for n in (1, 2, 3) for row in each(SYMBOLS, repeat=n)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Models by name, two of a kind."""
    folder = tmp_path_factory.mktemp("models")
    other = {"notation": "smiles", "symbols": ["C", "N", "O", "S"]}
    made = {
        "a": write_tiny_model(folder / "a", seed=0, length_counts=LENGTHS[0], name="a"),
        "b": write_tiny_model(folder / "b", seed=1, length_counts=LENGTHS[1], name="b"),
        "c": write_tiny_model(folder / "c", seed=2, vocabulary=other, name="c"),
        "long": write_tiny_model(folder / "long", length_counts=[0] * 8 + [1], name="long"),
        "left": write_tiny_model(folder / "left", "autoregressive", name="left"),
        "right": write_tiny_model(folder / "right", "autoregressive", seed=1, name="right"),
        "sde": write_graph_sde(folder / "sde", name="sde"),
        "sde2": write_graph_sde(folder / "sde2", seed=1, name="sde2"),
        "flow": write_graph_flow(folder / "flow", name="flow"),
    }
    return {name: load(path) for name, path in made.items()}


def log_law(model, texts):
    """log p of whole objects, written from left to right."""
    method = None if model.engine.block_causal else "sequential"
    size = 1 if model.engine.block_causal else None
    told = model.log_likelihood(texts, method=method, block_size=size)
    return torch.tensor((told["log_likelihood"] + told["log_p_size"]).to_numpy())


def shares(found, tests):
    """mean(exp(log_w) f) of 0/1 functions f of texts, and its standard error."""
    w = torch.tensor(found.columns["log_w"]).double().exp()
    f = torch.tensor([[test(text) for test in tests] for text in found.texts]).double()
    each = w[:, None] * f
    return each.mean(0), each.std(0) / len(w) ** 0.5


TESTS = [
    lambda text: True, lambda text: text[0] == "C", lambda text: len(text) == 2,
    lambda text: text.endswith("O"), lambda text: text in ("N", "CF", "OON"),
]  # fmt: skip


@pytest.mark.parametrize("exponents", [(1.0, 1.0), (2.0, -0.5), (0.5, 0.25)])
def test_masked_models_are_multiplied_with_their_lengths(tiny, exponents):
    pair = [tiny["a"], tiny["b"]]
    found = product(pair, exponents).sample(1500, 0, particles=4, order="sequential")
    joint = sum(b * log_law(m, TEXTS) for m, b in zip(pair, exponents, strict=True)).exp()
    lengths = torch.tensor(LENGTHS, dtype=torch.float64)
    lengths = lengths / lengths.sum(1, keepdim=True)
    size = (lengths[:, 1:] ** torch.tensor(exponents).double()[:, None]).prod(0).sum()
    exact = torch.stack([
        joint @ torch.tensor([float(test(t)) for t in TEXTS]).double() for test in TESTS
    ])  # fmt: skip
    mean, error = shares(found, TESTS)
    assert ((mean - exact / size).abs() < 4 * error).all()


def test_left_to_right_models_are_multiplied(tiny):
    pair = [tiny["left"], tiny["right"]]
    found = product(pair).sample(1500, 0, particles=4)
    texts = ["C", "N", "O", "F"]
    exact = sum(log_law(model, texts) for model in pair).exp()
    mean, error = shares(found, [lambda text, t=t: text == t for t in texts])
    assert ((mean - exact).abs() < 4 * error).all() and (mean > 4 * error).any()


def test_a_power_is_the_power_of_whole_objects(tiny):
    found = anneal(tiny["a"], 2.0).sample(1200, 0, particles=24, order="sequential")
    law = (2 * log_law(tiny["a"], TEXTS)).softmax(0)
    once = log_law(tiny["a"], TEXTS).softmax(0)
    top = law.argmax()
    share = sum(text == TEXTS[top] for text in found.texts) / len(found)
    bound = 4 * float((law[top] * (1 - law[top])) ** 0.5) / 1200**0.5
    assert abs(share - float(law[top])) < bound + 0.01 < float(law[top] - once[top])


def test_the_power_one_is_the_model_itself(tiny):
    found = anneal(tiny["a"], 1.0).sample(50, 3)
    assert max(abs(w) for w in found.columns["log_w"]) < 1e-5


def test_rows_follow_from_the_seed_and_come_in_chunks(tiny):
    both = product([tiny["a"], tiny["b"]])
    whole, again = (both.sample(n, 5, particles=1024) for n in (3, 2))
    assert whole.texts[:2] == again.texts
    assert both.sample(4, 5).texts != both.sample(4, 6).texts
    assert whole.provenance["sampling"]["particles"] == 1024
    assert whole.provenance["model"] == "a^1 * b^1" and "log Z" in whole.notes[-1]
    assert whole.provenance["sha256"] != product([tiny["a"]]).sample(1).provenance["sha256"]


def test_the_models_that_are_composed_stay_as_they_are(tiny):
    before = tiny["a"].sample(5, 0).texts
    assert product([tiny["a"], tiny["b"]]).model.novelty is None
    assert tiny["a"].name == "a" and tiny["a"].sample(5, 0).texts == before


def size(mols):
    return [float(m.GetNumAtoms()) for m in mols]


@pytest.mark.parametrize("method, budget", [("nested", 40), ("refine", 20), ("best-of-n", 20)])
def test_compositions_are_designed_with(tiny, method, budget):
    both = product([tiny["a"], tiny["b"]])
    hits = both.design(size, 2, method=method, budget=budget, floor=0.0, strength=1.0)
    assert len(hits) == 2 and hits.ledger.asked <= budget


@pytest.mark.parametrize("make", [product, superpose])
def test_composed_graphs_are_steered_by_a_reward_on_molecules(tiny, make):
    model = make([tiny["sde"], tiny["sde2"]]).model
    reward = Decoded(model.domain, sd_reward(size, floor=0.0))
    run = guided_sample(model.sampler(steps=12), reward, 24, seeded(0), select=nested(0.5),
                        branch=2, populations=2)  # fmt: skip
    assert len(run.x) == 24 and reward.asked > 0 and run.log_z.isfinite().all()


@pytest.mark.parametrize("how", ["or", "and"])
def test_superposed_graphs(tiny, how):
    found = superpose([tiny["sde"], tiny["sde2"]], how).sample(6, 0, steps=8, nodes=4)
    assert len(found) == 6 and found.provenance["model"] == f"sde {how} sde2"
    assert set(found.columns["log_w"]) == {0.0} and not any("log Z" in n for n in found.notes)


def test_superposed_graphs_cannot_go_back(tiny):
    model = superpose([tiny["sde"], tiny["sde2"]]).model
    with pytest.raises(ScidiffError, match="Superposition cannot take rows back .* svdd or best"):
        design(model, size, 2, method="refine", budget=400, floor=0.0, steps=4)
    with pytest.raises(ScidiffError, match="Superposition cannot take rows back"):
        design(model, size, 2, method="paths", budget=400, floor=0.0, steps=4)


def test_products_of_graphs_know_their_weight(tiny):
    both = product([tiny["sde"], tiny["sde2"]], [1.0, 0.5])
    found = both.sample(4, 0, particles=8, steps=10)
    assert len(found) == 4 and all(w != 0 for w in found.columns["log_w"])
    sampler = both.model.sampler(steps=10, eta=2.5)
    assert isinstance(sampler, FeynmanKac) and sampler.eta == 2.5


def test_encoded_graphs_are_states_of_the_chain(tiny):
    engine, text = product([tiny["sde"], tiny["sde2"]]).model.engine, "CCO"
    spelled = tiny["sde"].domain.spell(text)
    x = engine.sampler(steps=6).renoise(engine.encode([spelled]), 3, torch.Generator())
    assert len(x) == 1 and int(x.mask.sum()) == 3


def test_novelty_draws_graphs_away_from_the_data(tiny):
    told = tiny["sde"].sampler(steps=4, novelty=0.04).denoiser
    assert isinstance(told, Product) and told.exponents == (pytest.approx(0.8),)
    assert tiny["sde"].sampler(steps=4, novelty=0.0).denoiser is tiny["sde"].engine.denoiser
    found = tiny["sde"].sample(3, 0, steps=4, novelty=0.04)
    assert len(found) == 3 and found.provenance["sampling"]["novelty"] == 0.04
    with pytest.raises(ValueError, match=r"novelty must be in \[0, 1\), got 1.0"):
        tiny["sde"].sample(3, novelty=1.0)


def test_laws_of_sizes_are_multiplied():
    law = torch.tensor(multiplied([[0, 1, 1, 2], [5, 1, 3]], [1.0, 2.0], "length"))
    torch.testing.assert_close(law / law.sum(), torch.tensor([0, 0.1, 0.9, 0]).to(law))
    assert multiplied([[0, 1], [1, 0]], [1.0, 0.0], "length") == [0.0, 1.0]


@pytest.mark.parametrize("make, error, message", [
    (lambda t: product([t["a"], t["c"]]), ScidiffError,
     "a has 4 symbols of smiles, c 4 of smiles; only one of them knows 'F'"),
    (lambda t: product([t["a"], t["left"]]), ScidiffError,
     r"one family.* got a \(masked\) and left \(autoregressive\)"),
    (lambda t: product([t["sde"], t["a"]]), ScidiffError, r"got sde \(graph_sde\) and a"),
    (lambda t: product([t["flow"]]), ScidiffError, r"flow \(flow\)"),
    (lambda t: product([t["a"], t["b"]], [1.0]), ValueError,
     r"one finite number for each of 2 models, got \[1.0\]"),
    (lambda t: anneal(t["a"], float("inf")), ValueError, "one finite number"),
    (lambda t: anneal(t["a"], 0.0), ValueError, "at least one exponent must not be 0"),
    (lambda t: anneal(t["sde"], -1.0), ValueError, "positive sum"),
    (lambda t: product([]), ValueError, r"models must be a list of models.* got \[\]"),
    (lambda t: product("a"), ValueError, "models must be a list of models"),
    (lambda t: product([t["a"], t["long"]]), ScidiffError, "no length in common"),
    (lambda t: superpose([t["sde"]]), ValueError, "at least two denoisers, got 1"),
    (lambda t: superpose([t["sde"], t["sde2"]], "xor"), ValueError, "'or' or 'and', got 'xor'"),
    (lambda t: superpose([t["a"], t["b"]]), ScidiffError, "multiplied .product., got a"),
    (lambda t: anneal(t["a"], 2).sample(0), ValueError, "n must be at least 1, got 0"),
    (lambda t: anneal(t["a"], 2).sample(2, particles=0), ValueError, "particles must be at"),
    (lambda t: anneal(t["a"], 2).sample(2, remask="p2", steps=4), ScidiffError,
     "leave remask.* got PathSampler"),
    (lambda t: anneal(t["sde"], 2).sample(2, stepz=4), ValueError, "did you mean 'steps'"),
    (lambda t: anneal(t["sde"], 2).sample(2, steps=0), ValueError, "steps must be at least 1"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(tiny, make, error, message):
    with pytest.raises(error, match=message):
        make(tiny)
