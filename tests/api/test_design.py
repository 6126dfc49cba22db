"""Designing: every method keeps its budget, its seed and its word about what failed."""

import math
import time
from itertools import count

import numpy as np
import pytest
import torch
from tiny_models import write_tiny_model

from scidiff.api.ask import Ask
from scidiff.api.design import design
from scidiff.api.entry import load
from scidiff.api.methods import METHODS
from scidiff.api.model import Model
from scidiff.api.populations import Populations, pick
from scidiff.api.scorers import Scoring
from scidiff.api.strategies import STRATEGIES, least_calls
from scidiff.core import seeded
from scidiff.guidance.campaign import Campaign, Limits
from scidiff.guidance.certificate import IMPROPER
from scidiff.guidance.lookahead import Decoded
from scidiff.rewards.executors import Serial
from scidiff.rewards.pareto import front, hypervolume
from scidiff.rewards.scoring import NamedReward, RewardError, Scorer
from scidiff.samplers.strided import BlockStridedSampler, StridedSampler


@pytest.fixture
def model(tiny_model) -> Model:
    return load(tiny_model, device="cpu")


class Atoms:
    """Heavy atoms / 10; counts the objects it is asked for."""

    floor, name, version = 0.0, "atoms", "1"

    def __init__(self):
        self.seen = []

    def __call__(self, mols):
        self.seen += mols
        return [m.GetNumAtoms() / 10 for m in mols]


def hangs(mols):
    """Does not answer for a molecule of four atoms."""
    if any(m.GetNumAtoms() == 4 for m in mols):
        time.sleep(3600)
    return [1.0] * len(mols)


def unlicensed(self, mols):
    raise OSError("no licence server")


class Watched(Populations):
    """Keeps what the rounds drew."""

    def round(self, here):
        self.runs = [*getattr(self, "runs", []), super().round(here)]
        return self.runs[-1]


def run_method(model, name, scorer, n, calls, strength=30.0):
    """The strategy of a method, after all of its rounds."""
    strategy = Watched(model, METHODS[name], n, METHODS[name].plan(calls))
    reward = Decoded(model.domain, scorer)
    Campaign(strategy, model.sampler(), reward, model.engine.encode, 0, Limits(), strength).run()
    return strategy


@pytest.mark.parametrize("method", [*METHODS, *STRATEGIES])
@pytest.mark.parametrize("budget", [3, 24, 90])
def test_methods_keep_their_budget_and_their_seed(model, method, budget):
    if budget < 3 * least_calls(method):
        with pytest.raises(ValueError, match="3 designs by .* need at least"):
            design(model, Atoms(), 3, method, budget)
        return
    a, b, c = (design(model, Atoms(), 3, method, budget, seed) for seed in (1, 1, 2))
    assert len(a) == 3 or (method in STRATEGIES and len(a) == a.ledger.asked < 3)
    assert a.ledger.asked <= budget
    assert a.to_frame().equals(b.to_frame()) and not a.to_frame().equals(c.to_frame())
    assert not {"skipped", "failed"} & set(a.to_frame()["status"])  # it lasts to the end
    frame = a.to_frame()
    for row in frame[frame["status"] == "ok"].itertuples():
        assert row.score == pytest.approx(sum(ch in "CNOF" for ch in row.smiles) / 10)
    assert a.settings["method"] == method and a.settings["budget"] == budget


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"refine"}))  # its looks are no rounds
def test_no_plan_spends_more_than_it_has(method):
    for calls in range(METHODS[method].least, 300):
        plan = METHODS[method].plan(calls)
        assert plan.particles >= 1 and plan.branch >= 1
        assert plan.particles * plan.branch * max(1, plan.looks) <= calls


@pytest.mark.parametrize("method", ["svdd", "nested", "smc"])
def test_there_are_no_more_looks_than_planned(model, method):
    made = run_method(model, method, Scorer(Atoms(), key=model.domain.key), 2, 64)
    assert 1 < len(made.runs[0].looks) <= made.plan.looks


def test_designs_score_better_than_samples(model):
    plain = design(model, Atoms(), 30, "best-of-n", budget=30)
    guided = design(model, Atoms(), 30, "nested", budget=30 * 40)
    assert guided.to_frame()["score"].mean() > plain.to_frame()["score"].mean() + 0.05


