"""Rounds with a surrogate: who is asked what, how candidates are chosen, and that a killed
campaign goes on as if nothing had happened."""

import json
import math

import pytest
import torch
from table_campaigns import (
    FORBIDDEN,
    all_words,
    pool_of,
    table_campaign,
    table_round,
    told,
)

from scidiff.core import normal, seeded
from scidiff.guidance.cascade import Cascade
from scidiff.guidance.certificate import IMPROPER
from scidiff.guidance.particles import sample
from scidiff.guidance.surrogate_rounds import (
    Bounds,
    Finished,
    Screened,
    SurrogateValued,
    Thompson,
)
from scidiff.rewards.surrogates import Surrogate
from scidiff.testing import check_sampler


def valued(**options):
    settings = {"batch": 12, "particles": 4, "branch": 3, "looks": 4, "least": 5, **options}
    return SurrogateValued(Surrogate("aligned sequence"), **settings)


def screened(**options):
    settings = {"batch": 6, "candidates": 5, "least": 5, **options}
    return Screened(Surrogate("aligned sequence"), **settings)


STRATEGIES = {
    "valued": valued,
    "screened": screened,
    "thompson": lambda: screened(choose=Thompson()),
}


def outcome(campaign):
    """All that must not depend on where a campaign was cut; seconds do."""
    history = [{k: v for k, v in line.items() if k != "seconds"} for line in campaign.history]
    return campaign.pool.memory(), campaign.stopped, json.dumps(history)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_cut_campaign_ends_as_a_whole_one(name):
    whole = table_campaign(STRATEGIES[name](), 40)
    whole.run()
    first = table_campaign(STRATEGIES[name](), 40)
    for _ in range(2):
        first.step()
    saved, tensors = json.loads(json.dumps(first.saved())), first.strategy.state()
    again = table_campaign(STRATEGIES[name](), 40)
    again.restore(saved, tensors)
    again.run()
    assert outcome(again) == outcome(whole)
    assert len(whole.history) > 3


@pytest.mark.parametrize("name", STRATEGIES)
def test_calls_are_never_exceeded_and_all_are_used(name):
    asked = []

    def reward(words):
        asked.extend(words)
        return told(words)

    campaign = table_campaign(STRATEGIES[name](), 23, reward=reward)
    campaign.run()
    assert len(asked) == len(set(asked)) == campaign.ledger.asked
    assert campaign.ledger.asked == 23 or campaign.stopped == "exhausted"
    batch = campaign.strategy.batch
    new = [b["asked"] - a["asked"] for a, b in zip(campaign.history, campaign.history[1:],
                                                   strict=False)]
    assert all(n <= batch for n in new)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_campaign_ends_when_nothing_is_left(name):
    campaign = table_campaign(STRATEGIES[name](), 500, forbidden=FORBIDDEN)
    campaign.run()
    assert campaign.stopped == "exhausted"
    assert set(campaign.pool.keys) <= {w for w in all_words() if FORBIDDEN not in w}


def test_look_aheads_ask_the_surrogate_only():
    """Each finished object costs one question, however many candidates there are."""
    here = table_round(pool_of(all_words()[:20]), 12, 0, 1.0)
    run = valued(branch=8).round(here)
    words = {tuple(row) for row in run.x.ids.tolist()}
    assert here.reward.asked == len(words) <= 12 == len(run.x)
    assert run.ledger.asked == here.reward.asked


def test_the_first_round_draws_plainly():
    """With fewer scored objects than `least` there is nothing to learn from."""
    run = valued(least=21).round(table_round(pool_of(all_words()[:20]), 12, 0, 1.0))
    assert run.looks == (4,)
    again = table_round(pool_of(all_words()[:20]), 12, 0, 1.0)
    draws = sample(again.sampler, 12, again.rng)
    assert torch.equal(run.x.ids, draws.ids)
    assert valued(least=20).round(
        table_round(pool_of(all_words()[:20]), 12, 0, 1.0)).looks == (1, 2, 3, 4, 5)


def test_a_good_surrogate_makes_weights_even():
    """The spread of the estimates of Z over populations, beside plain draws."""
    def spread(least):
        here = table_round(pool_of(all_words()), 8 * 1000, 0, 1.2)
        run = valued(least=least, batch=None, particles=8, looks=1).round(here)
        return float(run.log_z.exp().std() / run.log_z.exp().mean())

    assert spread(5) < 0.7 * spread(100)  # 3 candidates each: about 1 / sqrt(3)


