"""Classifier guidance against p(x) p(y | x)^w, propagated over every partly hidden row."""

import numpy as np
import pytest
import torch
from token_measures import measure
from torch.nn import functional as F

from scidiff.core import seeded
from scidiff.data.tokens import FIRST_SYMBOL, TokenState
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all, smc
from scidiff.samplers import classifier as module
from scidiff.samplers.classifier import (
    ClassifierGuided,
    ExactChange,
    FirstOrderChange,
    Telescoped,
)
from scidiff.samplers.compose import ClassifierFree
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.testing import Table, check_full_graph, check_sampler

L, V = 3, 3
rng = np.random.default_rng(3)
PLAIN = Table.of(torch.from_numpy(rng.dirichlet(np.full(V**L, 0.7)).reshape([V] * L)))
LABEL = torch.from_numpy(rng.uniform(0.05, 0.95, V**L))  # p(y | x) of every sequence
TOLD = Table(PLAIN.seqs, PLAIN.p * LABEL, PLAIN.mask_id)
FACTORS = torch.from_numpy(rng.dirichlet(np.ones(V), L))
SPREAD = Table.of(torch.einsum("a,b,c->abc", *FACTORS))  # positions independent
WEIGHTS = [0.0, 0.5, 1.0, 2.5, -0.5]


class Posterior:
    """log p(y | x_t), from the table."""

    def __init__(self, table=PLAIN, label=LABEL):
        known = table.completions @ label / table.completions.sum(1)
        self.table, self.values = table, known.log()

    def log_prob(self, ids):
        return self.values[self.table.index(ids)]


class Opinion(Posterior):
    """Whatever it likes on the way, the truth on finished rows."""

    def __init__(self, table=PLAIN, label=LABEL):
        super().__init__(table, label)
        hidden = (table.states == table.mask_id).any(1)
        made_up = torch.from_numpy(np.random.default_rng(1).normal(size=len(table.states)))
        self.values = torch.where(hidden, made_up, self.values)


def soft(one_hot):
    """A differentiable score of one-hot rows that is linear in no token."""
    w = torch.from_numpy(np.random.default_rng(2).normal(size=(L, V + 3, 4))).float()
    return torch.einsum("blv,lvh->bh", one_hot, w).tanh().sum(1)


def guided(weight, table=PLAIN, classifier=None):
    change = ExactChange(classifier or Posterior(table))
    return ClassifierGuided(table.denoiser(), change, weight)


def masked(denoiser, table=PLAIN, **options):
    return MaskedSampler(denoiser, FixedCanvas.blank(table.length, table.mask_id), **options)


# ---------------------------------------------------------------- exact changes


def test_weight_one_with_an_exact_classifier_is_the_posterior():
    law = measure(guided(1.0), PLAIN, normalised=True)
    torch.testing.assert_close(law, TOLD.p, atol=1e-7, rtol=0)
    assert (PLAIN.p - TOLD.p).abs().sum() > 0.1


