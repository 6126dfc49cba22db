"""Evolution over rounds: offspring keep the law, rounds keep their budget, learning continues
where it was cut."""

import math
from types import SimpleNamespace

import pytest
import torch
from gaussian_targets import gaussian
from tiny_models import write_tiny_model
from token_laws import chi2_z

from scidiff.api.entry import load
from scidiff.api.strategies import evolution
from scidiff.core import seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.campaign import Campaign, Limits
from scidiff.guidance.evolving import Evolution
from scidiff.guidance.learner import Learner
from scidiff.guidance.lookahead import Decoded
from scidiff.guidance.offspring import offspring, steps_taken
from scidiff.guidance.particles import sample
from scidiff.guidance.pool import Directed
from scidiff.rewards.pareto import hypervolume, ranks
from scidiff.rewards.scores import Answer
from scidiff.rewards.scoring import Scorer, Scores, Status
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.masked import FixedCanvas, LengthLaw, MaskedSampler, Sequential
from scidiff.samplers.strided import StridedSampler
from scidiff.testing import chain_table, same

TABLE = chain_table()


def masked(**options):
    blank = FixedCanvas.blank(TABLE.length, TABLE.mask_id)
    return MaskedSampler(TABLE.denoiser(), blank, **options)


class Nitrogens:
    """Nitrogen atoms, in tenths."""

    name, floor, version = "nitrogens", 0.0, "1"

    def __call__(self, mols):
        return [sum(a.GetSymbol() == "N" for a in m.GetAtoms()) / 10 for m in mols]


class Oxygens(Nitrogens):
    """Oxygen atoms, in tenths."""

    name = "oxygens"

    def __call__(self, mols):
        return [sum(a.GetSymbol() == "O" for a in m.GetAtoms()) / 10 for m in mols]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return {k: load(write_tiny_model(folder / k, k)) for k in ("masked", "block")}


def campaign(model, calls, seed=0, strategy=None, reward=None, batch=None):
    scorer = Scorer(reward or Nitrogens(), key=model.domain.key, budget=calls,
                    kind=model.domain.kind)
    strategy = strategy or evolution(model, calls, {})
    strategy.batch = batch or strategy.batch
    if strategy.learner is not None:
        strategy.learner.least = 5
    return Campaign(strategy, model.sampler(), Decoded(model.domain, scorer), model.engine.encode,
                    seed, Limits(calls))


def best(run, n=10):
    return sum(run.pool.values[row] for row in run.pool.best(n)) / n


# ---------------------------------------------------------------- offspring


@pytest.mark.parametrize("order", [None, Sequential()])
def test_offspring_of_draws_are_draws(order):
    n = 40_000
    rows = torch.multinomial(TABLE.p, n, True, generator=seeded(0))
    children = offspring(masked(order=order), TokenState(TABLE.seqs[rows]), seeded(1))
    assert len(children) == n
    assert (children.ids != TABLE.seqs[rows]).any()
    assert abs(chi2_z(TABLE, children.ids, TABLE.p)) < 4


def test_children_stand_where_their_parents_stood_and_share_their_past():
    clean = TokenState(TABLE.seqs[torch.arange(20) % len(TABLE.seqs)])
    children = offspring(masked(order=Sequential()), clean, seeded(2))
    alike = (children.ids == clean.ids).int().cumprod(1).sum(1)  # tokens before the first change
    assert (alike == TABLE.length).any() and (alike < TABLE.length).any()


def test_only_steps_that_a_row_took_are_gone_back():
    sampler = MaskedSampler(TABLE.denoiser(), LengthLaw([0, 1, 1, 1, 1], TABLE.mask_id, 9),
                            order=Sequential())
    rows = TokenState(torch.tensor([[2, 3, 1, 0, 0, 0, 0, 0, 0], [2, 3, 2, 2, 1, 0, 0, 0, 0]]))
    assert steps_taken(sampler, rows).tolist() == [2, 4]
    assert steps_taken(StridedSampler(sampler, 2), rows).tolist() == [2, 2]


def test_children_go_back_no_further_than_their_reach():
    clean = TokenState(TABLE.seqs.repeat(5, 1))
    children = offspring(masked(order=Sequential()), clean, seeded(2), reach=0.5)
    half = TABLE.length // 2
    assert torch.equal(children.ids[:, :half], clean.ids[:, :half])
    assert (children.ids[:, half] != clean.ids[:, half]).any()
    with pytest.raises(ValueError, match=r"reach must lie in \(0, 1\], got 0"):
        offspring(masked(), clean, seeded(0), reach=0)


