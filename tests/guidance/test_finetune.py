"""Fine-tuning on scored rows: likelihoods against enumeration, fixed points, steps that resume."""

from dataclasses import replace

import pytest
import torch
from token_engines import engine, left_to_right
from tuned_tables import distance, ended, twins

from scidiff.core import normal, seeded, uniform
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.guidance.finetune import (
    Scored,
    ScoredBatches,
    TuneConfig,
    Tuner,
    Tuning,
    better,
    tune,
)
from scidiff.guidance.finetune_likelihoods import (
    Bounded,
    Causal,
    Implicit,
    Sequential,
    as_causal,
    in_parts,
)
from scidiff.guidance.finetune_objectives import Augmented, Grouped, Weighted, best_rows
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.processes.masked import MaskedProcess
from scidiff.samplers.token_likelihood import SymbolsOnly
from scidiff.testing import Table, chain_reward, chain_table

TABLE = chain_table()
STRENGTH = 1 / 0.3
TILTED = TABLE.tilted(chain_reward, STRENGTH)
ROWS = ended(TABLE.seqs)
REWARDS = TILTED.rewards


def texts(*rows, length=8):
    """C is 2 and N is 3."""
    ids = torch.full((len(rows), length), PAD)
    for i, row in enumerate(rows):
        found = torch.tensor([*("..CN".index(c) for c in row), EOS])
        ids[i, : len(found)] = found
    return TokenState(ids)


# ---------------------------------------------------------------- likelihoods


def in_blocks(network, ids, size):
    """log p (L,) of each token as a sequential sampler of these blocks sees it."""
    denoiser, out = TokenDenoiser(network, size), []
    for i in range(len(ids)):
        x = TokenState(torch.where(torch.arange(len(ids)) < i, ids, network.mask_id)[None])
        out.append(denoiser.log_probs(denoiser(x, i))[0, i, ids[i]])
    return torch.stack(out).double()


