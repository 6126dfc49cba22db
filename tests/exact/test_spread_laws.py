"""Resampling by priorities keeps populations apart and leaves every law as it is."""

import pytest
import torch
from table_campaigns import (
    FORBIDDEN,
    Floored,
    LetterDomain,
    all_words,
    pool_of,
    sampler,
    table_round,
    tilt,
    told,
)

from scidiff.core import seeded
from scidiff.data.records import Record
from scidiff.guidance.lookahead import Decoded, PosteriorMean, Rollout
from scidiff.guidance.particles import guided_sample
from scidiff.guidance.selection import Resample, log_mean_exp, nested, per_parent, smc
from scidiff.guidance.spreading import Spread
from scidiff.guidance.surrogate_rounds import SurrogateValued
from scidiff.rewards.diversity import DiversityMemory
from scidiff.rewards.scoring import Scorer
from scidiff.rewards.surrogates import Surrogate
from scidiff.testing import check_select

STRENGTH, RUNS, K = 1.2, 800, 6


def arbitrary(words, copies):
    """Factors that have nothing to do with the reward, by each word, its company and its
    weight."""
    return [0.7 if w is None else (0.05 + (hash_of(w) % 5) / 5) / (words.count(w) + many)
            for w, many in zip(words, copies, strict=True)]


def hash_of(word):
    return sum(ord(c) * 31**i for i, c in enumerate(word))


def remembered():
    memory = DiversityMemory("edit", bucket=3, threshold=0.25)
    memory.add({w: w for w in ("AAAA", "CGCG", "GGAC")})
    return memory.among


FACTORS = {"arbitrary": lambda: arbitrary, "a memory": remembered}


def run(select, branch=1, look=PosteriorMean, forbidden=None, floor=0.0, draws=1, runs=RUNS,
        strength=STRENGTH):
    reward = Decoded(LetterDomain(forbidden), Scorer(Floored(told, floor)))
    chain = sampler()
    value = look(chain, reward, draws, strength)
    hear = getattr(select, "hear", lambda records: None)
    with reward.telling(hear):
        return guided_sample(chain, reward, runs * K, seeded(0), select=select, branch=branch,
                             strength=strength, value=value, populations=runs)


def z_scores(run, weights):
    """Z and the mass of words that begin with A, in standard errors of populations."""
    first = torch.tensor([w[0] == "A" for w in all_words()])
    w, out = run.log_w.exp().view(-1, K), []
    begins = (run.x.ids[:, 0] == 2).view(-1, K)
    for f, truth in ((torch.ones_like(w), weights.sum()), (begins, weights[first].sum())):
        means = (w * f).mean(1)
        out.append(float((means.mean() - truth) / (means.std() / len(means) ** 0.5)))
    return out


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize(("rule", "branch", "look", "draws"), [
    (smc(0.5), 1, PosteriorMean, 1), (smc(1.0), 1, Rollout, 1), (smc(1.0, "ssp"), 1, Rollout, 1),
    (nested(1.0), 3, PosteriorMean, 1), (smc(1.0, "multinomial"), 1, PosteriorMean, 2),
])
def test_the_law_is_that_of_the_tilt_whatever_is_alike(name, rule, branch, look, draws):
    found = run(Spread(FACTORS[name](), rule), branch, look, draws=draws)
    assert all(abs(z) < 4 for z in z_scores(found, tilt(STRENGTH)))


def test_invalid_guesses_have_no_object():
    seen = []

    def watched(words, copies):
        seen.extend(words)
        return arbitrary(words, copies)

    found = run(Spread(watched, smc(1.0)), forbidden=FORBIDDEN, floor=0.3)
    weights = tilt(STRENGTH, forbidden=FORBIDDEN, floor=0.3)
    assert all(abs(z) < 4 for z in z_scores(found, weights))
    assert None in seen and not any(FORBIDDEN in w for w in seen if w)


def test_without_its_weights_a_priority_bends_the_law():
    """The test sees what it is for."""

    class Silent(Spread):
        def __call__(self, log_w, rng):
            index, kept = super().__call__(log_w, rng)
            return index, log_mean_exp(kept)[:, None].expand_as(kept)

    def by_letter(words, copies):
        return [1.0 if w[0] == "A" else 0.1 for w in words]

    found = run(Silent(by_letter, smc(1.0)))
    assert not all(abs(z) < 4 for z in z_scores(found, tilt(STRENGTH)))


def test_populations_hold_more_that_differs():
    memory = DiversityMemory("edit", bucket=1, threshold=0.0)

    def kinds(rule):
        """Different words in a population, on average."""
        found = run(rule, runs=300, strength=3.0)
        words = [r.text for r in LetterDomain().decode(found.x)]
        return sum(len({*words[i : i + K]}) for i in range(0, len(words), K)) / 300

    assert kinds(Spread(memory.among, smc(0.5))) > kinds(smc(0.5)) + 0.25


@pytest.mark.parametrize("scheme", ["systematic", "ssp", "residual"])
def test_choices_by_priority_represent_the_same_measure(scheme):
    factors = [0.1, 1.0, 0.4, 0.7, 0.2]

    class Fixed:
        proper = True

        def __call__(self, log_w, rng):
            rule = Spread(lambda rows, copies: [factors[i] for i in rows], Resample(1.0, scheme))
            P, K, C = log_w.shape
            rule.hear([Record("", i % 5, True) for i in range(P * K * C)])
            return rule(log_w, rng)

    check_select(Fixed(), branch=1, repeats=4000)
    check_select(Fixed(), branch=3, repeats=4000)


def test_a_choice_before_which_nothing_was_heard_is_that_of_the_rule():
    log_w = torch.randn(40, 5, 2, generator=seeded(1), dtype=torch.float64)
    for rule in (smc(0.7), nested(1.0, "ssp")):
        plain, spread = rule(log_w, seeded(2)), Spread(arbitrary, rule)(log_w, seeded(2))
        assert all(torch.equal(a, b) for a, b in zip(plain, spread, strict=True))
    assert Spread(arbitrary, smc(1.0)).final is per_parent


def test_rounds_of_a_surrogate_are_kept_apart_and_stay_unbiased():
    heard = []

    def watched(words, copies):
        heard.extend(words)
        return arbitrary(words, copies)

    strategy = SurrogateValued(Surrogate("aligned sequence"), PosteriorMean, None, K, 2, 4,
                               select=Spread(watched, nested(1.0)), least=4)
    pool = pool_of(["AAAA", "ACGA", "GGGG", "CCCC", "AGCA"])
    found = strategy.round(table_round(pool, RUNS * K, 0, STRENGTH))
    assert heard and all(abs(z) < 4 for z in z_scores(found, tilt(STRENGTH)))