def test_the_terms_of_a_formula_are_columns(model):
    frame = design(model, "0.5*qed + 0.5*sa", 3, "smc", 30).to_frame()
    ok = frame[frame["status"] == "ok"]
    assert len(ok) and (0.5 * ok["qed"] + 0.5 * ok["sa"]).to_numpy() == pytest.approx(
        ok["score"].to_numpy()
    )
    scores = ok["score"].tolist()
    assert scores == sorted(scores, reverse=True)


def test_designs_of_a_pareto_are_its_front_first_and_told_by_their_objectives(model, tmp_path):
    hits = design(model, "pareto(qed, 1 - sa/2)", 12, budget=60, out=tmp_path / "run")
    frame, asked = hits.to_frame(), hits.asked.to_frame()
    names = ["qed", "1 - sa / 2"]
    assert list(asked.columns[:8]).index("qed") < list(asked.columns).index("sa")
    assert (1 - asked["sa"] / 2).to_numpy() == pytest.approx(asked["1 - sa / 2"].to_numpy())
    assert asked[names].mean(axis=1).to_numpy() == pytest.approx(asked["score"].to_numpy())
    values = torch.tensor(asked[names].to_numpy())
    undominated = {asked["smiles"][i] for i in front(values).nonzero()[:, 0].tolist()}
    first = frame[frame["front"] == 1]
    assert 0 < len(first) and set(first["smiles"]) <= undominated
    assert len(first) == min(12, len(undominated)) and frame["front"].is_monotonic_increasing
    zero = torch.tensor([0.0, 0.5], dtype=torch.float64)
    assert hits.hypervolume == pytest.approx(hypervolume(values, zero))
    assert hits.history["hypervolume"].is_monotonic_increasing
    assert hits.history["hypervolume"].iloc[-1] == pytest.approx(hits.hypervolume)
    again = design(model, "pareto(qed, 1 - sa/2)", 12, out=tmp_path / "run", resume=True)
    assert again.to_frame().equals(frame)


def test_one_reward_can_be_both_objectives(model):
    frame = design(model, "pareto(qed, 1 - qed)", 4, budget=20).to_frame()
    assert (frame["qed"] + frame["1 - qed"]).to_numpy() == pytest.approx(np.ones(4))
    assert (frame["front"] == 1).all()


def test_a_cache_on_disk_answers_the_next_run(model, tmp_path):
    first, second = Atoms(), Atoms()
    file = tmp_path / "scores.db"
    made = [design(model, atoms, 3, "smc", 60, cache=file) for atoms in (first, second)]
    assert first.seen and not second.seen
    assert made[0].to_frame().equals(made[1].to_frame())
    costs = [m.ledger for m in made]
    assert [c.disk_hits for c in costs] == [0, costs[0].asked] and "from disk" in str(costs[1])
    assert made[0].provenance["ledger"] == made[1].provenance["ledger"]  # equal runs, equal files


def test_processes_give_what_one_gives(model):
    alone = design(model, "qed", 2, "best-of-n", 8)
    shared = design(model, "qed", 2, "best-of-n", 8, workers=2, timeout=60)
    assert alone.to_frame().equals(shared.to_frame())
    with pytest.raises(ValueError, match="workers >= 1"):
        design(model, "qed", 2, "best-of-n", 8, workers=0)


# ---------------------------------------------------------------- best of n