@pytest.mark.parametrize("size", [1, 3, 4])
def test_sequential_is_what_the_sampler_draws_from(size):
    e = engine("block")
    x = texts("CNC", "NNCCN", "C")
    found = Sequential(e.network.mask_id, size)(e.network, x, seeded(0)).detach()
    for row, value in zip(x.ids, found, strict=True):
        end = (int((row == EOS).int().argmax()) // size + 1) * size
        assert float(value) == pytest.approx(float(in_blocks(e.network, row, size)[:end].sum()))


def test_causal_is_sequential_in_blocks_of_one():
    e = engine()
    x = texts("CNC", "NNCCN")
    with pytest.raises(ValueError, match="causal pass is exact for networks trained"):
        Causal().check(e.network)
    as_causal(e.network)
    Causal().check(e.network)
    found = Causal()(e.network, x, seeded(0)).detach()
    blocks = Sequential(e.network.mask_id)(e.network, x, seeded(0)).detach()
    torch.testing.assert_close(found, blocks)
    expected = left_to_right(e, x.ids[0])[:4].sum()
    assert float(found[0]) == pytest.approx(float(expected))


def test_offsets_are_unbiased_and_shared():
    e = engine("block")
    x, whole = texts("CNC", "NNCCN", "NNCCN"), Sequential(e.network.mask_id, 4)
    some = replace(whole, offsets=1)
    drawn = torch.stack([some(e.network, x, seeded(s)) for s in range(40)]).detach()
    assert whole.exact and replace(whole, offsets=4).exact and not some.exact
    torch.testing.assert_close(drawn[:, 1], drawn[:, 2])
    values = {round(float(v), 4) for v in drawn[:, 0]}  # one of four numbers
    assert len(values) == 4
    truth = float(whole(e.network, x, seeded(0))[0].detach())
    assert sum(values) / 4 == pytest.approx(truth, rel=1e-4)


@pytest.mark.parametrize("offsets", [0, 5])
def test_offsets_out_of_range_are_refused(offsets):
    with pytest.raises(ValueError, match="offsets must be in 1..4"):
        Sequential(4, 4, offsets)


def test_bounded_rows_see_the_same_noise():
    e, process = engine("masked"), MaskedProcess(4)
    x = texts("CNCC", "NNCC", "CNCC")
    bound = Bounded(process, 3)
    found = bound(SymbolsOnly(e.network), x, seeded(3))
    assert found[0] == found[2] and found[0] != found[1]
    torch.testing.assert_close(
        bound(SymbolsOnly(e.network), x[torch.tensor([1, 0])], seeded(3)), found[:2].flip(0)
    )
    alone = Implicit(process, 3, alone=True)
    torch.testing.assert_close(alone(SymbolsOnly(e.network), x, seeded(3)), found)


def test_implicit_rows_see_the_same_noise_together():
    x, seen = texts("CNCC", "NNCC", "CNCC"), []

    class Noisy:
        def loss(self, network, x0, rng):
            t, z = uniform((len(x0),), rng), normal((len(x0), 2, 3), rng)
            seen.append((t, z))
            return t + z.flatten(1).sum(1)

    found = Implicit(Noisy(), 2)(None, x, seeded(1))
    assert len(seen) == 2 and not torch.equal(seen[0][0], seen[1][0])
    assert all(bool((part == part[:1]).all()) for draw in seen for part in draw)
    torch.testing.assert_close(found, -sum(t + z.flatten(1).sum(1) for t, z in seen) / 2)


def test_the_mean_of_bounds_is_the_bound():
    network, _ = twins(TABLE)
    exact = network.law().log()[5].detach()  # conditionals of one law: the bound is tight
    x = ROWS[torch.tensor([5])]
    with torch.no_grad():
        drawn = [Bounded(MaskedProcess(TABLE.mask_id))(network, x, seeded(s)) for s in range(400)]
    drawn = torch.cat(drawn)
    z = (drawn.mean() - exact) / (drawn.std() / len(drawn) ** 0.5)
    assert abs(float(z)) < 4


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("which", ["sequential", "bounded"])
def test_parts_are_one_pass(rows, which):
    e = engine("masked")
    x = texts("CNC", "NNCCN", "C", "NNNNNN", "CC")
    likelihood = {"sequential": Sequential(4, 4, 2), "bounded": Bounded(MaskedProcess(4))}[which]
    rng, whole = seeded(1), seeded(1)
    found = in_parts(likelihood, e.network, x, rng, rows)
    torch.testing.assert_close(found, in_parts(likelihood, e.network, x, whole, 5))
    assert torch.equal(rng.get_state(), whole.get_state())


# ---------------------------------------------------------------- objectives


def test_the_augmented_likelihood_is_a_policy_gradient():
    """On rows of the network's own law its gradient is -2 that of E[strength r] - KL."""
    network, reference = twins(TABLE)
    with torch.no_grad():
        network.logits += torch.randn(network.logits.shape, generator=seeded(0)).double() / 2
    log_ref = Causal()(reference, ROWS, seeded(0))

    def gradient(loss):
        network.zero_grad()
        loss.backward()
        return network.logits.grad.clone()

    log_p = Causal()(network, ROWS, seeded(0))
    p = log_p.exp()
    assert float(p.detach().sum()) == pytest.approx(1)
    exact = gradient((p * (STRENGTH * REWARDS - log_p + log_ref)).sum())
    log_p = Causal()(network, ROWS, seeded(0))
    terms = Augmented(STRENGTH)(log_p, log_ref, REWARDS)
    torch.testing.assert_close(gradient((p.detach() * terms).sum()), -2 * exact)


@pytest.mark.parametrize(
    "objective",
    [Augmented(STRENGTH, centred=True), Grouped(STRENGTH), Grouped(STRENGTH / 2, beta=0.5)],
    ids=["log-variance", "grouped", "beta 1/2"],
)
def test_fixed_points_are_the_tilted_law(objective):
    network, reference = twins(TABLE)
    config = TuneConfig(Sequential(TABLE.mask_id), objective, lr=0.1, clip=1e3, bf16=False)
    tuner = Tuner(network, reference, config)
    for _ in range(120):
        tuner.step(ROWS, REWARDS, seeded(0))
    law = network.law("sequential").detach()
    assert distance(law, TILTED.p) < 0.05 < distance(TABLE.p, TILTED.p)


def test_weighting_moves_a_masked_model_to_the_tilted_law():
    """Noise levels are estimated, and what is drawn in random order is the target."""
    table = Table.of(torch.rand(3, 3, generator=seeded(3)))
    rewards, often = torch.randn(9, generator=seeded(4)).double(), table.p.log()
    target = (often + rewards).softmax(0)
    network, reference = twins(table)
    config = TuneConfig(
        Bounded(MaskedProcess(table.mask_id)), Weighted(1.0), lr=0.1, clip=1e3, bf16=False
    )
    tuner = Tuner(network, reference, config)
    for k in range(150):  # every row is given once, weighted as if drawn from the reference
        tuner.step(ended(table.seqs), rewards + often, seeded(0, k))
    assert distance(network.law().detach(), target) < 0.03 < 0.2 < distance(table.p, target)


def test_hill_climbing_counts_the_best_rows():
    values = torch.tensor([0.1, 3.0, 2.0, -1.0, 2.5])
    assert best_rows(values, 0.5).tolist() == [False, True, True, False, True]
    assert best_rows(values, 0.01).tolist() == [False, True, False, False, False]
    log_p, log_ref = torch.arange(5.0), torch.zeros(5)
    terms = Augmented(1.0, best=0.5)(log_p, log_ref, values)
    assert terms.tolist() == [0.0, 4.0, 0.0, 0.0, 2.25]
    # the mean that is taken off is that of the rows that count
    residual = values - log_p
    middle = residual[[1, 2, 4]].mean()
    centred = Augmented(1.0, centred=True, best=0.5)(log_p, log_ref, values)
    torch.testing.assert_close(centred[1], (residual[1] - middle).square())


@pytest.mark.parametrize("make", [Augmented, Grouped, Weighted])
@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan"), float("inf")])
def test_strengths_are_positive_numbers(make, strength):
    with pytest.raises(ValueError, match="strength must be finite and positive"):
        make(strength)


# ---------------------------------------------------------------- steps


def test_a_step_with_a_known_reference_is_the_same_step():
    losses = []
    for known in (False, True):
        network, reference = twins(TABLE)
        config = TuneConfig(Sequential(TABLE.mask_id), Augmented(2.0), bf16=False)
        tuner = Tuner(network, reference, config)
        log_ref = tuner.reference_log_prob(ROWS, seeded(0)) if known else None
        losses += [tuner.step(ROWS, REWARDS, seeded(0), log_ref) for _ in range(3)]
    assert losses[:3] == losses[3:] and losses[0] != losses[2]


@pytest.mark.parametrize("likelihood", [Bounded(MaskedProcess(4)), Sequential(4, 4, 1)], ids=str)
def test_a_network_and_its_reference_see_the_same_noise(likelihood):
    """At its reference the ratio is 0 whatever is drawn, and only strength * r is left."""
    e, x = engine("masked"), texts("CNC", "NNCCN", "NNNN")
    values = torch.tensor([0.0, 1.0, -2.0])
    rng = seeded(4)
    tuning = Tuning(likelihood, Augmented(3.0), e.network)
    for _ in range(2):
        found = tuning.loss(e.network, Scored(x, values), rng)
        # float32: passes with and without a gradient use other kernels
        torch.testing.assert_close(found.detach(), 9 * values.square(), rtol=1e-4, atol=1e-4)
    known = Scored(x, values, torch.full((3,), 50.0))  # an estimate is never taken from before
    found = tuning.loss(e.network, known, rng).detach()
    torch.testing.assert_close(found, 9 * values.square(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_restored_tuner_goes_on_as_it_would_have(bf16):
    def fresh():
        e, other = engine("block"), engine("block")
        config = TuneConfig(Sequential(4, 4, 1), Augmented(5.0), lr=1e-2, bf16=bf16)
        return Tuner(e.network, other.network.requires_grad_(False), config)

    x, values = texts("CNC", "NNCCN", "C", "NNNNNN"), torch.tensor([0.0, 1.0, 0.5, 0.2])
    whole, first, second = fresh(), fresh(), fresh()
    for k in range(4):
        whole.step(x, values, seeded(0, k))
    for k in range(2):
        first.step(x, values, seeded(0, k))
    state = first.state()
    first.step(x, -values, seeded(9))  # what is handed out is a copy
    second.restore(state)
    for k in range(2, 4):
        second.step(x, values, seeded(0, k))
    for a, b in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_tuning_a_pool_makes_the_better_rows_likelier():
    network, reference = twins(TABLE)
    likelihood, objective = Sequential(TABLE.mask_id), Augmented(STRENGTH)
    config = TuneConfig(likelihood, objective, lr=0.1, steps=40, batch_size=16, bf16=False)
    losses = tune(network, reference, ROWS, REWARDS, config, seeded(0))
    assert len(losses) == 40
    mean = float(network.law("sequential").detach() @ REWARDS)
    assert mean > 2 * float(TABLE.p @ REWARDS)
    assert torch.equal(reference.logits, twins(TABLE)[0].logits)


def test_better_rows_are_drawn_more_often_and_none_twice():
    values = torch.tensor([0.3, 5.0, -2.0, 1.0])
    first = torch.stack([better(values, 1, seeded(s))[0] for s in range(400)])
    often = torch.bincount(first, minlength=4)
    assert often.argsort(descending=True).tolist() == [1, 3, 0, 2]
    assert better(values, 9, seeded(0)).sort().values.tolist() == [0, 1, 2, 3]


def test_batches_of_a_pool_follow_from_the_step():
    pool = Scored(ROWS, REWARDS)
    plain, ranked = (ScoredBatches(pool, 20, 7, ranked=r) for r in (False, True))
    assert len(plain) == 81 and len(plain(3)) == 20 == int(plain.units(plain(3)))
    assert torch.equal(plain(3).x0.ids, plain(3).x0.ids)
    assert not torch.equal(plain(3).x0.ids, plain(4).x0.ids)
    means = [torch.stack([b(k).values.mean() for k in range(20)]).mean() for b in (plain, ranked)]
    assert float(means[1]) > float(REWARDS.mean()) + 0.3 > float(means[0])
    halves = torch.cat([plain(3, r, 2).x0.ids for r in (0, 1)])
    assert sorted(halves.tolist()) == sorted(plain(3).x0.ids.tolist())
    assert torch.equal(torch.cat([part.values for part in plain.once()]), REWARDS)


@pytest.mark.parametrize(
    "values, message",
    [
        (torch.zeros(3), "a value for each of 81 rows"),
        (torch.full((81,), float("nan")), "values must be finite, got nan in row 0"),
    ],
    ids=["too few", "not finite"],
)
def test_values_that_cannot_be_used_are_refused(values, message):
    network, reference = twins(TABLE)
    tuner = Tuner(network, reference, TuneConfig(Sequential(TABLE.mask_id)))
    with pytest.raises(ValueError, match=message):
        tuner.step(ROWS, values, seeded(0))


@pytest.mark.parametrize("name", ["steps", "batch_size", "rows", "lr", "clip"])
def test_settings_below_their_least_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        TuneConfig(Causal(), **{name: 0})
