"""Parallel importance sampling and its likelihood against laws known by enumeration.

The law of a row chosen among K random ones is an integral: E[w / (w + S)] = int w exp(-l w)
E[exp(-l w')]^(K-1) dl, S being the sum of the other K - 1 weights.
"""

from itertools import combinations, product

import pytest
import torch
from energy_table import (
    CARRIED,
    MASK,
    ORACLE,
    TABLE,
    L,
    at,
    sampler,
    uneven,
    upside_down,
    weighed,
)

from scidiff.core import seeded
from scidiff.guidance.particles import sample
from scidiff.samplers.energy import EnergySampler, draw_candidates, log_drawn
from scidiff.samplers.masked import FixedCanvas, MaskedSampler


def chosen(energy, ids, K):
    """Exact law (N,) of the row chosen among K at one state."""
    q, w = weighed(energy, ids)
    level = torch.linspace(-30, 30, 601, dtype=torch.float64).exp()[:, None]
    others = (q * (-level * w).exp()).sum(1, keepdim=True) ** (K - 1)
    return K * q * w * (level * (-level * w).exp() * others).sum(0) * 0.1


def exact_law(energy, K, tokens_per_step=2):
    """Law (N,) of finished rows in a random order."""
    laws = {(MASK,) * L: 1.0}
    for hidden in range(L, 0, -tokens_per_step):
        after: dict[tuple, float] = {}
        for state, p in laws.items():
            ids = torch.tensor(state)
            law = chosen(energy, ids, K)
            places = list(combinations((ids == MASK).nonzero()[:, 0].tolist(),
                                       min(tokens_per_step, hidden)))  # fmt: skip
            for place in places:
                kept = ids.repeat(len(TABLE.seqs), 1)
                kept[:, place] = TABLE.seqs[:, place]
                for row, share in zip(kept.tolist(), law.tolist(), strict=True):
                    if share:
                        key = tuple(row)
                        after[key] = after.get(key, 0.0) + p * share / len(places)
        laws = after
    return torch.tensor([laws[tuple(row)] for row in TABLE.seqs.tolist()], dtype=torch.float64)


def distance(p, q):
    return float((p - q).abs().sum() / 2)


def z_score(ids, p):
    """Standardised chi2 of finished rows against p: about N(0, 1)."""
    observed, n = TABLE.frequencies(ids) * len(ids), len(ids)
    freedom = len(p) - 1
    return float((((observed - n * p) ** 2 / (n * p)).sum() - freedom) / (2 * freedom) ** 0.5)


# ---------------------------------------------------------------- energies


@pytest.mark.parametrize("shown", [{}, {1: 3}, {0: 2, 3: 4}])
def test_the_autoregressive_residual_is_the_posterior(shown):
    ids = torch.tensor([shown.get(i, MASK) for i in range(L)])
    q, w = weighed(ORACLE, ids)
    assert float(q.sum()) == pytest.approx(1, abs=1e-12)
    fits = TABLE.p * ((ids == MASK) | (ids == TABLE.seqs)).all(1)
    torch.testing.assert_close(q * w, fits, atol=1e-14, rtol=1e-10)  # Z = p_AR(what is shown)


@pytest.mark.parametrize("shown", [{}, {1: 3}, {0: 2, 3: 4}, {3: 2}])
def test_carried_over_it_needs_no_normaliser(shown):
    ids = torch.tensor([shown.get(i, MASK) for i in range(L)])
    q, w = weighed(CARRIED, ids)
    assert float((q * w).sum()) == pytest.approx(1, abs=1e-12)
    posterior = TABLE.p * ((ids == MASK) | (ids == TABLE.seqs)).all(1)
    behind = any(i > 0 for i in shown)  # a shown token behind a hidden one is not looked at
    assert (distance(q * w, posterior / posterior.sum()) > 0.01) == behind


# ---------------------------------------------------------------- the sampler's law


