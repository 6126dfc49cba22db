"""Models of discrete flow through `sd.load`: the calls of every model, their own settings, and
what they cannot do."""

import pytest
import torch
from tiny_graphs import NODES, VOCABULARY, write_graph_flow

from scidiff.api.design import design
from scidiff.api.entry import load
from scidiff.api.requests import InfillRequest, LikelihoodRequest
from scidiff.core import ScidiffError, seeded
from scidiff.data.graph_tokens import node_count, to_graphs, triangle
from scidiff.data.tokens import EOS
from scidiff.guidance.particles import sample
from scidiff.processes.discrete_flow import graph_kinds
from scidiff.samplers.discrete_flow import FlowRate, Posterior
from scidiff.training.checkpoint import CheckpointError

NOISES = ("marginal", "uniform", "absorbing")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flows")
    return {n: load(write_graph_flow(folder / n, n), device="cpu") for n in NOISES}


@pytest.fixture(scope="module")
def model(models):
    return models["marginal"]


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("kernel", ["flow", "posterior"])
def test_rows_depend_on_the_seed_alone_and_are_whole(models, noise, kernel):
    few = {"steps": 3, "kernel": kernel}
    a, b = models[noise].sample(12, 3, **few), models[noise].sample(12, 4, **few)
    assert a.texts == models[noise].sample(12, 3, **few).texts != b.texts
    assert a.kind == "molecule" and not any("unfinished" in r.reason for r in a)
    assert a.provenance["sampling"]["kernel"] == kernel


def test_the_law_of_training_is_the_noise_of_sampling(model):
    """Symbols of the start, over nodes and over pairs, are as frequent as in the four graphs."""
    sampler = model.sampler()
    ids = sampler.init(4000, seeded(0)).ids
    nodes = graph_kinds(ids.shape[1]) == 0
    for kind, symbols in ((nodes, "CNOF"), (~nodes, ".-=#")):
        some = ids[:, kind]
        some = some[some > EOS]
        expected = {"C": 6 / 9, "N": 1 / 9, "O": 1 / 9, "F": 1 / 9,
                    ".": 1 / 6, "-": 3 / 6, "=": 1 / 6, "#": 1 / 6}  # fmt: skip
        for symbol in symbols:
            p, n = expected[symbol], len(some)
            found = (some == VOCABULARY.encode(symbol)[0]).double().mean()
            assert abs(float(found) - p) < 4 * (p * (1 - p) / n) ** 0.5


def test_settings_reach_the_sampler_and_the_steps_lie_where_training_times_do(model):
    s = model.sampler(steps=7, eta=0.5, omega=0.25)
    assert (s.num_steps, s.kernel) == (7, FlowRate(0.5, 0.25))
    assert isinstance(model.sampler(kernel="posterior").kernel, Posterior)
    u = torch.arange(5) / 4
    assert torch.allclose(model.sampler(steps=4).times[:5].float(), 1 - (2 * u - u**2))
    assert torch.allclose(model.sampler(steps=4, distortion="identity").times[:5].float(), 1 - u)
    used = model.engine.settings({})
    assert (used["steps"], used["distortion"]) == (100, "polydec")


def test_the_config_holds_defaults(tmp_path):
    folder = write_graph_flow(tmp_path / "m", sampling={"steps": 9, "eta": 1.0})
    assert load(folder, device="cpu").sampler(eta=2.0).kernel == FlowRate(2.0)
    assert load(folder, device="cpu").sampler().num_steps == 9


def test_nodes_and_scaffolds_are_given(model):
    x = sample(model.sampler(nodes=4, steps=3), 6, seeded(0))
    assert set((x.ids > EOS).sum(1).tolist()) == {triangle(4)}
    sampler = model.sampler(scaffold="O=C", steps=3)
    given = torch.tensor(VOCABULARY.encode("OC="))
    x, rng = sampler.init(30, seeded(1)), seeded(2)
    for k in range(3):
        assert (sampler.predict_clean(x, k, rng).ids[:, :3] == given).all()
        assert (x.ids[:, :3] == given).all()
        x = sampler.step(x, k, rng)
    assert (x.ids[:, :3] == given).all()
    assert {node_count(int(n)) for n in (x.ids > EOS).sum(1)} == {3, 4, 5}


