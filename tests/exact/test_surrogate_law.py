"""Whatever a surrogate says on the way, weighted rounds keep the law of the tilted model."""

from dataclasses import replace

import pytest
import torch
from table_campaigns import FORBIDDEN, LetterDomain, all_words, pool_of, table_round, tilt, told

from scidiff.guidance.lookahead import Decoded, PosteriorMean, Rollout
from scidiff.guidance.selection import per_parent, smc
from scidiff.guidance.surrogate_rounds import SurrogateValued
from scidiff.rewards.surrogates import Surrogate

STRENGTH, RUNS, K = 1.2, 800, 6
POOL = ["AAAA", "ACGA", "GGGG", "CCCC", "AGCA", "CGAC", "GACG", "ACCA", "AGGC", "CCGA"]


class Wrong:
    """A surrogate that has nothing to do with the reward."""

    noise, floor = 1.0, None

    def fit(self, objects, values):
        self.seen = len(objects)

    def __call__(self, words):
        return [3.0 * (scattered(w) % 7) / 7 for w in words]


def scattered(word):
    return sum(ord(c) * 31**i for i, c in enumerate(word))


def lies(words):
    return [float(scattered(w) % 5) for w in words]


SURROGATES = {
    "wrong": (Wrong, told),
    "learned": (lambda: Surrogate("aligned sequence"), told),
    "learned from lies": (lambda: Surrogate("sequence"), lies),
}


def valued(name, look=PosteriorMean, **options):
    made = SURROGATES[name][0]()
    settings = {"batch": None, "particles": K, "branch": 2, "looks": 4, "least": 4, **options}
    return SurrogateValued(made, look, **settings)


def z_scores(values, log_w, weights):
    """Z and the mass of words that begin with A, in standard errors of populations."""
    first = torch.tensor([w[0] == "A" for w in all_words()])
    w, out = log_w.exp().view(-1, K), []
    for f, truth in ((torch.ones(len(log_w)), weights.sum()), (values, weights[first].sum())):
        means = (w * f.view(-1, K)).mean(1)
        out.append(float((means.mean() - truth) / (means.std() / len(means) ** 0.5)))
    return out


@pytest.mark.parametrize("look", [PosteriorMean, Rollout])
@pytest.mark.parametrize("name", SURROGATES)
def test_a_round_is_unbiased_whatever_the_surrogate(name, look):
    pool = pool_of(POOL, SURROGATES[name][1])
    run = valued(name, look).round(table_round(pool, RUNS * K, 0, STRENGTH))
    assert len(run.looks) == 5
    assert all(abs(z) < 4 for z in z_scores(run.x.ids[:, 0] == 2, run.log_w, tilt(STRENGTH)))


@pytest.mark.parametrize("select", [smc(0.5), per_parent])
def test_invalid_ends_score_the_floor_of_the_reward(select):
    """Not what the surrogate thinks of them."""
    here = table_round(pool_of(POOL), RUNS * K, 1, STRENGTH, forbidden=FORBIDDEN, floor=0.3)
    run = valued("wrong", Rollout, select=select, stretch=2).round(here)
    weights = tilt(STRENGTH, forbidden=FORBIDDEN, floor=0.3)
    assert all(abs(z) < 4 for z in z_scores(run.x.ids[:, 0] == 2, run.log_w, weights))


def test_rounds_that_learn_from_each_other_stay_unbiased():
    """Given the pool a round is unbiased, so their errors are martingale differences."""
    strategy, pool = valued("learned", least=6), pool_of(POOL[:1])
    ends, log_w = [], []
    for number in range(40):
        run = strategy.round(table_round(pool, 2 * K, number, STRENGTH))
        Decoded(LetterDomain(), pool.scorer)(run.x)
        ends.append(run.x.ids[:, 0] == 2)
        log_w.append(run.log_w)
    assert len(pool) > 30
    scores = z_scores(torch.cat(ends), torch.cat(log_w), tilt(STRENGTH))
    assert all(abs(z) < 4 for z in scores)


def test_a_surrogate_that_answers_at_the_end_would_bend_the_law():
    """The test sees what it is for."""
    here = table_round(pool_of(POOL), RUNS * K, 2, STRENGTH)
    run = valued("wrong").round(replace(here, reward=Decoded(LetterDomain(), Wrong())))
    scores = z_scores(run.x.ids[:, 0] == 2, run.log_w, tilt(STRENGTH))
    assert not all(abs(z) < 4 for z in scores)