@pytest.mark.parametrize("energy", [ORACLE, upside_down, uneven])
def test_the_integral_is_the_sum_over_pairs(energy):
    ids = torch.full((L,), MASK)
    q, w = weighed(energy, ids)
    pairs = w[:, None] / (w[:, None] + w)  # the first of two is taken
    torch.testing.assert_close(chosen(energy, ids, 1), q, atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(chosen(energy, ids, 2), 2 * q * (pairs @ q), atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize(
    "K, right, wrong, all_at_once",
    [(1, 0.19362, 0.19362, 0.36028), (2, 0.09719, 0.29049, 0.22359),
     (4, 0.04471, 0.36233, 0.11876), (8, 0.02100, 0.42098, 0.05868)],
)  # fmt: skip
def test_the_error_halves_with_every_doubling_and_the_wrong_sign_adds_to_it(
    K, right, wrong, all_at_once
):
    assert distance(exact_law(ORACLE, K), TABLE.p) == pytest.approx(right, abs=1e-5)
    assert distance(exact_law(upside_down, K), TABLE.p) == pytest.approx(wrong, abs=1e-5)
    assert distance(exact_law(ORACLE, K, 4), TABLE.p) == pytest.approx(all_at_once, abs=1e-5)


def test_carried_over_the_error_stays():
    # coAR does not look at what is shown behind a hidden token: its limit is another law
    assert distance(exact_law(CARRIED, 32), TABLE.p) == pytest.approx(0.16583, abs=1e-5)


@pytest.mark.parametrize("K, tokens_per_step", [(1, 2), (2, 2), (4, 2), (8, 2), (4, 4), (3, 1)])
def test_the_sampler_draws_its_law(K, tokens_per_step, device):
    if device != "cpu":
        pytest.skip("the table lies on the CPU")
    ids = sample(sampler(candidates=K, tokens_per_step=tokens_per_step), 40_000, seeded(K)).ids
    assert abs(z_score(ids, exact_law(ORACLE, K, tokens_per_step))) < 4


def test_the_wrong_sign_would_be_seen():
    ids = sample(sampler(upside_down, candidates=4), 40_000, seeded(0)).ids
    assert abs(z_score(ids, exact_law(upside_down, 4))) < 4
    assert z_score(ids, exact_law(ORACLE, 4)) > 1000


def test_one_candidate_or_a_flat_energy_is_the_inner_law():
    plain = exact_law(ORACLE, 1)
    ids = sample(sampler(lambda x, clean, drawn: drawn * 0, candidates=5), 40_000, seeded(1)).ids
    assert abs(z_score(ids, plain)) < 4
    inner = sampler().inner
    assert abs(z_score(sample(inner, 40_000, seeded(2)).ids, plain)) < 4


def test_candidates_belong_to_their_row():
    # every row shows one token of its own; a candidate of another row would not have it
    ids = torch.tensor(list(product([MASK], [2, 3, 4], [MASK], [2, 3, 4])))
    law = TABLE.log_conditionals[TABLE.index(ids)]
    clean = draw_candidates(law, ids, ids == MASK, 5, seeded(0))
    drawn = log_drawn(law, ids == MASK, clean)
    assert clean.shape == (9, 5, 4)
    assert ((clean == ids[:, None]) | (ids == MASK)[:, None]).all()
    for b, k in product(range(9), range(5)):
        told = [law[b, i, clean[b, k, i]] for i in (0, 2)]
        assert float(drawn[b, k]) == pytest.approx(float(sum(told)), abs=1e-12)


def test_each_row_chooses_among_its_own_energies():
    # row b wants the token b + 2 everywhere; 200 candidates of 3 symbols surely hold such a row
    wanted = torch.tensor([2, 3, 4])

    def picky(x, clean, drawn):
        return 100.0 * (clean != wanted[:, None, None]).sum(-1)

    s = sampler(picky, candidates=200)
    got = s.choose_clean(at(torch.full((3, L), MASK)), 0, seeded(0))
    wrong = (got != wanted[:, None]).sum(1)
    assert wrong.max() <= 1 and wrong.sum() <= 1


def test_the_window_and_the_temperature():
    first = sampler(candidates=8, window=0.5)
    assert first.window == 1 and first.num_steps == 2
    ids = sample(first, 40_000, seeded(3)).ids
    assert z_score(ids, exact_law(ORACLE, 8)) > 10  # the second step was the inner one
    by_rows = first.init(4000, seeded(4))
    last = torch.ones(4000, dtype=torch.int64)
    guesses = first.choose_clean(by_rows, last, seeded(5))  # k as a tensor: outside the window
    assert abs(z_score(guesses, chosen(ORACLE, torch.full((L,), MASK), 1))) < 4
    cold = sampler(candidates=8, energy_temperature=1e-6)
    x = cold.init(50, seeded(6))
    clean = draw_candidates(cold.law(x), x.ids, x.ids == MASK, 8, seeded(7))
    best = ORACLE(x, clean, log_drawn(cold.law(x), x.ids == MASK, clean)).argmin(1)
    assert torch.equal(cold.choose_clean(x, 0, seeded(7)), clean[torch.arange(50), best])


def test_candidates_drawn_cold_are_weighed_for_it():
    # the energy takes out the law that was drawn from, whatever its temperature
    inner = MaskedSampler(
        TABLE.denoiser(), FixedCanvas.blank(L, MASK), tokens_per_step=4, temperature=1.5
    )
    s = EnergySampler(inner, ORACLE, candidates=64)
    ids = sample(s, 20_000, seeded(8)).ids
    assert distance(TABLE.frequencies(ids), TABLE.p) < 0.035


@pytest.mark.parametrize(
    "options, message",
    [
        ({"candidates": 0}, "candidates must be at least 1, got 0"),
        ({"window": 0.0}, r"share of the steps in \(0, 1\], got 0.0"),
        ({"window": 1.5}, "got 1.5"),
        ({"energy_temperature": 0.0}, "finite and above 0, got 0.0"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sampler(**options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"block_size": 2}, "reads whole rows, so block_size must be None"),
        ({"temperature": 0.0}, "all candidates are the same row"),
        ({"constraints": [lambda ids: ids[:, 0] > 0]}, "got 1 of them with an energy"),
    ],
)
def test_impossible_inner_samplers_are_refused(options, message):
    inner = MaskedSampler(TABLE.denoiser(), FixedCanvas.blank(L, MASK), **options)
    with pytest.raises(ValueError, match=message):
        EnergySampler(inner, ORACLE)