def test_continuous_states_have_offspring_too():
    oracle = gaussian()
    sampler = GaussianSampler(oracle, oracle.canvas, steps=4)
    clean = sample(sampler, 20, seeded(0))
    assert steps_taken(sampler, clean).tolist() == [4] * 20
    children = offspring(sampler, clean, seeded(1))
    assert len(children) == 20 and not same(children[torch.arange(5)], clean[torch.arange(5)])


# ---------------------------------------------------------------- rounds


@pytest.mark.parametrize("kind", ["masked", "block"])
def test_a_budget_is_used_up_and_never_passed(models, kind):
    run = campaign(models[kind], 25, batch=10)
    plain, sizes = run.strategy.round, []

    def counted(here):
        made = plain(here)
        sizes.append(len(made.x))
        assert made.scored.all()
        return made

    run.strategy.round = counted
    run.run()
    assert sum(sizes) == 25
    assert run.ledger.asked == 25 == len(run.pool) == len(set(run.pool.keys))
    asked = torch.tensor([0, *(line["asked"] for line in run.history)]).diff()
    assert 0 < asked.min() and asked.max() <= 10
    assert run.stopped == "calls" and run.ledger.network_rows > 0


@pytest.mark.parametrize("kind", ["masked", "block"])
def test_what_is_found_is_better_than_draws(models, kind):
    run = campaign(models[kind], 60, batch=10)
    run.run()
    plain = campaign(models[kind], 60, strategy=Evolution(60, share=0.0))
    plain.run()
    assert best(run) > best(plain) + 0.05
    made = [row for row, key in enumerate(run.pool.keys) if key in run.pool.parents]
    assert made and set(run.pool.parents.values()) <= set(run.pool.keys)


@pytest.mark.parametrize("kind", ["masked", "block"])
def test_a_campaign_that_is_cut_goes_on_bit_by_bit(models, kind):
    whole = campaign(models[kind], 24, seed=4, batch=8)
    whole.run()
    cut = campaign(models[kind], 24, seed=4, batch=8)
    cut.step()
    cut.step()
    other = campaign(models[kind], 24, seed=4, batch=8)
    other.restore(cut.saved(), {k: v.clone() for k, v in cut.strategy.state().items()})
    other.run()
    assert other.pool.texts == whole.pool.texts and other.pool.values == whole.pool.values
    ends = whole.strategy.state(), other.strategy.state()
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert bool(ends[0]) == (kind == "block")


def test_a_model_that_has_said_everything_ends_the_campaign(models):
    class OneThing:
        num_steps, stochastic = 1, True

        def init(self, n, rng):
            return models["masked"].engine.encode(["CCO"] * n)

        def step(self, x, k, rng):
            return x

    run = campaign(models["masked"], 50, strategy=Evolution(5))
    run.sampler = OneThing()
    run.run()
    assert run.stopped == "exhausted" and len(run.pool) == 1


def test_a_sampler_that_cannot_go_back_has_no_offspring(models):
    run = campaign(models["masked"], 30, strategy=Evolution(10))
    plain = run.sampler
    run.sampler = SimpleNamespace(num_steps=plain.num_steps, stochastic=True, init=plain.init,
                                  step=plain.step, predict_clean=plain.predict_clean)
    run.run()
    assert len(run.pool) == 30 and not run.pool.parents


def test_failed_objects_are_neither_parents_nor_lessons(models):
    def fickle(mols):
        values = Nitrogens()(mols)
        return [float("nan") if v > 0.2 else v for v in values]

    fickle.floor = 0.0
    run = campaign(models["block"], 60, reward=fickle, batch=30)
    run.run()
    failed = {k for k, v in zip(run.pool.keys, run.pool.values, strict=True) if v != v}
    assert failed and not failed & set(run.pool.parents.values())


def test_what_cannot_be_read_again_is_not_asked(models):
    strategy = Evolution(10, readable=lambda record: "F" not in record.text)
    run = campaign(models["masked"], 30, strategy=strategy)
    run.run()
    assert len(run.pool) == 30 and not any("F" in text for text in run.pool.texts)


def test_what_a_memory_discounts_is_neither_bred_nor_asked_for(models):
    """The memory has had enough of oxygen: the best parents are those that have none."""

    def without_oxygen(mols):
        return [float(all(a.GetSymbol() != "O" for a in m.GetAtoms())) for m in mols]

    shares, model = [], models["masked"]
    for discount in (None, without_oxygen):
        run = campaign(model, 80, batch=20)
        run.reward.scorer.discount = discount
        run.run()
        bred = {run.reward.scorer.texts[key] for key in run.pool.parents.values()}
        later = run.pool.texts[20:]
        shares.append([sum("O" in t for t in some) / len(some) for some in (bred, later)])
    assert shares[1][0] < shares[0][0] / 2 and shares[1][1] < shares[0][1] / 2