def test_the_best_of_each_population_is_taken(model):
    scorer = Scorer(Atoms(), key=model.domain.key, budget=40)
    run, = run_method(model, "best-of-n", scorer, 4, 10).runs
    picked = pick(run, True, seeded(0))
    assert (picked // 10).tolist() == [0, 1, 2, 3]
    for row, group in zip(picked, run.scores.view(4, 10), strict=True):
        assert run.scores[row] == group.max() > group.min()


def negative(mols):
    """Fails on whatever holds nitrogen; below 0 elsewhere."""
    if any("N" in (a.GetSymbol() for a in m.GetAtoms()) for m in mols):
        raise RuntimeError("no nitrogen")
    return [-m.GetNumAtoms() / 10 for m in mols]


def test_a_row_that_failed_is_not_the_best(model):
    reward = NamedReward(negative, "negative", (-2.0, 0.0))
    result = design(model, reward, 6, "best-of-n", 120, seed=3)
    frame = result.to_frame()
    assert set(frame["status"]) == {"ok"} and (frame["score"] < 0).all()
    assert not frame["smiles"].str.contains("N").any()


def test_rows_whose_reward_failed_are_marked(model):
    reward = NamedReward(negative, "negative", (-2.0, 0.0))
    frame = design(model, reward, 30, "smc", 60, seed=3, strength=0.0).to_frame()
    failed = frame["status"] == "failed"
    assert 0 < failed.sum() < 30 and frame["smiles"][failed].str.contains("N").all()
    assert all(math.isnan(s) for s in frame["score"][failed])
    first = failed.to_numpy().argmax()
    assert failed[first:].sum() == failed.sum() and frame["status"][0] == "ok"  # behind the others


# ---------------------------------------------------------------- what is refused


def refuse_sampling(monkeypatch):
    def started(*args, **kwargs):
        raise AssertionError("sampling was begun")

    monkeypatch.setattr(Model, "sampler", started)


def refuse_sampling_rows(monkeypatch):
    """Fail when a row is drawn."""
    monkeypatch.setattr("scidiff.guidance.campaign.Campaign.run", lambda *given: 1 / 0)


def test_refusals_come_before_any_sampling(model, monkeypatch):
    refuse_sampling(monkeypatch)
    with pytest.raises(ValueError, match="unknown method 'nestd'; .*did you mean 'nested'"):
        design(model, "qed", method="nestd")
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"n must be at least 1, got {n}"):
            design(model, "qed", n)
    with pytest.raises(ValueError, match="4 designs by evolve need at least 4, got 3"):
        design(model, "qed", 4, budget=3)
    with pytest.raises(RewardError, match="'<lambda>' has no floor"):
        design(model, lambda mols: [1.0] * len(mols), 4)
    with pytest.raises(ValueError, match="expected one of svdd, nested, .*evolve, surrogate"):
        least_calls("xyz")
    with pytest.raises(ValueError, match="front of a pareto.* by method='evolve', got 'svdd'"):
        design(model, "pareto(qed, sa)", 4, method="svdd")
    for strength in (-5.0, math.inf):
        with pytest.raises(ValueError, match=f"finite and not negative, got {strength}"):
            design(model, "qed", 4, strength=strength)
    with pytest.raises(ValueError, match="4 designs by evolve need at least 4, got 0"):
        design(model, "qed", 4, budget=0)
    with pytest.raises(ValueError, match="resume goes on with the campaign in a folder.*out"):
        design(model, "qed", 4, resume=True)


@pytest.mark.parametrize("method", ["svdd", "nested", "smc"])
def test_a_deterministic_sampler_cannot_branch(model, method):
    with pytest.raises(ValueError, match="deterministic.*temperature > 0") as caught:
        design(model, "qed", 2, method, 60, temperature=0.0, order="sequential")
    assert "\n" not in str(caught.value)
    assert len(design(model, "qed", 2, "best-of-n", 4, temperature=0.0, order="sequential")) == 2


@pytest.mark.parametrize(("floor", "told"), [(0.45, True), (0.0, False)])
def test_a_floor_above_answers_is_told(model, floor, told):
    notes = design(model, Atoms(), 4, "smc", budget=60, floor=floor).rows.notes
    below = [note for note in notes if "lie below the floor 0.45" in note]
    assert bool(below) is told
    assert not told or 0 < int(below[0].split()[0]) < int(below[0].split()[2])


@pytest.mark.parametrize(("given", "said"), [
    ({"strenght": 3}, "unknown argument 'strenght'; did you mean 'strength'"),
    ({"window": 0.5}, "window must be a pair of numbers or None, got 0.5"),
    ({"window": (0.1,)}, r"window must be a pair of numbers or None, got \(0.1,\)"),
    ({"window": (0, "1")}, "window must be a pair of numbers or None"),
    ({"memory": 3}, "memory must be text or a dictionary or None, got 3")])
def test_arguments_of_the_wrong_kind_are_told(model, monkeypatch, given, said):
    refuse_sampling_rows(monkeypatch)
    with pytest.raises(ValueError, match=said):
        design(model, "qed", 4, "svdd", **given)


def test_unknown_settings_are_named(model):
    with pytest.raises(ValueError, match="unknown sampling setting 'temprature'"):
        design(model, "qed", 2, temprature=1.0)


