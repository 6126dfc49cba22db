"""The policy gradient against the exact gradient of E[strength r] - KL, KL the divergence of
chains: by listing every chain, by finite differences, and from a million draws."""

from functools import cache
from itertools import permutations

import pytest
import torch
from token_engines import engine
from tuned_tables import TunedPredictor, distance, twins

from scidiff.core import seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.finetune import Scored, TuneConfig, Tuner, Tuning
from scidiff.guidance.finetune_likelihoods import Sequential as InOrder
from scidiff.guidance.finetune_objectives import Reinforce
from scidiff.guidance.policy_gradient import Chains, Replay, Rollouts, rollout
from scidiff.rewards.scoring import Scores, Status
from scidiff.samplers.masked import FixedCanvas, MaskedSampler, Sequential
from scidiff.samplers.orders import Confidence
from scidiff.samplers.paces import Scheduled, Threshold
from scidiff.testing import chain_reward, chain_table

TABLE = chain_table()
L, MASK = TABLE.length, TABLE.mask_id
STRENGTH = 1 / 0.3
TILTED = TABLE.tilted(chain_reward, STRENGTH)


def moved(seed=0):
    """A network that has left its reference, and the reference."""
    network, reference = twins(TABLE)
    with torch.no_grad():
        noise = torch.randn(network.logits.shape, generator=seeded(seed))
        network.logits += noise.double() / 2
    return network, reference


def sampler(network, **options):
    return MaskedSampler(TunedPredictor(network), FixedCanvas.blank(L, MASK), **options)


@cache
def every_chain(together=1):
    """All orders of writing all rows, `together` tokens a step: (M, T + 1, L) and their rows."""
    places = list(permutations(range(L)))
    if together == 2:  # only what is written together counts, not in which order
        places = [p for p in places if p[0] < p[1] and p[2] < p[3]]
    chains = []
    for row in TABLE.seqs:
        for order in places:
            ids = [torch.full_like(row, MASK)]
            for k in range(0, L, together):
                later = ids[-1].clone()
                later[list(order[k : k + together])] = row[list(order[k : k + together])]
                ids.append(later)
            chains.append(torch.stack(ids))
    return Chains(torch.stack(chains)), len(places)


def objective(network, reference, together=1):
    """Exact J = E[strength r] - KL over chains, with a gradient."""
    chains, orders = every_chain(together)
    replay = Replay(sampler(network, tokens_per_step=together))
    log_p = replay(network, chains, seeded(0))
    log_ref = replay(reference, chains, seeded(0))
    p = log_p.exp() / orders
    assert float(p.detach().sum()) == pytest.approx(1)
    rewards = chain_reward(chains.ends)
    return (p * (STRENGTH * rewards - log_p + log_ref)).sum(), (chains, p, rewards)


def gradient(network, value):
    network.zero_grad()
    value.backward()
    return network.logits.grad.clone()


@pytest.mark.parametrize("together", [1, 2])
def test_the_expected_gradient_is_exact(together):
    """Every chain with its probability, each alone: no baseline."""
    network, reference = moved()
    value, (chains, p, rewards) = objective(network, reference, together)
    exact = gradient(network, value)
    tuning = Tuning(Replay(sampler(network, tokens_per_step=together)), Reinforce(STRENGTH),
                    reference, rows=10_000)  # fmt: skip
    log_p, log_ref = (
        tuning.likelihood(net, chains, seeded(0)) for net in (network, reference)
    )
    pieces = zip(log_p.split(1), log_ref.split(1), rewards.split(1), strict=True)
    terms = torch.cat([tuning.objective(*piece) for piece in pieces])
    found = gradient(network, (p.detach() * terms).sum())
    torch.testing.assert_close(found, -exact)


def test_the_exact_gradient_is_that_of_finite_differences():
    network, reference = moved()
    exact = gradient(network, objective(network, reference)[0])
    where = (exact.abs() > 0.05).nonzero()
    assert len(where) > 3
    with torch.no_grad():
        for place in where[:3].tolist():
            values = []
            for step in (1e-4, -2e-4):
                network.logits[tuple(place)] += step
                values.append(float(objective(network, reference)[0]))
            network.logits[tuple(place)] += 1e-4
            difference = (values[0] - values[1]) / 2e-4
            assert difference == pytest.approx(float(exact[tuple(place)]), rel=1e-4)


