"""Rewards on soft tokens: a straight-through draw, embeddings that hand gradients on, and a
network that goes where the exact objective says."""

import copy
from itertools import product

import pytest
import torch
from token_engines import engine

from scidiff.core import seeded
from scidiff.data.tokens import EOS, PAD
from scidiff.guidance.soft_rewards import Draws, SoftReward, soft_inputs, straight_through
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.samplers.masked import FixedCanvas, MaskedSampler, Sequential
from scidiff.samplers.orders import Confidence

MASK, STRENGTH = 4, 2.0
WORTH = torch.tensor([0.0, 0.0, 1.0, -0.5, 0.0])  # of PAD, EOS, C, N and MASK
CANVAS = FixedCanvas(torch.tensor([[MASK, MASK, MASK, EOS]]), MASK)


class SymbolsAlone:
    """A denoiser that draws C and N only, as the engine's does."""

    def __init__(self, network):
        self.inner = TokenDenoiser(network)
        self.mask_id, self.vocab_size, self.block_size, self.rows = MASK, 5, None, 0

    def __call__(self, x, k):
        return self.inner(x, k)

    def log_probs(self, trunk):
        told = self.inner.log_probs(trunk)
        return told.index_fill(-1, torch.tensor([PAD, EOS]), float("-inf")).log_softmax(-1)


def twin():
    network = engine("masked").network
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(0.5)
    return network.requires_grad_(True), copy.deepcopy(network).requires_grad_(False)


def soft_reward(soft):
    """A C in the first place counts twice, and equal neighbours are better."""
    each = soft @ WORTH
    return each[:, :3].sum(1) + each[:, 0] + 0.5 * (soft[:, 0] * soft[:, 1])[:, 2:4].sum(1)


def process(network, reference, **options):
    given = {"strength": STRENGTH, "truncate": 3, "symbols": True} | options
    sampler = MaskedSampler(SymbolsAlone(network), CANVAS)
    return SoftReward(sampler, soft_reward, reference, **given)


def law(network):
    """The law of rows written in random order, (8,) with a gradient, and the rows (8, 4)."""
    rows = torch.tensor([[*r, EOS] for r in product((2, 3), repeat=3)])
    states = torch.tensor([[*s, EOS] for s in product((2, 3, MASK), repeat=3)])
    log_p = network.log_probs(network.bidirectional(states))
    log_p = log_p.index_fill(-1, torch.tensor([PAD, EOS]), float("-inf")).log_softmax(-1).exp()
    index = {tuple(s): i for i, s in enumerate(states.tolist())}
    mass = {(MASK, MASK, MASK, EOS): torch.ones(())}
    for _ in range(3):
        after = {}
        for state, p in mass.items():
            hidden = [i for i in range(3) if state[i] == MASK]
            for i, v in product(hidden, (2, 3)):
                new = (*state[:i], v, *state[i + 1 :])
                after[new] = after.get(new, 0) + p * log_p[index[state], i, v] / len(hidden)
        mass = after
    return torch.stack([mass[tuple(r)] for r in rows.tolist()]), rows


def test_draws_have_the_law_and_pass_a_gradient():
    log_p = torch.tensor([0.2, 0.5, 0.3, 0.0]).log().expand(20_000, 4).clone().requires_grad_()
    tokens, hot = straight_through(log_p, 1.0, seeded(0))
    share = torch.bincount(tokens, minlength=4) / 20_000
    expected = torch.tensor([0.2, 0.5, 0.3, 0.0])
    z = (share - expected)[:3] / (expected * (1 - expected) / 20_000).sqrt()[:3]
    assert float(z.abs().max()) < 4 and share[3] == 0
    torch.testing.assert_close(hot.detach(), torch.eye(4)[tokens])
    hot[:, 0].sum().backward()
    assert bool((log_p.grad[:, 0] > 0).all()) and bool((log_p.grad[:, 3] == 0).all())


@pytest.mark.parametrize("size", [None, 2])
def test_soft_inputs_are_the_tokens_with_a_gradient(size):
    network, _ = twin()
    ids = torch.tensor([[2, 3, MASK, EOS], [3, MASK, 2, EOS]])

    def run(ids):
        return network.bidirectional(ids) if size is None else network.prefix(ids, size)

    soft = torch.eye(5)[ids].requires_grad_()
    with soft_inputs(network, soft):
        found = run(ids)
    torch.testing.assert_close(found, run(ids))
    assert not network.own._forward_hooks and not network.previous._forward_hooks
    probe = torch.randn(16, generator=seeded(1))
    (slope,) = torch.autograd.grad(found[0, 2] @ probe, soft)
    step = torch.zeros(2, 4, 5)
    step[0, 0, 3], step[0, 0, 2] = 1e-2, -1e-2  # towards another token
    weights = [w.weight.detach() for w in (network.own, network.previous)]
    moved = []
    for sign in (1, -1):  # the embedding of a soft token is the mean of its tokens'
        own = network.own(ids) + sign * step @ weights[0]
        before = network.previous(torch.tensor([[EOS, 2, 3, MASK], [EOS, 3, MASK, 2]]))
        before = before + sign * torch.nn.functional.pad(step[:, :-1], (0, 0, 1, 0)) @ weights[1]
        hooks = [
            network.own.register_forward_hook(lambda m, a, o, v=own: v),
            network.previous.register_forward_hook(lambda m, a, o, v=before: v),
        ]
        moved.append((run(ids)[0, 2] @ probe).detach())
        for hook in hooks:
            hook.remove()
    assert float((moved[0] - moved[1]) / 2) == pytest.approx(float((slope * step).sum()), rel=1e-2)


