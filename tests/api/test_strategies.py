"""Which parts of an evolution fit a model, a budget and what is asked of rows."""

from functools import partial

import pytest
from tiny_models import write_tiny_model

import scidiff as sd
from scidiff.api.entry import load
from scidiff.api.strategies import evolution, learner, respelling
from scidiff.chem.molecules import canonical, parse
from scidiff.core import seeded
from scidiff.guidance.learner import Learner
from scidiff.rewards.portfolio import apart, portfolio, similarities


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    kinds = ("masked", "block", "autoregressive")
    return {k: load(write_tiny_model(folder / k, k)) for k in kinds}


@pytest.mark.parametrize(("budget", "batch", "candidates"), [
    (1, 5, 12), (60, 6, 12), (1_000, 100, 12), (1_001, 100, 4), (50_000, 100, 4)])  # fmt: skip
def test_a_round_is_a_tenth_of_the_budget_within_bounds(models, budget, batch, candidates):
    made = evolution(models["masked"], budget, {})
    assert (made.batch, made.candidates) == (batch, candidates)


@pytest.mark.parametrize(("kind", "learns"), [("masked", False), ("block", True),
                                              ("autoregressive", True)])
def test_models_that_write_from_left_to_right_learn(models, kind, learns):
    made = evolution(models[kind], 100, {})
    assert (made.learner is not None) is learns and (made.share == 0.5) is learns
    assert learner(models[kind], {"condition": {"activity": 1.0}}) is None


def test_what_learns_is_a_copy_that_writes_token_by_token(models):
    model = models["block"]
    made = learner(model, {"temperature": 0.7})
    assert made is not None and made.sampler.block_size == 1 and made.sampler.temperature == 0.7
    assert made.tuner.network is not model.engine.network
    assert made.sampler.denoiser.network is made.tuner.network


def test_objects_are_written_anew_where_the_model_can_read_it(models):
    respell, texts = respelling(models["block"]), ["NCCOF", "CNO", "F"] * 20
    told = respell(texts, seeded(0))
    assert [canonical(t) for t in told] == [canonical(t) for t in texts]
    assert len(set(told)) > 3  # other beginnings, where no bracket or branch is needed
    assert not any("(" in t for t in told)  # the model has no such token
    assert respell(texts, seeded(0)) == told


def test_designs_are_to_be_nearly_as_far_apart_as_the_first_draws(models, monkeypatch):
    asked = []

    def seen(kind, objects, values, n, diversity, keep):
        asked.append(diversity)
        return portfolio(kind, objects, values, n, diversity, keep)

    monkeypatch.setattr("scidiff.api.harvest.portfolio", seen)
    few = sd.design(models["masked"], Nitrogens(), 20, "evolve", 60, 1)
    best = few.asked.to_frame()["score"].nlargest(20).tolist()
    assert asked == [] and few.to_frame()["score"].tolist() == best
    found = sd.design(models["masked"], Nitrogens(), 24, "evolve", 60, 1)
    drawn = found.asked.to_frame().query("round == 0 and status == 'ok'")["smiles"]
    alike = similarities("molecule", [parse(s) for s in drawn])
    assert 5 <= len(drawn) < 12 and len(found) == 24
    assert asked == [pytest.approx(0.95 * apart(alike))]


class Nitrogens:
    """Nitrogen atoms; interrupts when it is asked for its `fatal`-th object."""

    floor, name, version, cost = 0.0, "nitrogens", "1", 1.0

    def __init__(self, fatal=None):
        self.fatal, self.count = fatal, 0

    def __call__(self, mols):
        self.count += len(mols)
        if self.fatal is not None and self.count >= self.fatal:
            raise KeyboardInterrupt
        return [float(sum(a.GetSymbol() == "N" for a in m.GetAtoms())) for m in mols]


@pytest.mark.parametrize("kind", ["masked", "block"])
def test_an_interrupted_evolution_ends_with_the_same_files(models, tmp_path, kind, monkeypatch):
    monkeypatch.setattr("scidiff.api.strategies.Learner", partial(Learner, least=5))

    def run(folder, reward, **more):
        return sd.design(models[kind], reward, 4, "evolve", 24, 1, out=tmp_path / folder, **more)

    whole = run("whole", Nitrogens())
    assert whole.ledger.asked == 24 and len(whole.asked) == 24
    with pytest.raises(KeyboardInterrupt):
        run("cut", Nitrogens(13))
    run("cut", Nitrogens(), resume=True)
    for name in ("designs.csv", "asked.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