def test_left_to_right_models_are_looked_ahead_by_rollouts(tmp_path):
    model = load(write_tiny_model(tmp_path / "block", "block"), device="cpu")
    a, b = (design(model, Atoms(), 3, "nested", 60, seed=0) for _ in range(2))
    assert a.to_frame().equals(b.to_frame()) and a.ledger.asked <= 60
    assert torch.tensor(a.to_frame()["log_w"]).isfinite().all()


@pytest.mark.parametrize(("name", "kind"), [("moses-blocks", BlockStridedSampler),
                                            ("utr-rna", StridedSampler)])
def test_models_of_blocks_are_looked_ahead_at_block_ends(name, kind):
    model = load(name, device="cpu")
    strategy = Populations(model, METHODS["svdd"], 1, METHODS["svdd"].plan(60))
    assert type(strategy._strided(model.sampler())) is kind


def test_a_reward_that_never_answers_is_an_error(tiny_model):
    model = load(tiny_model)

    def silent(mols):
        return [float("nan")] * len(mols)

    with pytest.raises(RewardError, match="scored none of"):
        design(model, silent, n=2, budget=8, floor=0.0, method="best-of-n")


def test_designs_run_in_chunks_are_those_of_their_seeds(tiny_model, monkeypatch):
    model, made = load(tiny_model), {}
    scorer = Scorer(NamedReward(lambda mols: [0.5] * len(mols), "half", (0, 1)))
    for rows in (8192, 8):  # 4 particles a design: all five together, or two at a time
        monkeypatch.setattr("scidiff.api.plans.ROWS", rows)
        made[rows] = run_method(model, "best-of-n", scorer, 5, 4, 1.0)
    assert [m.rounds for m in made.values()] == [1, 3]
    for strategy in made.values():
        held = strategy.state()
        assert held["log_w"].shape == (5, 4) and len(strategy.log_z) == 5
        assert strategy.certificate.distinct_ancestors == 20
        assert all(run.ledger.network_rows > 0 for run in strategy.runs)
    two = run_method(model, "best-of-n", scorer, 2, 4, 1.0)
    same = made[8].designs(model.sampler(), 5).ids[:2]  # chunks do not know of each other
    assert torch.equal(same, two.designs(model.sampler(), 2).ids)


@pytest.mark.parametrize("how", [
    {"reward": "gc"}, {"reward": "qed * gc"}, {"reward": "qed", "method": "smc", "screen": "gc"}])
def test_a_reward_of_other_objects_is_refused_before_the_first_draw(model, how, monkeypatch):
    monkeypatch.setattr(type(model.engine), "encode", None)
    with pytest.raises(RewardError, match="'gc' scores dna or rna, and the model writes molecule"):
        design(model, n=2, budget=20, **how)


def test_ends_that_were_never_asked_are_told(model):
    """A budget that another run has spent: the designs are there, without a score."""
    ask = Ask(model, Atoms(), 6, "smc", 60, 0, 30.0, None, None, None, Limits(60))
    campaign = ask.campaign(Scoring(), Serial())
    campaign.reward.scorer.budget = 1
    campaign.run()
    made = ask.result(campaign)
    skipped = made.to_frame()["status"].tolist().count("skipped")
    said = f"{skipped} designs have no score: the budget of calls was spent"
    assert skipped and said in made.rows.notes


@pytest.mark.parametrize("method", ["smc", "fk", "svdd", "nested"])
def test_rows_longer_than_planned_do_not_take_the_calls_of_the_ends(model, method):
    number, plan = count(), METHODS[method].plan(24)
    scorer = Scorer(Atoms(), key=lambda record: str(next(number)),  # every look is paid for
                    budget=3 * plan.particles * plan.branch)
    made = run_method(model, method, scorer, 3, 24)
    assert all(run.scored.all() for run in made.runs)


def test_designs_of_surrogate_rounds_are_draws_with_weights(model):
    hits = design(model, Atoms(), 3, "surrogate", 160, strength=5.0)
    assert len(hits) == 3 and hits.certificate.verdict != IMPROPER
    assert np.isfinite(hits.to_frame()["log_w"]).all() and math.isfinite(hits.certificate.log_z)
    with pytest.raises(ValueError, match="3 designs by surrogate need at least 48, got 47"):
        design(model, Atoms(), 3, "surrogate", 47)


