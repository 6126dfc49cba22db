"""Look-ahead through an automaton against enumerated truth: normalisers, marginals, draws, and the
weights of guided runs."""

from itertools import product

import pytest
import torch

from scidiff.core import seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.lookahead import PosteriorMean
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all, nested, smc
from scidiff.samplers.automata import avoiding, containing, everything
from scidiff.samplers.grammar import GrammarLookahead, GrammarSampler
from scidiff.samplers.masked import Confidence, FixedCanvas, MaskedSampler
from scidiff.samplers.orders import race
from scidiff.samplers.trellis import Trellis, best_accepted, log_accepted, sample_accepted
from scidiff.testing import chain_reward, chain_table, check_sampler

V, L = 5, 5
ROWS = torch.tensor(list(product(range(V), repeat=L)))
ONE, TWO = frozenset({2}), frozenset({3, 4})
MOTIF = containing([[ONE, None, TWO]], V) & avoiding([[frozenset({4})] * 2], V)
FINE = MOTIF.accepts(ROWS)
CHAIN = chain_table()  # tokens 2, 3, 4 and MASK 5, rows of 4
NEVER = float("-inf")


def laws(B: int, scale: float = 3.0) -> torch.Tensor:
    """Products of laws, the first with a token given."""
    law = torch.randn(B, L, V, generator=seeded(0)).mul(scale).log_softmax(-1)
    law[0, 1] = NEVER
    law[0, 1, 4] = 0.0
    return law


def joint(law: torch.Tensor) -> torch.Tensor:
    """log prod_l p_l(x_l) 1[x is accepted] of all rows, (B, V^L)."""
    each = law.double()[:, torch.arange(L), ROWS].sum(-1)
    return each + torch.where(FINE, 0.0, NEVER)


def z_of_chi2(counts: torch.Tensor, p: torch.Tensor) -> float:
    """How far counts are from p, by the chi-square over cells of 5 and more."""
    n = counts.sum()
    assert not (counts[p == 0] > 0).any()
    big = p * n >= 5
    seen = torch.cat([counts[big], counts[~big].sum()[None]])
    wanted = torch.cat([p[big], p[~big].sum()[None]]) * n
    keep = wanted > 0
    statistic = ((seen - wanted)[keep] ** 2 / wanted[keep]).sum()
    freedom = int(keep.sum()) - 1
    return float((statistic - freedom) / (2 * freedom) ** 0.5)


@pytest.mark.parametrize("scale", [3.0, 400.0])  # the second spreads over 1000 nats and more
def test_normaliser_and_marginals_are_those_of_the_enumeration(scale):
    law, trellis = laws(6, scale), Trellis(MOTIF, L)
    messages, exact = trellis.backward(law.double()), joint(law)
    assert torch.allclose(messages.log_normaliser, exact.logsumexp(1), rtol=1e-12)
    one_hot = torch.nn.functional.one_hot(ROWS, V).double()
    marginals = torch.einsum("bn,nlv->blv", exact.softmax(1), one_hot)
    assert torch.allclose(trellis.marginals(messages).exp(), marginals, atol=1e-12)
    assert torch.equal(log_accepted(trellis, law), messages.log_normaliser)


def test_the_best_row_is_the_most_probable_accepted_one():
    law = laws(50)
    assert torch.equal(best_accepted(Trellis(MOTIF, L), law), ROWS[joint(law).argmax(1)])


def test_draws_have_the_conditioned_law():
    law, n = laws(4), 40_000
    place = V ** torch.arange(L - 1, -1, -1)
    for b in (0, 3):
        ids, log_z = sample_accepted(Trellis(MOTIF, L), law[b].expand(n, L, V), seeded(b))
        counts = torch.bincount((ids * place).sum(1), minlength=V**L).double()
        assert abs(z_of_chi2(counts, joint(law)[b].softmax(0))) < 4
        assert torch.allclose(log_z, joint(law)[b].logsumexp(0))


