"""Models of graphs in blocks through `sd.load`: the calls of every model, and what they cannot."""

import json

import pytest
from tiny_pard import BONDED, NODES, SMILES, VOCABULARY, write_pard

from scidiff.api.entry import load
from scidiff.api.requests import LikelihoodRequest
from scidiff.core import ScidiffError, seeded
from scidiff.data.graph_order import blocks_of
from scidiff.data.graph_tokens import triangle
from scidiff.data.tokens import EOS
from scidiff.guidance.particles import sample
from scidiff.samplers.discrete_flow import FlowRate, Posterior
from scidiff.training.checkpoint import CheckpointError

FEW = {"steps": 2}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pard")
    return {
        (hops, causal): load(write_pard(folder / f"{hops}{causal}", hops, causal), device="cpu")
        for hops in (0, 2)
        for causal in (True, False)
    }


@pytest.fixture(scope="module")
def model(models):
    return models[2, True]


@pytest.mark.parametrize("hops", [0, 2])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kernel", ["flow", "posterior"])
def test_rows_depend_on_the_seed_alone_and_are_whole(models, hops, causal, kernel):
    model, how = models[hops, causal], {**FEW, "kernel": kernel}
    a, b = model.sample(12, 3, **how), model.sample(12, 4, **how)
    assert a.texts == model.sample(12, 3, **how).texts != b.texts
    assert a.kind == "molecule" and not any("unfinished" in r.reason for r in a)
    assert a.provenance["sampling"]["kernel"] == kernel


def test_graphs_begin_as_training_graphs_do(model):
    blocks = blocks_of(model.engine.encode([model.domain.spell(s) for s in SMILES]).ids, BONDED, 2)
    wanted = (blocks.block == 0).sum(1).double().mean()
    x = model.sampler(**FEW).init(3000, seeded(0))
    sizes = (x.memory[0] == 0).sum(1).double()
    assert abs(sizes.mean() - wanted) < 4 * sizes.std() / 3000**0.5


def test_steps_are_those_of_a_block_and_140_in_all(models):
    model = models[2, True]
    counts = model.config["process"]["block_counts"]
    mean = sum(i * c for i, c in enumerate(counts)) / sum(counts)
    s = model.sampler()
    (steps,) = set(s.steps)
    assert steps == round(140 / mean) and s.num_steps == steps * (len(counts) - 1)
    assert model.engine.typical_steps(s) == round(mean * steps)
    assert models[0, True].sampler().num_steps == 140
    assert model.engine.settings({})["steps"] == steps
    made = model.sampler(steps=3, kernel="posterior")
    assert isinstance(made.kernel, Posterior) and set(made.steps) == {3}
    assert model.sampler(eta=0.5).kernel == FlowRate(0.5)
    fewer = model.sampler(steps=4, last_steps=1, annealing="two-stage")
    assert (fewer.steps[0], fewer.steps[-1]) == (4, 1) and fewer.num_steps < 4 * len(fewer.steps)
    flat = model.sampler(steps=4, last_steps=4)
    assert flat.steps == model.sampler(steps=4).steps
    with pytest.raises(ValueError, match=r"last_steps must be in 1 \.\. 4, .* got 5"):
        model.sampler(steps=4, last_steps=5)


@pytest.mark.parametrize("hops", [0, 2])
@pytest.mark.parametrize("n", [2, 5])
def test_nodes_are_given(models, hops, n):
    model = models[hops, True]
    x = sample(model.sampler(nodes=n, **FEW), 20, seeded(0))
    assert ((x.ids == EOS).int().argmax(1) == triangle(n)).all()


def test_numbers_of_nodes_that_cannot_be_are_refused(models):
    with pytest.raises(ValueError, match=f"molecules of at most {NODES} atoms, got 8"):
        models[2, True].sampler(nodes=8)
    with pytest.raises(ValueError, match="no training graph begins as one of 5 nodes would"):
        engine = models[2, True].engine
        process = {**engine.config["process"], "first_sizes": [0] * 7 + [1]}
        type(engine)(engine.network, engine.vocabulary, {**engine.config, "process": process}
                     ).sampler(nodes=5)  # fmt: skip


@pytest.mark.parametrize("hops", [0, 2])
@pytest.mark.parametrize("causal", [True, False])
def test_likelihoods_have_an_error_and_no_company(models, hops, causal):
    model = models[hops, causal]
    both, one = model.log_likelihood(["CCO", "CC#N"]), model.log_likelihood(["CC#N"])
    assert (both.log_likelihood < 0).all() and (both.standard_error > 0).all()
    assert both.log_likelihood[1] == one.log_likelihood[0]
    a, b = (model.log_likelihood(["CCO"], draws=800, seed=s).loc[0] for s in (1, 2))
    error = (a.standard_error**2 + b.standard_error**2) ** 0.5
    assert abs(a.log_likelihood - b.log_likelihood) < 4 * error


def test_sizes_count_in_the_likelihood_once_each(models, monkeypatch):
    """The law of sizes made less likely by a known factor: one a block behind the first, and the
    end."""
    model = models[2, True]
    before, law = model.log_likelihood(["CCO"]), model.engine.network.next
    usual = law.log_size
    monkeypatch.setattr(law, "log_size", lambda *given: usual(*given) - 3.0)
    after = model.log_likelihood(["CCO"])
    blocks = blocks_of(model.engine.encode([model.domain.spell("CCO")]).ids, BONDED, 2)
    expected = -3.0 * int(blocks.count)
    assert after.log_likelihood[0] - before.log_likelihood[0] == pytest.approx(expected, abs=1e-4)


def test_first_blocks_have_the_law_of_training(models):
    first = [models[hops, True].engine.length_log_prob(["CO-C.-"]).exp() for hops in (0, 2)]
    counts = models[2, True].config["process"]["first_sizes"]
    assert float(first[0]) == pytest.approx(2 / 8)  # CCO and CC#N have as many atoms
    assert float(first[1]) == pytest.approx(counts[1] / sum(counts))
    assert models[2, True].engine.length_log_prob(["CC-C.-C..-C...-"]).isfinite()


def test_what_it_cannot_is_said(model):
    with pytest.raises(ScidiffError, match="takes no scaffold, got 'CO'"):
        model.sample(2, scaffold="CO")
    with pytest.raises(ScidiffError, match="takes no constraints"):
        model.sample(2, constraints=["valence"])
    with pytest.raises(ScidiffError, match="cannot fill in"):
        model.infill("C[*]", 2)
    with pytest.raises(ValueError, match="unknown sampling setting 'hops'"):
        model.sample(2, hops=1)
    with pytest.raises(ValueError, match=r"has no block_size, got 2: .* is hops, .* \(2 here\)$"):
        model.sample(2, block_size=2)
    with pytest.raises(ValueError, match="^steps must be at least 1, got 0$"):
        model.sample(2, steps=0)
    with pytest.raises(ValueError, match="block_size and condition must be None"):
        model.engine.log_likelihood(["C"], LikelihoodRequest(2, 4))
    with pytest.raises(ValueError, match="run in float32"):
        load(model.source, dtype="bfloat16")


@pytest.mark.parametrize("lost", ["law", "first_sizes", "blocks", "block_counts"])
def test_an_incomplete_config_is_named(tmp_path, lost):
    folder = write_pard(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    del config["process"][lost]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"lacks process.{lost}"):
        load(folder)


def test_a_law_of_other_symbols_is_refused(tmp_path):
    folder = write_pard(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["process"]["law"] = [[1.0]]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"must be \(2, {len(VOCABULARY)}\)"):
        load(folder)