def test_infilling_joins_new_nodes_at_the_open_end_only(model):
    state = model.engine.infill(InfillRequest("[*]CO", 20, range(1, 3), 1), seeded(2))
    x = to_graphs(state.ids, VOCABULARY)
    assert set(x.mask.sum(1).tolist()) == {3, 4}
    assert (x.A[:, 1, 2:] == 0).all() and (x.A[:, 0, 1] == 1).all()
    assert (x.A[:, 0, 2:] != 0).any()


@pytest.mark.parametrize("method", ["svdd", "smc", "nested", "best-of-n"])
def test_designs_run_through_the_same_call(model, method):
    runs = [design(model, _atoms, 2, method, 24, 1, floor=0.0, steps=4) for _ in "ab"]
    assert runs[0].to_frame().equals(runs[1].to_frame())
    assert len(runs[0]) == 2 and runs[0].ledger.asked <= 24 and runs[0].ledger.network_rows > 0


def _atoms(mols):
    return [m.GetNumAtoms() / 10 for m in mols]


def test_a_design_leans_towards_its_reward(model):
    def oxygen(mols):
        return [sum(a.GetSymbol() == "O" for a in m.GetAtoms()) / m.GetNumAtoms() for m in mols]

    few = {"steps": 6, "nodes": 3}
    frame = design(model, oxygen, 8, "nested", 8 * 64, 0, floor=0.0, strength=30.0, **few)
    ok = frame.to_frame().query("status == 'ok'")
    plain = [r.obj for r in model.sample(200, 0, **few) if r.valid]
    assert ok["score"].mean() > sum(oxygen(plain)) / len(plain) + 0.15


def test_its_chain_of_steps_bounds_log_p(model):
    value, error = model.engine.log_likelihood(["CO-", "CC.O--"], LikelihoodRequest(64))
    assert (value < 0).all() and value.isfinite().all() and (error > 0).all()
    alone, _ = model.engine.log_likelihood(["CC.O--"], LikelihoodRequest(64))
    assert torch.allclose(alone, value[1:], atol=1e-5)


def test_what_it_cannot_do_is_said(model):
    with pytest.raises(ScidiffError, match="has none, got valence"):
        model.sample(1, constraints=["valence"])
    with pytest.raises(ValueError, match="run in float32"):
        load(model.source, device="cpu", dtype="bfloat16")


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"tokens_per_step": 2}, "unknown sampling setting 'tokens_per_step'; .*kernel"),
        ({"omegas": 2}, "did you mean 'omega'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"kernel": "posteriori"}, "one of flow, posterior, euler; did you mean 'posterior'"),
        ({"kernel": "posterior", "eta": 1.0}, "belong to kernel = 'flow'"),
        ({"eta": -1.0}, "eta and omega must be finite"),
        ({"distortion": "polydek"}, "did you mean 'polydec'"),
        ({"nodes": 40}, f"molecules of at most {NODES} atoms"),
    ],
)
def test_wrong_settings(model, wrong, message):
    with pytest.raises(ValueError, match=message):
        model.sample(1, **wrong)


def test_a_config_that_does_not_fit_is_refused(tmp_path):
    process = {"kind": "flow", "block_size": None, "flow": {"distortion": "cos"}}
    with pytest.raises(CheckpointError, match="lacks process.law"):
        load(write_graph_flow(tmp_path / "a", process=process), device="cpu")
    law = [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    with pytest.raises(CheckpointError, match=r"process.law must be \(2, 11\).* got \(2, 3\)"):
        load(write_graph_flow(tmp_path / "b", process={**process, "law": law}), device="cpu")