def test_where_everything_is_accepted_the_draw_is_the_plain_race():
    law = laws(300)
    ids, log_z = sample_accepted(Trellis(everything(V), L), law, seeded(5))
    assert torch.equal(ids, race(law, seeded(5))) and log_z.abs().max() < 1e-5


def test_rows_in_parts_are_those_of_one_pass(monkeypatch):
    law, trellis = laws(9), Trellis(MOTIF, L)
    whole = sample_accepted(trellis, law, seeded(1))
    monkeypatch.setattr("scidiff.samplers.trellis.ELEMENTS", 64)
    assert trellis.rows_at_once < 9
    parts = sample_accepted(trellis, law, seeded(1))
    assert torch.equal(whole[0], parts[0]) and torch.allclose(whole[1], parts[1], rtol=1e-14)


def test_what_comes_later_only_has_to_be_possible():
    law = laws(6)
    later = torch.arange(L).expand(6, L) >= 3
    starts = ROWS[:, :3]
    heads, place = torch.unique(starts, dim=0, return_inverse=True)
    possible = torch.zeros(len(heads), dtype=torch.bool)
    possible[place[FINE]] = True
    each = law.double()[:, torch.arange(3), heads].sum(-1)
    exact = (each + torch.where(possible, 0.0, NEVER)).logsumexp(1)
    assert torch.allclose(log_accepted(Trellis(MOTIF, L), law, later), exact)


def test_what_no_row_can_be_has_no_probability():
    never = containing([[ONE] * (L + 1)], V)
    ids, log_z = sample_accepted(Trellis(never, L), laws(3), seeded(0))
    assert not Trellis(never, L).possible and ids.shape == (3, L) and (log_z == NEVER).all()
    given = laws(3)
    given[:, 2], given[:, 2, 1] = NEVER, 0.0  # then no motif fits beside it, but at the ends
    assert (log_accepted(Trellis(avoiding([[frozenset({1})]], V), L), given) == NEVER).all()


# ---------------------------------------------------------------- samplers over a table

SYMBOL = [frozenset({v}) for v in range(6)]
GRAMMARS = {
    "motif": containing([[SYMBOL[2], SYMBOL[4]], [SYMBOL[3], None, SYMBOL[3]]], 6),
    "free of": avoiding([[SYMBOL[3], SYMBOL[2]], [SYMBOL[4]] * 2], 6),
}
CANVAS = FixedCanvas.blank(4, CHAIN.mask_id)


def masked(**options) -> MaskedSampler:
    return MaskedSampler(CHAIN.denoiser(), CANVAS, **options)


OPTIONS = {
    "one": {}, "three": {"tokens_per_step": 3}, "confident": {"order": Confidence()},
    "blocks": {"block_size": 2}, "left to right": {"block_size": 1},
}  # fmt: skip


@pytest.mark.parametrize("options", [*OPTIONS.values(), {"temperature": 0.0}])
@pytest.mark.parametrize("name", GRAMMARS)
def test_every_row_is_accepted(name, options):
    sampler = GrammarSampler(masked(**options), GRAMMARS[name])
    ids = sample(sampler, 2_000, seeded(0)).ids
    assert GRAMMARS[name].accepts(ids).all()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", GRAMMARS)
def test_weighted_rows_have_the_samplers_law_restricted_to_the_grammar(name, options):
    fine = GRAMMARS[name].accepts(CHAIN.seqs)
    if "tokens_per_step" in options:  # its own law is not the table's
        free = sample(masked(**options), 400_000, seeded(3)).ids
        exact = GRAMMARS[name].accepts(free).double().mean()
        noise = exact * (1 - exact) / 400_000
    else:
        exact, noise = CHAIN.p @ fine.double(), torch.tensor(0.0)
    sampler = GrammarSampler(masked(**options), GRAMMARS[name])
    z = guided_sample(sampler, None, 8_000, seeded(4), select=keep_all, populations=400).log_z
    error = (z.exp().var() / 400 + noise) ** 0.5
    assert abs(z.exp().mean() - exact) < 4 * error