@pytest.mark.parametrize("classifier", [Posterior, Opinion])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_the_unnormalised_law_is_tilted_by_the_classifier_alone(weight, classifier):
    c = classifier()
    found = measure(guided(weight, classifier=c), PLAIN)
    blank = float(c.log_prob(torch.full((1, L), PLAIN.mask_id)))
    exact = PLAIN.p * LABEL**weight * np.exp(-weight * blank)
    torch.testing.assert_close(found, exact, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("weight", [0.5, 2.5])
@pytest.mark.parametrize("temperature", [1.0])
def test_weighted_rows_are_unbiased(weight, temperature):
    denoiser = guided(weight, classifier=Opinion())
    run = guided_sample(masked(denoiser), None, 8_000, seeded(0), select=smc(0.7), populations=400)
    blank = float(denoiser.change.classifier.log_prob(torch.full((1, L), PLAIN.mask_id)))
    target = PLAIN.p * LABEL**weight * np.exp(-weight * blank)
    check(run, target, PLAIN)


def check(run, target, table):
    """Z and one expectation within 4 standard errors over populations."""
    w = run.log_w.exp().view(400, -1)
    f = (run.x.ids[:, 0] == run.x.ids[:, 2]).double().view(400, -1)
    ends = (table.seqs[:, 0] == table.seqs[:, 2]).double()
    for estimate, exact in ((w.mean(1), target.sum()), ((w * f).mean(1), target @ ends)):
        assert abs(estimate.mean() - exact) < 4 * estimate.std() / 20 + 1e-9


def test_a_warmed_law_is_weighed_towards_what_it_says():
    # bent weights are tempered as a whole: (p exp(w change))^(1 / T), one token a step
    denoiser, warm = guided(1.5), 1.6
    sampler = masked(denoiser, temperature=warm)
    run = guided_sample(sampler, None, 8_000, seeded(1), select=keep_all, populations=400)
    hot = measure(Tempered(denoiser, warm), PLAIN)
    check(run, hot, PLAIN)


class Tempered:
    """log weights / T, to be propagated."""

    def __init__(self, inner, temperature):
        self.inner, self.temperature = inner, temperature

    def __call__(self, x, k):
        return self.inner(x, k)

    def log_weights(self, trunk):
        return self.inner.log_weights(trunk) / self.temperature


# ---------------------------------------------------------------- telescoping


@pytest.mark.parametrize("tokens_per_step", [1, 2, 3])
@pytest.mark.parametrize("order", ["exact", "first"])
@pytest.mark.parametrize("temperature", [1.0, 1.4])
def test_a_telescoped_sampler_weighs_by_the_finished_row(tokens_per_step, order, temperature):
    table = SPREAD if temperature == 1 else Table(SPREAD.seqs, SPREAD.p, SPREAD.mask_id)
    first = FirstOrderChange(soft, V + 3)
    change = ExactChange(Soft()) if order == "exact" else first
    denoiser = ClassifierGuided(table.denoiser(), change, 0.8)
    sampler = Telescoped(
        masked(denoiser, table, tokens_per_step=tokens_per_step, temperature=temperature)
    )
    run = guided_sample(sampler, None, 8_000, seeded(2), select=smc(0.7), populations=400)
    gained = first.value(table.seqs) - first.value(torch.full((1, L), table.mask_id))
    base = torch.einsum("a,b,c->abc", *FACTORS ** (1 / temperature)).flatten()
    check(run, base * (0.8 * gained.double()).exp(), table)


class Soft:
    def log_prob(self, ids):
        return soft(F.one_hot(ids, V + 3).float())


def test_without_telescoping_several_tokens_are_weighed_wrongly():
    change = FirstOrderChange(soft, V + 3)
    denoiser = ClassifierGuided(SPREAD.denoiser(), change, 0.8)
    run = guided_sample(masked(denoiser, SPREAD), None, 8_000, seeded(2), select=keep_all)
    gained = change.value(SPREAD.seqs) - change.value(torch.full((1, L), SPREAD.mask_id))
    exact = float((SPREAD.p * (0.8 * gained.double()).exp()).sum())
    w = run.log_w.exp()
    assert abs(float(w.mean()) - exact) > 4 * float(w.std()) / 8_000**0.5


def test_a_linear_score_has_the_same_change_at_first_order():
    linear = torch.from_numpy(np.random.default_rng(5).normal(size=(L, V + 3))).float()

    def score(one_hot):
        return (one_hot * linear).sum((1, 2))

    class Told:
        def log_prob(self, ids):
            return score(F.one_hot(ids, V + 3).float())

    exact = ClassifierGuided(PLAIN.denoiser(), ExactChange(Told()), 1.3)
    first = ClassifierGuided(PLAIN.denoiser(), FirstOrderChange(score, V + 3), 1.3)
    x = TokenState(PLAIN.states[(PLAIN.states == PLAIN.mask_id).all(1)])
    a, b = (d.log_weights(d(x, 0)) for d in (exact, first))
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------- cost, edges, company


def test_only_positions_that_are_read_are_asked_for():
    denoiser = guided(1.0)
    sampler, n = masked(denoiser), 10
    x = sampler.init(n, seeded(0))
    assert denoiser.change.asked == n  # the value at the start
    x = sampler.step(x, 0, seeded(1))
    likely = int((PLAIN.p > 0).any()) * V
    assert denoiser.change.asked == n + n * likely + n
    before = denoiser.change.asked
    denoiser.log_weights(x.trunk.dense())  # everything, as a look-ahead does
    assert denoiser.change.asked - before == n * (L - 1) * V  # hidden positions only
    assert denoiser.rows == 2 * n


@pytest.mark.parametrize("options", [{"micro_batch": 7}, {"compact": False}])
def test_how_the_classifier_is_asked_changes_nothing(options):
    other = ClassifierGuided(PLAIN.denoiser(), ExactChange(Posterior(), **options), 1.0)
    x = TokenState(PLAIN.states)
    a, b = (d.log_weights(d(x, 0)) for d in (other, guided(1.0)))
    assert torch.equal(a, b)


def test_without_compacting_a_step_waits_for_no_device():
    change = ExactChange(Posterior(), compact=False)
    check_full_graph(masked(ClassifierGuided(PLAIN.denoiser(), change, 1.5)))


@pytest.mark.parametrize("weight", [0.0, 0.7, -1.0])
def test_impossible_labels_exclude_and_nothing_is_nan(weight):
    never = torch.where(PLAIN.seqs[:, 0] == FIRST_SYMBOL, 0.0, LABEL)
    law = measure(guided(weight, classifier=Posterior(PLAIN, never)), PLAIN, normalised=True)
    assert not law.isnan().any() and abs(law.sum() - 1) < 1e-6
    assert (law[PLAIN.seqs[:, 0] == FIRST_SYMBOL] > 0).any() == (weight == 0)


def test_guidance_stacks_with_classifier_free_guidance():
    # p_c^(1/2) p_u^(1/2) p(y | x)^2: inside, outside
    free = ClassifierFree(TOLD.denoiser(), PLAIN.denoiser(), 0.5)
    outside = ClassifierGuided(free, ExactChange(Posterior()), 2.0)
    inside = ClassifierFree(guided(4.0), TOLD.denoiser(), 0.5)
    blank = float(Posterior().log_prob(torch.full((1, L), PLAIN.mask_id)))
    exact = (PLAIN.p * TOLD.p).sqrt() * LABEL**2 * np.exp(-2 * blank)
    for stack in (outside, inside):
        found = measure(stack, PLAIN)
        torch.testing.assert_close(found, exact, atol=1e-6, rtol=1e-5)


def test_rows_may_have_weights_of_their_own():
    def weight(x, k):
        return torch.arange(len(x)).float()

    x = TokenState(torch.full((3, L), PLAIN.mask_id))
    mine = guided(weight)
    rows = mine.log_weights(mine(x, 0))
    for i in range(3):
        alone = guided(float(i))
        assert torch.equal(rows[i], alone.log_weights(alone(x, 0))[i])


def test_the_samplers_keep_the_contract():
    check_sampler(masked(guided(1.5)))
    check_sampler(Telescoped(masked(guided(1.5), tokens_per_step=2)))
    x = sample(Telescoped(masked(guided(1.5))), 20, seeded(0))
    assert x.log_ratio.shape == (20,) and not (x.ids == PLAIN.mask_id).any()


@pytest.mark.parametrize("vocabulary, length", [(7, 200), (40, 64), (2000, 5), (2**20, 3)])
def test_a_row_fits_in_few_channels(vocabulary, length):
    ids = torch.randint(vocabulary, (6, length), generator=seeded(0))
    packed = module._packed(ids, vocabulary)
    assert packed.dtype == torch.float32 and torch.equal(
        module._unpacked(packed, vocabulary, length), ids
    )
    assert packed.shape[1] <= max(-(-length // 4), length * (vocabulary > 40))


def test_what_cannot_be_telescoped_is_refused():
    with pytest.raises(ValueError, match="takes a sampler of a ClassifierGuided .* TableDenoiser"):
        Telescoped(masked(PLAIN.denoiser()))
    with pytest.raises(ValueError, match="whose weight is a number"):
        Telescoped(masked(guided(lambda x, k: torch.ones(len(x)))))
    with pytest.raises(ValueError, match="temperature must be positive .* got 0"):
        Telescoped(masked(guided(1.0), temperature=0.0))