class Ring:
    """Two objectives that nothing has both of: nitrogens and oxygens, in tenths."""

    name, floor, version = "ring", 0.0, "1"
    objectives = "N", "O"
    objective_floors = torch.zeros(2, dtype=torch.float64)
    leaves = {"N": Nitrogens(), "O": Oxygens()}

    def combine(self, parts):
        values = self.objective_values(parts).mean(1)
        return Scores(values, torch.zeros(len(values), dtype=torch.int8))

    def objective_values(self, parts):
        return torch.stack([parts["N"].values, parts["O"].values], 1)


@pytest.mark.parametrize("kind", ["masked", "block"])
def test_a_front_is_climbed_in_a_direction_of_each_round(models, kind):
    run = campaign(models[kind], 80, reward=Ring(), batch=10)
    views, teach = [], run.strategy._teach
    run.strategy._teach = lambda here, asked: (views.append(here.pool.weights), teach(here, asked))
    run.run()
    assert len(views) == run.number and len({tuple(w.tolist()) for w in views}) == run.number
    assert all(float(w.sum()) == pytest.approx(1) and w.min() > 0 for w in views)
    made = [row for row, key in enumerate(run.pool.keys) if key in run.pool.parents]
    assert made and set(run.pool.parents.values()) <= set(run.pool.keys)  # those of the campaign
    found = run.pool.objectives.values
    plain = campaign(models[kind], 80, reward=Ring(), strategy=Evolution(80, share=0.0))
    plain.run()
    zero = Ring.objective_floors
    assert hypervolume(found, zero) > hypervolume(plain.pool.objectives.values, zero)


def test_a_direction_sees_failed_objects_as_such(models):
    run = campaign(models["masked"], 20, reward=Ring(), strategy=Evolution(20))
    run.run()
    view = Directed(run.pool, torch.tensor([1.0, 0.0], dtype=torch.float64))
    nitrogens = run.pool.objectives.values[:, 0]
    best = view.best(1)[0]
    assert nitrogens[best] == nitrogens.max() and view.floor == 0 and len(view) == 20
    rank = ranks(run.pool.objectives.values)[view.best()]
    assert (rank.diff() >= 0).all() and rank.max() > 0
    within = nitrogens[view.best()][rank == 0]
    assert (within.diff() <= 0).all()
    key = run.pool.keys[best]
    run.reward.scorer._parts["O"][key] = Answer(math.nan, Status.FAILED)
    assert math.isnan(view.values[best])


@pytest.mark.parametrize("name", ["batch", "candidates", "parents"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Evolution(**{"batch": 5, name: 0})


def test_a_share_beyond_one_is_refused():
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\), got 1.0"):
        Evolution(5, share=1.0)


# ---------------------------------------------------------------- learning


def test_lessons_make_the_best_likelier_and_follow_the_number_asked(models):
    model = models["block"]
    run = campaign(model, 60, batch=60)
    learner = run.strategy.learner
    run.run()
    assert learner.rows == 5 * 64  # 60 objects at 5 lessons each, in whole steps
    few = model.engine.encode([run.pool.texts[row] for row in run.pool.best(5)])
    untaught = evolution(model, 60, {}).learner
    taught, before = (one.tuner.reference_log_prob(few, seeded(0)) for one in (learner, untaught))
    assert taught.mean() > before.mean()


def test_few_objects_teach_nothing(models):
    run = campaign(models["block"], 30, batch=10)
    run.strategy.learner.least = 20
    rows = []
    run.run(lambda run: rows.append(run.strategy.learner.rows))
    assert rows == [0, 64, 128]
    with pytest.raises(ValueError, match="least must be at least 1, got 0"):
        Learner(run.strategy.learner.tuner.network, run.sampler, None, least=0)


def test_the_model_itself_is_left_as_it_was(models):
    model = models["block"]
    before = {k: v.clone() for k, v in model.engine.network.state_dict().items()}
    campaign(model, 10, batch=10).run()
    after = model.engine.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_nothing_is_learned_from_nothing(models):
    def silent(mols):
        return [float("nan")] * len(mols)

    silent.floor = 0.0
    run = campaign(models["block"], 10, reward=silent, batch=5)
    start = {k: v.clone() for k, v in run.strategy.state().items()}
    run.run()
    assert len(run.pool) == 10
    assert all(torch.equal(start[k], v) for k, v in run.strategy.state().items())
