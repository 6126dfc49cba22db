"""Neither a cheap reward that chooses among candidates on the way nor a learned value that looks
ahead changes a law, however wrong they are."""

from types import SimpleNamespace

import pytest
import torch
from table_campaigns import (
    FORBIDDEN,
    LetterDomain,
    all_words,
    pool_of,
    sampler,
    table_round,
    tilt,
    told,
)

from scidiff.api.methods import METHODS
from scidiff.api.plans import Plan
from scidiff.api.populations import Populations
from scidiff.api.steering import Screen, Steering
from scidiff.core import seeded
from scidiff.guidance.cascade import Cascade
from scidiff.guidance.values import LearnedValue
from scidiff.samplers.strided import StridedSampler, finished

STRENGTH, RUNS, K = 1.2, 700, 6


def wrong(words):
    """Has nothing to do with the reward."""
    return [sum(ord(c) * 31**i for i, c in enumerate(w)) % 7 / 5 for w in words]


def model(block_causal=False, forbidden=None):
    engine = SimpleNamespace(block_causal=block_causal, typical_steps=lambda s: s.num_steps)
    return SimpleNamespace(domain=LetterDomain(forbidden), engine=engine)


def drawn(method, plan, screen=None, block_causal=False, forbidden=None, value=None):
    """One round of populations over the table, and the rows that its reward was asked for."""
    strategy = Populations(model(block_causal, forbidden), METHODS[method], RUNS, plan,
                           Steering(screen=screen, value=value))
    here = table_round(pool_of(["AAAA"]), RUNS * K, 0, STRENGTH, forbidden=forbidden, floor=0.3)
    run = strategy.round(here)
    return run, here.reward.scorer.asked + here.reward.scorer.cache_hits


def z_scores(run, weights):
    """Z and the mass of words that begin with A, in standard errors of populations."""
    first = torch.tensor([w[0] == "A" for w in all_words()])
    w, out = run.log_w.exp().view(RUNS, -1), []
    begins = (run.x.ids[:, 0] == 2).view(RUNS, -1)
    for f, truth in ((torch.ones_like(w), weights.sum()), (begins, weights[first].sum())):
        means = (w * f).mean(1)
        out.append(float((means.mean() - truth) / (means.std() / len(means) ** 0.5)))
    return out


PLANS = {"smc": Plan(K, 1, 4, 0.5), "nested": Plan(3, 2, 2, 1.0), "fk": Plan(K, 1, 2, 0.5),
         "svdd": Plan(1, 4, 4), "best-of-n": Plan(K, 1, 0)}


@pytest.mark.parametrize("block_causal", [False, True])
@pytest.mark.parametrize("method", PLANS)
def test_a_wrong_screen_keeps_the_law(method, block_causal):
    run, _ = drawn(method, PLANS[method], Screen(wrong, 3), block_causal)
    assert all(abs(z) < 4 for z in z_scores(run, tilt(STRENGTH)))


def test_objects_that_are_invalid_on_the_way_are_screened_too():
    run, _ = drawn("smc", PLANS["smc"], Screen(wrong, 3), True, FORBIDDEN)
    weights = tilt(STRENGTH, forbidden=FORBIDDEN, floor=0.3)
    assert all(abs(z) < 4 for z in z_scores(run, weights))


def test_the_test_sees_a_screen_that_is_not_weighed(monkeypatch):
    monkeypatch.setattr("scidiff.guidance.particles._log_ratio", lambda x, shape: 0.0)
    run, _ = drawn("smc", PLANS["smc"], Screen(told, 6))
    assert not all(abs(z) < 4 for z in z_scores(run, tilt(STRENGTH)))


@pytest.mark.parametrize("method", PLANS)
def test_the_dear_reward_is_asked_no_more_often(method):
    plain, screened = (drawn(method, PLANS[method], s)[1] for s in (None, Screen(wrong, 5)))
    assert screened == plain


def test_a_good_screen_makes_the_draws_themselves_better():
    plain, screened = (drawn("best-of-n", PLANS["best-of-n"], s)[0]
                       for s in (None, Screen(told, 8)))
    better = [r.scores.mean() / STRENGTH for r in (plain, screened)]
    assert better[1] > better[0] + 0.1
    assert screened.log_w.std() < plain.log_w.std()


def test_rows_that_are_finished_are_known_through_a_screen():
    cascade = Cascade(StridedSampler(sampler(), 2), lambda x, k, rng: x.ids.sum(1).double(), 2)
    x = cascade.init(3, seeded(0))
    assert not finished(cascade, x).any()
    for k in range(cascade.num_steps):
        x = cascade.step(x, k, seeded(k))
    assert finished(cascade, x).all()


# ---------------------------------------------------------------- learned values


@pytest.mark.parametrize("screen", [None, Screen(wrong, 3)])
@pytest.mark.parametrize("method", ["svdd", "smc", "nested", "fk"])
def test_a_wrong_value_keeps_the_law_and_asks_at_the_end_alone(method, screen):
    steps = []

    def lies(x, k):
        steps.extend(k.tolist())
        return torch.sin(7.0 * x.ids.sum(1))

    plan = PLANS[method]
    run, asked = drawn(method, plan, screen, value=LearnedValue(lies, STRENGTH))
    assert all(abs(z) < 4 for z in z_scores(run, tilt(STRENGTH)))
    assert asked == RUNS * plan.particles * plan.branch
    stride = plan.stride(4)
    assert set(steps) == set(range(stride, 4, stride))  # places of the chain, not of its strides