def test_designs_of_surrogate_rounds_are_those_of_the_last_populations(model):
    ask = Ask(model, Atoms(), 3, "surrogate", 160, 0, 5.0, None, None, None, Limits())
    campaign = ask.campaign(Scoring(), Serial())
    campaign.run()
    drawn = ask.strategy.designs(ask.sampler, 1000)
    assert len(drawn) == len(ask.strategy.log_z) > 3
    last = [r.text for r in model.domain.decode(drawn[torch.arange(len(drawn))[-3:]])]
    hits = ask.result(campaign)
    assert sorted(hits.texts) == sorted(last)
    told = dict(zip(hits.texts, hits.to_frame()["log_w"], strict=True))
    assert [told[t] for t in last] == pytest.approx(ask.strategy.log_z[-3:])


# ---------------------------------------------------------------- what stops a reward


def test_a_timeout_holds_without_further_workers(model):
    """A reward that does not answer in time is a row, not the end of the run."""
    started = time.perf_counter()
    hits = design(model, hangs, 1, "best-of-n", 12, timeout=1.0, floor=0.0)
    assert "timeout" in hits.asked.columns["status"]
    assert time.perf_counter() - started < 1800  # starting processes is slow where others work


def test_a_reward_that_cannot_travel_is_refused_before_sampling(model, monkeypatch):
    refuse_sampling_rows(monkeypatch)
    here = lambda mols: [1.0] * len(mols)  # noqa: E731
    for asked in ({"workers": 2}, {"timeout": 5.0}):
        with pytest.raises(RewardError, match="cannot be sent to worker processes.*leave out"):
            design(model, here, 2, floor=0.0, **asked)


def test_what_failed_is_asked_anew_where_that_is_wanted(model, tmp_path):
    file, mended = tmp_path / "scores.db", Atoms()
    broken = Atoms()
    broken.__class__ = type("Atoms", (Atoms,), {"__call__": unlicensed})
    how = dict(n=2, method="best-of-n", budget=8, cache=file)
    with pytest.raises(RewardError, match="no licence server"):
        design(model, broken, **how)
    with pytest.raises(RewardError, match="no licence server"):
        design(model, mended, **how)
    assert mended.seen == []
    hits = design(model, mended, **how, retry_failed=True)
    assert set(hits.asked.columns["status"]) == {"ok"} and mended.seen


# ---------------------------------------------------------------- screens


def few(mols):
    """Cheap: rather few atoms."""
    return [1 - m.GetNumAtoms() / 10 for m in mols]


@pytest.mark.parametrize("method", ["svdd", "nested", "smc", "fk", "best-of-n"])
def test_a_screen_chooses_what_the_reward_is_asked_about(model, method):
    how = dict(n=3, method=method, budget=48, strength=8.0, seed=2)
    plain, bent = design(model, Atoms(), **how), design(model, Atoms(), **how, screen=few)
    assert not bent.asked.to_frame().equals(plain.asked.to_frame())
    assert bent.ledger.asked <= 48 and len(bent) == 3
    again = design(model, Atoms(), **how, screen={"reward": few, "candidates": 4})
    assert again.to_frame().equals(bent.to_frame())
    told = bent.provenance["design"]["screen"]
    assert (told["reward"], told["candidates"]) == ("few", 4)
    assert set(bent.asked.columns) == set(plain.asked.columns)


@pytest.mark.parametrize("kind", ["block", "autoregressive"])
def test_a_good_screen_finds_better_objects(tmp_path, kind):
    """Of what writes from left to right every candidate is written to its end."""
    model = load(write_tiny_model(tmp_path, kind))
    how = dict(n=6, method="best-of-n", budget=24, strength=30.0, seed=1)
    plain, told = (design(model, Atoms(), **how, screen=s).asked.to_frame()["score"].mean()
                   for s in (None, {"reward": Atoms(), "candidates": 8}))
    assert told > plain


@pytest.mark.parametrize(("how", "said"), [
    ({"screen": "qed"}, "evolve takes no screen; svdd, nested, smc, fk, best-of-n do"),
    ({"method": "smc", "screen": "qedd"}, "qed"),
    ({"method": "smc", "screen": {"reward": "qed", "candidate": 2}}, "did you mean 'candidates'"),
    ({"method": "smc", "screen": {"candidates": 2}}, "a screen needs a reward"),
    ({"method": "smc", "screen": {"reward": "qed", "candidates": 0}}, "at least 1, got 0"),
    ({"method": "smc", "screen": {"reward": "qed", "candidates": 2.5}}, "whole number, got 2.5"),
])
def test_wrong_screens_are_told(model, how, said):
    with pytest.raises(ValueError, match=said):
        design(model, Atoms(), 2, budget=40, **how)