@pytest.mark.parametrize("make", [GrammarSampler, GrammarLookahead])
@pytest.mark.parametrize("select, branch", [(smc(0.7), 1), (nested(0.5), 2)])
def test_guided_weights_are_exact_for_the_tilted_law(make, select, branch):
    grammar = GRAMMARS["motif"]
    fine = grammar.accepts(CHAIN.seqs).double() if make is GrammarSampler else 1.0
    tilted = CHAIN.p * chain_reward(TokenState(CHAIN.seqs)).exp() * fine
    starts = (CHAIN.seqs[:, 0] == 2).double()
    sampler = make(masked(), grammar)
    runs = guided_sample(
        sampler, chain_reward, 6_000, seeded(1), select=select, branch=branch, populations=400,
        value=PosteriorMean(sampler, chain_reward),
    )  # fmt: skip
    weights = runs.log_w.exp().view(400, -1)
    f = (runs.x.ids[:, 0] == 2).double().view(400, -1)
    for estimate, exact in (
        (weights.mean(1), tilted.sum()),
        ((weights * f).mean(1), tilted @ starts),
    ):
        assert abs(estimate.mean() - exact) < 4 * estimate.std() / 20


@pytest.mark.parametrize("make", [GrammarSampler, GrammarLookahead])
def test_guesses_are_accepted_and_have_the_conditioned_law(make):
    grammar, n = GRAMMARS["free of"], 40_000
    sampler = make(masked(), grammar)
    x = sampler.init(1, seeded(0))
    guesses = sampler.predict_clean(x[torch.zeros(n, dtype=torch.int64)], 0, seeded(1)).ids
    law = x.trunk.dense()[0]  # (L, V)
    p = law[torch.arange(4), CHAIN.seqs].sum(-1).exp() * grammar.accepts(CHAIN.seqs)
    assert abs(z_of_chi2(CHAIN.frequencies(guesses) * n, p / p.sum())) < 4


def test_an_automaton_that_accepts_everything_changes_nothing():
    plain, bound = masked(), GrammarSampler(masked(), everything(6))
    x = sample(bound, 5_000, seeded(0))
    assert (x.log_ratio.abs() < 1e-12).all()
    p = CHAIN.frequencies(x.ids) * 5_000
    assert abs(z_of_chi2(p, CHAIN.p)) < 4
    guess = [s.predict_clean(s.init(50, seeded(1)), 0, seeded(2)).ids for s in (plain, bound)]
    assert torch.equal(*guess)


def test_rows_that_are_no_longer_possible_stay_hidden_and_guess_plainly():
    ids = torch.tensor([[4, 4, 5, 5], [2, 5, 5, 5]])
    canvas = FixedCanvas(ids, CHAIN.mask_id)
    sampler = GrammarSampler(MaskedSampler(CHAIN.denoiser(), canvas), GRAMMARS["free of"])
    x = sample(sampler, 4, seeded(0))
    assert (x.ids[:2] == torch.tensor([4, 4, 5, 5])).all() and (x.ids[2:] != 5).all()
    start = sampler.init(4, seeded(0))
    guess = sampler.predict_clean(start, 0, seeded(0)).ids
    assert (guess[:2, :2] == 4).all() and (guess != 5).all()
    weights = guided_sample(sampler, None, 4, seeded(0), select=keep_all).log_w
    assert (weights[:2] == NEVER).all() and weights[2:].isfinite().all()


@pytest.mark.parametrize("make", [GrammarSampler, GrammarLookahead])
def test_the_contract_of_samplers(make):
    check_sampler(make(masked(), GRAMMARS["motif"]))


@pytest.mark.parametrize("make, message", [
    (lambda: GrammarLookahead(masked(block_size=2), GRAMMARS["motif"]), "block_size 2 of 4"),
    (lambda: GrammarSampler(masked(), MOTIF), "got 5 and 6"),
    (lambda: log_accepted(Trellis(MOTIF, L), laws(2)[:, :4]), r"must be \(B, 5, 5\)"),
])  # fmt: skip
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
