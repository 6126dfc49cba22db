"""How many tokens a step, which order and which law of a token: laws propagated exactly."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from token_laws import (
    FLAT,
    MASK,
    PEAKED,
    Flat,
    chi2_z,
    distance,
    exact_law,
    masked,
    path,
    propagated,
    transition,
)

from scidiff.core import Shared, seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all
from scidiff.samplers.constraints import Count
from scidiff.samplers.masked import Confidence, FixedCanvas, LengthLaw, MaskedSampler
from scidiff.samplers.orders import Draw, Entropy, Margin, Noisy, Planner, nucleus
from scidiff.samplers.paces import EntropyBounded, Fixed, Scheduled, Threshold
from scidiff.samplers.second_order import extrapolated, pair_weight
from scidiff.testing import Table

JUDGE = Planner(lambda x: (x.ids * 7 % 5).double() - 0.1 * torch.arange(4.0))


@pytest.mark.parametrize("table", [FLAT, PEAKED])
@pytest.mark.parametrize("order", [Margin(), Entropy(), Noisy(Confidence(), 3.0), JUDGE])
def test_every_order_is_exact_for_exact_conditionals(table, order):
    assert distance(exact_law(table, order=order), table.p) <= 1e-12


@pytest.mark.parametrize("table, known", [(FLAT, (0.194, 0.360)), (PEAKED, (0.238, 0.637))])
def test_schedules_have_the_error_of_their_steps(table, known):
    halves = exact_law(table, tokens_per_step=Scheduled(2, "linear"))
    assert distance(halves, table.p) == pytest.approx(known[0], abs=6e-4)
    once = exact_law(table, tokens_per_step=Scheduled(1))
    assert distance(once, table.p) == pytest.approx(known[1], abs=6e-4)
    # the cosine of 4 steps hides 3, 2, 1, 0 of 4: one token a step
    assert distance(exact_law(table, tokens_per_step=Scheduled(4)), table.p) <= 1e-12


@pytest.mark.parametrize("pace", [EntropyBounded(0.0), Threshold(1.0)])
def test_a_pace_that_waits_for_certainty_is_exact(pace):
    assert distance(exact_law(PEAKED, tokens_per_step=pace, order=Entropy()), PEAKED.p) <= 1e-12


@pytest.mark.parametrize("order", [Entropy(), Margin()])
@pytest.mark.parametrize("table, bound", [(PEAKED, 0.3), (FLAT, 1.0), (FLAT, 2.0)])
def test_an_entropy_bound_bounds_the_error_of_every_step(order, table, bound):
    sampler = masked(table, tokens_per_step=EntropyBounded(bound), order=order)
    kernel = transition(sampler, table)
    law = propagated(table, [kernel] * sampler.num_steps)
    gap = float((table.p * (table.p / law).log()).sum())
    steps = expected_steps(table, kernel)
    assert 0 < gap <= bound * steps
    assert steps < 4  # and it saves network calls


def expected_steps(table: Table, kernel: torch.Tensor) -> float:
    law = torch.zeros(len(table.states), dtype=torch.float64)
    law[table.index(torch.full((1, table.length), table.mask_id))] = 1.0
    open_rows, steps = (table.states == table.mask_id).any(1), 0.0
    for _ in range(table.length):
        steps += float(law[open_rows].sum())
        law = law @ kernel
    return steps


def test_a_threshold_takes_all_that_is_surer_and_else_the_surest():
    sampler = masked(PEAKED, tokens_per_step=Threshold(0.6), order=Confidence())
    x = TokenState(PEAKED.states, Shared(sampler.denoiser(TokenState(PEAKED.states), 0)))
    hidden = PEAKED.states == PEAKED.mask_id
    p = PEAKED.log_conditionals.amax(-1).exp().masked_fill(~hidden, 0)
    positions, live = sampler.choose(x, seeded(0))
    taken = torch.zeros_like(hidden).scatter(1, positions, live)
    surer = p > 0.6
    alone = ~surer.any(1) & hidden.any(1)
    assert torch.equal(taken[~alone], surer[~alone]) and alone.any()
    assert torch.equal(taken[alone].int().argmax(1), p[alone].argmax(1))
    assert (taken[alone].sum(1) == 1).all()


# ---------------------------------------------------------------- schedules


def test_a_schedule_hides_what_its_curve_says():
    pace, n = Scheduled(6), torch.arange(30)
    spent = torch.arange(7)[:, None].expand(7, 30)
    left = pace.left(n.expand(7, 30), spent)
    for total in n.tolist():
        rungs = [math.floor(total * math.cos(math.pi / 2 * i / 6) + 1e-9) for i in range(6)] + [0]
        path = sorted(set(rungs) | {total}, reverse=True)
        assert int(pace.longest(torch.tensor(total))) == len(path) - 1
        assert left[: len(path), total].tolist() == path[:7]
    assert Scheduled(30, "linear").longest(torch.tensor(30)) == 30


@pytest.mark.parametrize("pace, block_size", [
    (Scheduled(3), None), (Scheduled(3, "linear"), 3), (Fixed(3), 4), (EntropyBounded(0.5), None),
    (Threshold(0.5, least=2), 5)])  # fmt: skip
def test_rows_of_any_length_finish_within_the_bound_and_never_wait(pace, block_size):
    sampler = MaskedSampler(
        Flat(0.4), LengthLaw([0, 1, 1, 1, 1, 1, 1, 1, 1, 1], MASK),
        tokens_per_step=pace, block_size=block_size,
    )  # fmt: skip
    hidden = torch.stack([(x.ids == MASK).sum(1) for x in path(sampler, 300)])
    assert (hidden[-1] == 0).all() and (hidden[-2] > 0).any()
    assert ((hidden[1:] < hidden[:-1]) | (hidden[:-1] == 0)).all()


def test_renoised_rows_stand_on_the_rungs_of_the_schedule():
    sampler = MaskedSampler(Flat(0.3), FixedCanvas.blank(9, MASK), tokens_per_step=Scheduled(4))
    states = path(sampler, 20)
    for k, x in enumerate(states):
        back = sampler.renoise(states[-1], k, seeded(3))
        assert torch.equal((back.ids == MASK).sum(1), (x.ids == MASK).sum(1))
        for j in range(k, sampler.num_steps):
            back = sampler.step(back, j, seeded(4, j))
        assert not (back.ids == MASK).any()


def test_noise_on_an_order_fades_as_rows_are_written():
    table, n = PEAKED, 4000
    sampler = masked(table, order=Noisy(Confidence(), 1.0))
    x = sampler.init(n, seeded(0))
    best = x.trunk.dense()[0].amax(-1)
    key = best + 0.0  # at the start the noise has scale 1
    share = torch.bincount(sampler.choose(x, seeded(1))[0][:, 0], minlength=4) / n
    # argmax of log p + Gumbel is a draw from p / sum p over positions
    expected = key.softmax(0)
    assert ((share - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt()).all()


# ---------------------------------------------------------------- the law of a token


def test_the_nucleus_is_the_smallest_set_that_holds_top_p():
    p = torch.tensor([0.05, 0.5, 0.15, 0.3])
    for top_p, kept in ((0.4, [1]), (0.5, [1]), (0.51, [1, 3]), (0.8, [1, 3]), (0.81, [1, 2, 3]),
                        (0.96, [0, 1, 2, 3])):  # fmt: skip
        law = nucleus(p.log() + 3.0, top_p)  # need not be normalised
        assert (law > -math.inf).nonzero()[:, 0].tolist() == kept
        assert torch.equal(law[kept], (p.log() + 3.0)[kept])
    tiny = nucleus(p.log(), 1e-6)
    assert int((tiny > -math.inf).sum()) == 1


def test_the_nucleus_is_cut_from_the_tempered_law():
    p = torch.tensor([0.6, 0.3, 0.1]).log()
    cold = Draw(0.5, 0.75).law(p)  # 0.36, 0.09, 0.01 of 0.46: the first alone holds 0.78
    assert (cold > -math.inf).tolist() == [True, False, False]
    assert (Draw(1.0, 0.75).law(p) > -math.inf).tolist() == [True, True, False]
    assert Draw(0.0, 0.1)(p.expand(5, 3), seeded(0)).tolist() == [0] * 5
    n = 100_000
    share = torch.bincount(Draw(2.0, 0.8)(p.expand(n, 3), seeded(0)), minlength=3) / n
    root = torch.tensor([0.6**0.5, 0.3**0.5, 0.0])
    expected = root / root.sum()
    assert ((share - expected).abs() <= 4 * (expected * (1 - expected) / n).sqrt()).all()


def test_a_sampler_with_a_nucleus_draws_the_law_of_the_truncated_conditionals():
    def cut(sampler):
        kernel = transition(sampler, FLAT)
        return propagated(FLAT, [kernel] * 4)

    sampler = masked(FLAT, top_p=0.7)
    inner = sampler.token_law
    ids = sample(sampler, 50_000, seeded(0)).ids
    sampler.token_law = lambda x, positions: nucleus(inner(x, positions), 0.7).log_softmax(-1)
    assert abs(chi2_z(FLAT, ids, cut(sampler))) < 4


@pytest.mark.parametrize("top_p", [0.7, 1.0])
def test_constraints_weigh_towards_the_truncated_law(top_p):
    rule = Count([2], FLAT.vocab_size, least=1, most=2)
    bound = masked(FLAT, top_p=top_p, constraints=[rule])
    guided = guided_sample(bound, None, 40_000, seeded(0), select=keep_all)
    free = sample(masked(FLAT, top_p=top_p), 40_000, seeded(1)).ids
    free = free[rule(free)]
    weights = guided.log_w.exp()
    got, want = FLAT.frequencies(guided.x.ids, weights), FLAT.frequencies(free)
    assert distance(got, want) < 0.03
    share = float(weights.mean())
    assert abs(share - len(free) / 40_000) < 0.02


def test_bfloat16_predictions_are_drawn_from_in_float32():
    log_p = torch.tensor([0.7, 0.2, 0.1]).log().bfloat16()
    assert Draw(0.7, 0.95).law(log_p).dtype == torch.float32
    assert Draw(1.0, 1.0).law(log_p.double()).dtype == torch.float64


def kept_share(p: np.ndarray) -> np.ndarray:
    """How much more or less often than p tokens of these probabilities win a race against one
    exact clock for all the others, their own uniform lying on torch's float32 grid."""
    found = []
    for q in p:
        rate = (1 - q) / q
        j = np.arange(min(2**24, int(40 / rate * 2**24) + 2), dtype=np.float64)
        clock = -np.log1p(-np.minimum(j * 2**-24 + 2**-25, 1 - 2**-24))
        found.append(np.exp(-clock * rate).sum() * 2**-24 / q)
    return np.array(found)