@pytest.mark.parametrize("name", ["screened"])
def test_screening_finds_more_than_drawing(name):
    """After 20 questions of 81 words: the mean of the ten best, over seeds."""
    def top(strategy, seed):
        campaign = table_campaign(strategy, 20, seed)
        campaign.run()
        return campaign.history[-1]["mean_10"]

    gains = [top(STRATEGIES[name](), s) - top(screened(least=10_000), s) for s in range(12)]
    mean = sum(gains) / len(gains)
    spread = math.sqrt(sum((g - mean) ** 2 for g in gains) / len(gains))
    assert mean > 3 * spread / math.sqrt(len(gains))


def test_screening_asks_for_what_is_new_and_valid():
    pool = pool_of(all_words()[:40])
    here = table_round(pool, 6, 0, 1.0, forbidden=FORBIDDEN)
    run = screened().round(here)
    words = [r.text for r in here.reward.domain.decode(run.x)]
    assert len(set(words)) == 6 and not set(words) & set(pool.keys)
    assert not any(FORBIDDEN in w for w in words)
    assert here.reward.cache_hits == 0 and run.certificate.verdict == IMPROPER


def test_an_empty_step_changes_nothing():
    inner = table_round(pool_of(["AAAA"]), 1, 0, 1.0).sampler
    check_sampler(Finished(inner))
    assert torch.equal(sample(Finished(inner), 9, seeded(0)).ids, sample(inner, 9, seeded(0)).ids)
    told_once = sample(Finished(Cascade(inner, lambda x, k, rng: x.ids.sum(1), 3)), 5, seeded(0))
    assert told_once.log_ratio is None  # the last step's own is not told twice
    with pytest.raises(ValueError, match="one for all rows"):
        Finished(inner).step(inner.init(2, seeded(0)), torch.tensor([0, 1]), seeded(0))


# ---------------------------------------------------------------- choices


def law(size, seed):
    root = normal((size, size), seeded(seed)).double()
    return normal((size,), seeded(seed, 1)).double(), root @ root.T / size


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kappa", [0.0, 3.0, 30.0])
def test_bounds_condition_on_what_was_taken(kappa, seed):
    mean, covariance = law(12, seed)
    rows = Bounds(kappa)(mean, covariance, 0.2, 9, seeded(0))
    for i, row in enumerate(rows):
        taken = rows[:i]
        k = covariance[:, taken]
        inside = (covariance[taken][:, taken] + 0.2 * torch.eye(i)).inverse()
        worth = mean + kappa * (covariance.diagonal() - (k @ inside * k).sum(1)).sqrt()
        worth[taken] = -math.inf
        assert row == int(worth.argmax())


def test_bounds_leave_the_twin_of_a_row_alone():
    covariance = torch.eye(3, dtype=torch.float64)
    covariance[0, 1] = covariance[1, 0] = 1.0
    mean = torch.tensor([1.0, 0.9, 0.5], dtype=torch.float64)
    assert Bounds(1.0)(mean, covariance, 0.01, 2, seeded(0)) == [0, 2]
    assert Bounds(0.0)(mean, covariance, 0.01, 2, seeded(0)) == [0, 1]


def test_thompson_takes_a_row_as_often_as_it_is_the_best():
    mean = torch.tensor([0.3, 0.0], dtype=torch.float64)
    covariance = torch.tensor([[1.0, 0.6], [0.6, 2.0]], dtype=torch.float64)
    first = [Thompson()(mean, covariance, 0.1, 1, seeded(0, i))[0] == 0 for i in range(2000)]
    truth = float(torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(0.3 / math.sqrt(1.8))))
    error = math.sqrt(truth * (1 - truth) / 2000)
    assert abs(sum(first) / 2000 - truth) < 4 * error


def test_thompson_takes_every_row_once():
    mean, covariance = law(9, 3)
    assert sorted(Thompson()(mean, covariance, 0.1, 9, seeded(0))) == list(range(9))


@pytest.mark.parametrize("make, said", [
    (lambda: valued(branch=0), "branch must be at least 1, got 0"),
    (lambda: screened(candidates=0), "candidates must be at least 1, got 0"),
])
def test_impossible_numbers_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