# ---------------------------------------------------------------- populations of one's own size


@pytest.mark.parametrize(("method", "shape", "looks"), [
    ("svdd", {"branch": 10}, 5), ("nested", {"particles": 2, "branch": 3}, 9),
    ("smc", {"particles": 8}, 6), ("svdd-r", {"branch": 5}, 11),
])
def test_populations_are_as_large_as_is_asked(model, method, shape, looks):
    hits = design(model, Atoms(), 2, method, 116, strength=5.0, **shape)
    told = hits.provenance["design"]
    assert {k: told[k] for k in shape} == shape and told["looks"] == looks
    assert len(hits) == 2 and hits.ledger.asked <= 116
    again = design(model, Atoms(), 2, method, 116, strength=5.0, **shape)
    assert again.to_frame().equals(hits.to_frame())


@pytest.mark.parametrize(("method", "shape", "plan"), [
    ("svdd", {}, (1, 19, 3)), ("nested", {}, (3, 6, 3)), ("smc", {}, (16, 1, 3)),
    ("smc", {"particles": 4}, (4, 1, 3)), ("nested", {"particles": 2}, (2, 9, 3)),
    ("nested", {"branch": 4}, (4, 4, 3)), ("svdd-r", {"branch": 2}, (1, 2, 3)),
    ("beam", {"particles": 3, "branch": 2}, (3, 2, 3)),
])
def test_every_says_how_often_and_the_budget_how_many(model, method, shape, plan):
    hits = design(model, Atoms(), 2, method, 116, strength=5.0, every=2, **shape)
    told = hits.provenance["design"]
    assert (told["particles"], told["branch"], told["looks"]) == plan and told["every"] == 2
    assert len(hits) == 2 and hits.ledger.asked <= 116


def test_looks_are_as_far_apart_as_is_asked(model):
    for every, steps in ((2, 3), (5, 2), (6, 1), (100, 1)):
        strategy = Ask(model, Atoms(), 1, "smc", 60, 0, 30.0, None, None, None, Limits(),
                       shape={"every": every}).strategy
        strided = strategy._strided(model.sampler())
        assert (strided.stride, strided.num_steps) == (every, steps)


@pytest.mark.parametrize("method", ["nested", "smc", "fk"])
def test_populations_are_resampled_below_the_share_that_is_asked(model, method):
    how = dict(n=4, method=method, budget=240, strength=20.0, seed=1)
    never, half, always = (design(model, Atoms(), **how, ess=ess) for ess in (0.0, 0.5, 1.0))
    lines = [hits.certificate.distinct_ancestors for hits in (never, half, always)]
    assert lines[0] == 4 * never.provenance["design"]["particles"] > lines[1] >= lines[2]
    assert half.to_frame().equals(design(model, Atoms(), **how).to_frame())
    assert half.provenance["design"]["ess"] == 0.5


@pytest.mark.parametrize(("how", "said"), [
    ({"method": "evolve", "branch": 4}, "evolve takes no branch, got 4; svdd, nested"),
    ({"method": "smc", "branch": 4}, "smc takes no branch"),
    ({"method": "svdd", "particles": 0}, "particles must be at least 1, got 0"),
    ({"method": "svdd", "branch": 30}, "30 candidates each ask 30 .* at least 31, got 20"),
    ({"method": "svdd", "ess": 0.3}, r"svdd takes no ess, got 0\.3; nested, smc, fk do"),
    ({"method": "smc", "ess": 1.5}, r"ess is a fraction .* in \[0, 1\], got 1\.5"),
    ({"method": "best-of-n", "every": 3}, "best-of-n takes no every, got 3; svdd, nested, smc"),
    ({"method": "smc", "every": 0}, "every must be at least 1, got 0"),
    ({"method": "smc", "every": 1, "particles": 4},
     "a look every 1 steps is 6 .* 4 particles with 1 .* ask 24 .* at least 24, got 20"),
])
def test_wrong_sizes_are_told(model, how, said):
    with pytest.raises(ValueError, match=said):
        design(model, "qed", 2, budget=40, **how)