def effective_temperature(true: np.ndarray, drawn: np.ndarray) -> float:
    """The T at which softmax(log true / T) has the entropy of `drawn`."""

    def nats(q):
        return -(q * np.log(q)).sum()

    low, high = 0.5, 1.5
    for _ in range(60):
        T = (low + high) / 2
        q = true ** (1 / T)
        low, high = (T, high) if nats(q / q.sum()) < nats(drawn) else (low, T)
    return T


@pytest.mark.parametrize("V, share", [(1880, 1.0), (40, 1e-3)])
def test_the_effective_temperature_of_1000_steps_is_one(V, share):
    # positions are chosen before tokens, so 1000 steps race over the same law as one; only in
    # guided flow do tokens race against staying as they are, and are as rare as a step is short
    zipf = 1 / np.arange(1, V + 1)
    zipf /= zipf.sum()
    some = np.r_[0, np.geomspace(min(40, V // 4), V, 20).astype(int) - 1]  # the rare ones matter
    drawn = zipf * np.interp(np.arange(V), some, kept_share(share * zipf[some]))
    assert effective_temperature(zipf, drawn / drawn.sum()) == pytest.approx(1, abs=1e-5)


# ---------------------------------------------------------------- second order


def second_order_law(table: Table, k: int, **options) -> torch.Tensor:
    """Exact law of masked sampling with k tokens a step: every set of positions and every word,
    from the sampler's own token_law and commit."""
    sampler = masked(table, tokens_per_step=k, **options)
    x = sampler.init(1, seeded(0))
    rows, law = {tuple(x.ids[0].tolist()): 1.0}, {}
    words = torch.cartesian_prod(*[table.seqs.unique()] * k).view(-1, k)
    for _ in range(sampler.num_steps):
        law = {}
        for row, weight in rows.items():
            ids = torch.tensor([row])
            here = TokenState(ids, Shared(sampler.denoiser(TokenState(ids), 0)), memory=x.memory)
            free = (ids[0] == table.mask_id).nonzero()[:, 0].tolist()
            sets = list(combinations(free, k))
            for chosen in sets:
                positions = torch.tensor([chosen])
                p = sampler.token_law(here, positions)[0].double().softmax(-1)
                for word in words:
                    share = weight / len(sets) * float(p[torch.arange(k), word].prod())
                    after = tuple(ids.scatter(1, positions, word[None])[0].tolist())
                    law[after] = law.get(after, 0.0) + share
        rows = {row: share for row, share in law.items() if share > 0}
    found = torch.zeros(len(table.states), dtype=torch.float64)
    for row, share in rows.items():
        found[table.index(torch.tensor([row]))] += share
    return found[table.index(table.seqs)]


@pytest.mark.parametrize("table, plain, better", [(FLAT, 0.194, 0.130), (PEAKED, 0.238, 0.167)])
def test_second_order_lowers_the_known_error_of_two_tokens_a_step(table, plain, better):
    assert distance(second_order_law(table, 2), table.p) == pytest.approx(plain, abs=6e-4)
    law = second_order_law(table, 2, second_order=True)
    assert float(law.sum()) == pytest.approx(1, abs=1e-12)
    assert distance(law, table.p) == pytest.approx(better, abs=6e-4)


def weak_table(coupling: float) -> Table:
    """A law over 6 positions of 2 symbols, dependent by `coupling`."""
    rng = np.random.default_rng(3)
    h, J = rng.normal(size=(6, 2)), rng.normal(size=(6, 6, 2, 2))
    energy = np.zeros((2,) * 6)
    for row in np.ndindex(*energy.shape):
        pairs = sum(J[i, j, row[i], row[j]] for j in range(6) for i in range(j))
        energy[row] = 0.3 * sum(h[i, row[i]] for i in range(6)) + coupling * pairs
    return Table.of(torch.from_numpy(np.exp(energy)))


@pytest.mark.parametrize("k", [2, 3])
def test_the_error_is_first_order_in_the_dependence_and_second_with_the_correction(k):
    tables = [weak_table(c) for c in (0.04, 0.08)]
    slopes = []
    for options in ({}, {"second_order": True}):
        errors = [distance(second_order_law(t, k, **options), t.p) for t in tables]
        slopes.append(math.log2(errors[1] / errors[0]))
    assert slopes[0] == pytest.approx(1, abs=0.15) and slopes[1] == pytest.approx(2, abs=0.3)


def test_the_weight_counts_pairs():
    n = torch.tensor([0, 1, 2, 3, 4, 7])
    assert pair_weight(Fixed(2), n).tolist() == pytest.approx([0, 0, 0, 1 / 2, 2 / 4, 3 / 18])
    assert pair_weight(Fixed(1), n).tolist() == [0] * 6
    whole = pair_weight(Scheduled(2, "linear"), torch.tensor([6]))  # 3 and 3
    assert whole.tolist() == pytest.approx([6 / 9])


def test_an_extrapolated_law_is_one():
    now = torch.tensor([[[0.7, 0.3, 0.0], [0.1, 0.2, 0.7]]]).log()
    first = torch.tensor([[[0.2, 0.3, 0.5], [0.5, 0.4, 0.1]]]).log()
    law = extrapolated(now, first, torch.tensor([1.0])).exp()
    expected = torch.tensor([[1.2, 0.3, 0.0], [0.0, 0.0, 1.3]])
    assert torch.allclose(law[0], expected / expected.sum(-1, keepdim=True))
    assert torch.allclose(extrapolated(now, first, torch.zeros(1)), now)


def test_the_second_order_sampler_draws_its_law():
    ids = sample(masked(FLAT, tokens_per_step=2, second_order=True), 50_000, seeded(0)).ids
    assert abs(chi2_z(FLAT, ids, second_order_law(FLAT, 2, second_order=True))) < 4


def test_second_order_goes_on_after_renoising():
    sampler = masked(FLAT, tokens_per_step=2, second_order=True)
    clean = TokenState(FLAT.seqs)
    x = sampler.renoise(clean, 1, seeded(0))
    blank = sampler.init(len(clean), seeded(0))
    assert torch.equal(x.memory[1].dense(), blank.memory[1].dense())
    assert not (sampler.step(x, 1, seeded(1)).ids == FLAT.mask_id).any()


@pytest.mark.parametrize("options, message", [
    ({"second_order": True, "block_size": 2}, "whole rows"),
    ({"second_order": True, "order": Confidence()}, "random orders"),
    ({"second_order": True, "tokens_per_step": Threshold(0.5)}, "known in advance"),
    ({"top_p": 0.0}, "top_p"),
])  # fmt: skip
def test_impossible_combinations_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        masked(FLAT, **options)


@pytest.mark.parametrize("make, message", [
    (lambda: Scheduled(0), "steps must be at least 1"),
    (lambda: Scheduled(3, "sine"), "schedule must be one of linear, cosine, got 'sine'"),
    (lambda: Threshold(0.0), "threshold"),
    (lambda: Threshold(0.5, 0), "tokens_per_step must be at least 1"),
    (lambda: EntropyBounded(-1.0), "entropy_bound"),
    (lambda: Noisy(Confidence(), 0.0), "randomness"),
    (lambda: Draw(1.0, 1.5), "top_p must be above 0 and at most 1, got 1.5"),
])  # fmt: skip
def test_impossible_parts_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