def drawn_gradient(network, reference, n, batch, **options):
    """Mean gradient over n draws, by batches."""
    drawing = sampler(network, **options)
    tuning = Tuning(Replay(drawing), Reinforce(STRENGTH), reference, rows=10**9)
    total = torch.zeros_like(network.logits)
    for j in range(n // batch):
        chains, ends = rollout(drawing, batch, seeded(7, j))
        scored = Scored(chains, chain_reward(ends))
        total += gradient(network, tuning.loss(network, scored, seeded(0)).mean())
    return total / (n // batch)


@pytest.mark.parametrize(
    "n, together",
    [(100_000, 1), (100_000, 2), pytest.param(1_000_000, 1, marks=pytest.mark.slow)],
)
def test_a_step_from_draws_is_the_exact_step(n, together):
    network, reference = moved()
    exact = gradient(network, objective(network, reference, together)[0])
    found = -drawn_gradient(network, reference, n, 50_000, tokens_per_step=together)
    error = float((found - exact).norm() / exact.norm())
    assert error < (0.02 if n == 1_000_000 else 0.04)


def test_the_leave_one_out_baseline_has_no_bias():
    """Groups of two, where the mean with the row itself would halve the gradient."""
    network, reference = moved()
    exact = -gradient(network, objective(network, reference)[0])
    drawing, direction = sampler(network), exact / exact.norm()
    chains, ends = rollout(drawing, 20_000, seeded(3))
    replay = Replay(drawing)
    with torch.no_grad():
        log_p, log_ref = (replay(net, chains, seeded(0)) for net in (network, reference))
        network.logits += 1e-4 * direction
        slope = replay(network, chains, seeded(0)) - log_p
    rewards = chain_reward(ends)
    groups = zip(log_p.split(2), log_ref.split(2), rewards.split(2), strict=True)
    terms = torch.cat([Reinforce(STRENGTH)(*group) for group in groups])
    found = (terms / log_p * slope / 1e-4).view(-1, 2).mean(1)  # of each group, along direction
    z = (found.mean() - exact.norm()) / (found.std() / len(found) ** 0.5)
    assert abs(float(z)) < 4
    error = float(found.std()) / len(found) ** 0.5
    assert float(exact.norm()) > 8 * error  # half of it would show


def test_the_fixed_point_is_the_tilted_law():
    network, reference = twins(TABLE)
    drawing = sampler(network)
    config = TuneConfig(Replay(drawing), Reinforce(STRENGTH), lr=0.05, clip=1e3, bf16=False,
                        rows=10_000)  # fmt: skip
    tuner = Tuner(network, reference, config)
    for k in range(100):
        for group in tuner.optimizer.param_groups:
            group["lr"] = 0.15 * 0.97**k
        chains, ends = rollout(drawing, 800, seeded(1, k))
        tuner.step(chains, chain_reward(ends), seeded(0))
    assert distance(network.law().detach(), TILTED.p) < 0.05 < distance(TABLE.p, TILTED.p)


# ---------------------------------------------------------------- replay


def test_a_chain_in_one_order_is_the_row():
    """From left to right the replayed steps sum to the row's own log-likelihood, block by
    block."""
    e = engine("block", order="sequential")
    drawing = e.sampler()
    chains, ends = rollout(drawing, 12, seeded(2))
    assert bool(((ends.ids == e.network.mask_id).sum(1) == 0).all())
    found = Replay(drawing)(e.network, chains, seeded(0))
    exact = InOrder(e.network.mask_id, 4)(e.network, chains.ends, seeded(0))
    torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("steps", [1, 3])
def test_some_steps_are_unbiased(steps):
    network, _ = moved()
    chains, _ = rollout(sampler(network), 3, seeded(2))
    whole, some = Replay(sampler(network)), Replay(sampler(network), steps)
    assert whole.exact and not some.exact
    with torch.no_grad():
        truth = whole(network, chains, seeded(0))
        drawn = torch.stack([some(network, chains, seeded(s)) for s in range(400)])
    z = (drawn.mean(0) - truth) / (drawn.std(0) / 20)
    assert float(z.abs().max()) < 4


def test_the_law_is_that_of_the_sampler():
    network, _ = moved()
    drawing = sampler(network, temperature=0.5, tokens_per_step=Scheduled(3, "linear"))
    x = TokenState(TABLE.states[:5])
    expected = (2 * network.bidirectional(x.ids)).log_softmax(-1)
    torch.testing.assert_close(Replay(drawing).law(network, x.ids), expected)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"order": Confidence()}, "positions that the network does not choose"),
        ({"tokens_per_step": Threshold(0.9)}, "positions that the network does not choose"),
        ({"constraints": [lambda ids: ids[:, 0] >= 0]}, "plain draws"),
        ({"temperature": 0.0}, "temperature above 0"),
    ],
    ids=["order", "pace", "constraints", "temperature"],
)
def test_samplers_without_such_a_gradient_are_refused(options, message):
    network, _ = twins(TABLE)
    with pytest.raises(ValueError, match=message):
        Replay(sampler(network, **options))


# ---------------------------------------------------------------- rollouts


def test_batches_follow_from_seed_and_weights():
    network, _ = moved()
    batches = Rollouts(sampler(network), chain_reward, 6, seed=3)
    a, b, other = batches(4), batches(4), batches(5)
    assert torch.equal(a.x0.ids, b.x0.ids) and not torch.equal(a.x0.ids, other.x0.ids)
    torch.testing.assert_close(a.values, chain_reward(a.x0.ends).float())
    assert len(batches) == int(batches.units(a)) == 6 and list(batches.once()) == []
    ends = Rollouts(sampler(network), chain_reward, 6, seed=3, whole=False)(4)
    assert torch.equal(ends.x0.ids, a.x0.ends.ids)
    with torch.no_grad():
        network.logits.neg_()
    assert not torch.equal(batches(4).x0.ids, a.x0.ids)


def test_rows_whose_reward_failed_are_left_out():
    def failing(x):
        status = torch.where(x.ids[:, 0] == 2, int(Status.FAILED), int(Status.OK))
        return Scores(chain_reward(x), status.to(torch.int8))

    network, _ = twins(TABLE)
    found = Rollouts(sampler(network), failing, 40)(0)
    assert 2 <= len(found) < 40 and not bool((found.x0.ends.ids[:, 0] == 2).any())

    def never(x):
        return Scores(chain_reward(x), torch.full((len(x),), int(Status.FAILED)).to(torch.int8))

    with pytest.raises(ValueError, match="scored 0 of 40 rows"):
        Rollouts(sampler(network), never, 40)(0)


def test_left_to_right_chains_are_replayed_too():
    network, _ = moved()
    drawing = sampler(network, order=Sequential())
    chains, _ = rollout(drawing, 5, seeded(0))
    assert chains.ids.shape == (5, L + 1, L)
    found = Replay(drawing)(network, chains, seeded(0)).detach()
    law = network.law("sequential").detach().log()
    rows = [int((TABLE.seqs == row).all(1).nonzero()[0, 0]) for row in chains.ends.ids]
    torch.testing.assert_close(found, law[rows])