def test_its_gradient_points_where_the_exact_one_does():
    network, reference = twin()
    p, rows = law(network)
    q = law(reference)[0]
    with torch.no_grad():
        for w in network.parameters():
            w.add_(0.05 * torch.randn(w.shape, generator=seeded(2)))
    p, rows = law(network)
    rewards = soft_reward(torch.eye(5)[rows])
    parameters = list(network.parameters())
    exact = torch.autograd.grad(
        (p * (p.log() - q.log())).sum() - STRENGTH * p @ rewards, parameters, allow_unused=True
    )
    loss = process(network, reference).loss(network, Draws(4000)(0), seeded(0)).mean()
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    a, b = (
        torch.cat([g.flatten() for g in side if g is not None]) for side in (exact, found)
    )
    assert float(a @ b / a.norm() / b.norm()) > 0.9


def test_the_network_goes_to_the_tilted_law():
    network, reference = twin()
    q, rows = law(reference)
    target = (q.log() + 0.6 * soft_reward(torch.eye(5)[rows])).softmax(0)
    assert float(target.max()) < 0.6  # a network that only seeks the best row does not pass
    tuned = process(network, reference, strength=0.6)
    adam = torch.optim.Adam(network.parameters(), lr=0.01)
    for k in range(80):
        adam.param_groups[0]["lr"] = 0.015 * 0.96**k
        adam.zero_grad()
        tuned.loss(network, Draws(128)(k), seeded(0, k)).mean().backward()
        adam.step()
    away = (q - target).abs().sum() / 2
    found = law(network)[0].detach()
    # its gradient is biased: it ends near the target, not there
    assert float((found - target).abs().sum() / 2) < 0.15 < 0.25 < float(away)


@pytest.mark.parametrize("truncate", [1, 2, 9])
def test_steps_before_the_last_have_no_gradient(truncate):
    network, reference = twin()
    seen = []
    passed = network.bidirectional

    def counted(ids, *rest):
        seen.append(torch.is_grad_enabled())
        return passed(ids, *rest)

    network.bidirectional = counted
    process(network, reference, truncate=truncate).loss(network, Draws(2)(0), seeded(0))
    assert sum(seen) == min(3, truncate)


def test_a_network_at_its_reference_pays_nothing():
    network, reference = twin()
    tuned = process(network, reference)
    loss = tuned.loss(network, Draws(50)(0), seeded(1))
    drawn = -loss.detach() / STRENGTH
    _, rows = law(reference)
    values = soft_reward(torch.eye(5)[rows])
    assert float((drawn[:, None] - values).abs().amin(1).max()) < 1e-5


BAD = {
    "strength": ({"strength": 0.0}, "strength must be finite and positive"),
    "truncate": ({"truncate": 0}, "truncate must be at least 1"),
    "temperature": ({"temperature": 0.0}, "temperature must be positive"),
}


@pytest.mark.parametrize("name", BAD)
def test_settings_out_of_range_are_refused(name):
    options, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        process(*twin(), **options)


def test_samplers_and_networks_without_such_a_gradient_are_refused():
    network, reference = twin()
    chosen = MaskedSampler(SymbolsAlone(network), CANVAS, order=Confidence())
    with pytest.raises(ValueError, match="positions that the network does not choose"):
        SoftReward(chosen, soft_reward, reference, 1.0)
    with pytest.raises(ValueError, match="soft tokens need a TokenTransformer, got Linear"):
        with soft_inputs(torch.nn.Linear(2, 2), torch.zeros(1, 2, 3)):
            pass
    short = SoftReward(
        MaskedSampler(SymbolsAlone(network), CANVAS, order=Sequential()),
        lambda soft: soft.sum(), reference, 1.0, symbols=True,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"must return \(3,\), got \(\)"):
        short.loss(network, Draws(3)(0), seeded(0))
    assert len(Draws(5)(0, 1, 2)) == 2 and len(Draws(5)) == 5
