"""What blocks are at both ends of their dial, and that a cache changes no law."""

from itertools import permutations, product

import pytest
import torch

from scidiff.core import Tape, seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.guidance.lookahead import Rollout
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import nested, per_parent, smc
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.processes.block import AutoregressiveProcess, BlockProcess
from scidiff.processes.masked import MaskedProcess
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import Confidence, Sequential, clocks
from scidiff.samplers.paces import EntropyBounded, Threshold
from scidiff.samplers.token_likelihood import exact_log_likelihood

V = 7  # PAD, EOS, four symbols, MASK
MASK = V - 1


def network(length, own=True):
    config = TokenTransformerConfig(V, length, width=32, depth=2, heads=2)
    net, rng = TokenTransformer(config), seeded(0)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.ndim == 2 and (own or not name.startswith("own")):
                p.copy_(2 * torch.randn(p.shape, generator=rng) / p.shape[1] ** 0.5)
        net.own.weight[MASK] = 0
    return net.eval()


class Symbols(TokenDenoiser):
    """A denoiser that never ends a row."""

    def log_probs(self, trunk):
        log_p = super().log_probs(trunk)
        return log_p.index_fill(-1, torch.tensor([PAD, EOS]), float("-inf")).log_softmax(-1)


def drawn(denoiser, length, n=200, **options):
    blank = FixedCanvas.blank(length, MASK)
    return sample(MaskedSampler(denoiser, blank, **options), n, seeded(1)).ids


@pytest.mark.parametrize("options", [
    {}, {"tokens_per_step": 2}, {"order": Confidence()}, {"tokens_per_step": Threshold(0.4)},
])  # fmt: skip
def test_one_block_is_the_masked_sampler(options):
    net, L = network(8), 8
    block = drawn(Symbols(net, L), L, block_size=L, **options)
    masked = drawn(Symbols(net, None), L, **options)
    assert torch.equal(block, masked)
    assert len(masked.unique(dim=0)) > 100


def test_one_block_has_the_masked_loss():
    net, L = network(8).double(), 8
    x0 = TokenState(torch.randint(2, MASK, (64, L), generator=seeded(2)))
    block = BlockProcess(MASK, L).loss(net, x0, seeded(3))
    masked = MaskedProcess(MASK).loss(net, x0, seeded(3))
    torch.testing.assert_close(block, masked, atol=1e-6, rtol=0)
    assert net.log_probs(net.bidirectional(x0.ids)).dtype == torch.float64


def autoregression(net, draws, n, length):
    """Rows written token by token by whole causal passes, with the Gumbel noise of `draws`."""
    ids = torch.full((n, length), PAD)
    live = torch.ones(n, dtype=torch.bool)
    for i, (_, u) in enumerate(draws):
        log_p = net.log_probs(net.causal(ids))[:, i]
        token = (log_p - clocks(u[:, 0]).log()).argmax(-1)
        ids[live, i] = token[live]
        live = live & (token != EOS)
    return ids


@pytest.mark.parametrize("cache", [False, True])
@torch.no_grad()
def test_blocks_of_one_are_autoregression_with_the_same_noise(cache):
    net, L, n = network(10, own=False), 10, 100
    blank, tape = FixedCanvas.blank(L, MASK), Tape(seeded(4))
    denoiser = TokenDenoiser(net, 1, prefix_cache=cache)
    s = MaskedSampler(denoiser, blank, block_size=1, order=Sequential())
    ids = sample(s, n, tape).ids
    assert len(tape.draws) == L
    assert torch.equal(ids, autoregression(net, tape.draws, n, L))
    assert 0.1 < (ids == EOS).any(1).float().mean() < 0.9


def ended_rows(n, L):
    """Rows of symbols that end everywhere."""
    ids, ends = torch.randint(2, MASK, (n, L), generator=seeded(5)), torch.arange(n) % L
    ids[torch.arange(n), ends] = EOS
    return torch.where(torch.arange(L) > ends[:, None], PAD, ids)


@torch.no_grad()
def test_blocks_of_one_have_the_likelihood_of_autoregression():
    net, x0 = network(10, own=False).double(), TokenState(ended_rows(30, 10))
    value, error = exact_log_likelihood(net, BlockProcess(MASK, 1), x0)
    causal = -AutoregressiveProcess(MASK).loss(net, x0, seeded(0))
    torch.testing.assert_close(value, causal, atol=1e-5, rtol=0)
    assert not error.any()


@torch.no_grad()
def test_a_cached_chain_tells_the_likelihood_of_autoregression():
    net, ids = network(10, own=False), ended_rows(30, 10)
    told = net.log_probs(net.causal(ids)).gather(-1, ids[..., None])[..., 0]
    denoiser, x = TokenDenoiser(net, 1, prefix_cache=True), TokenState(torch.full_like(ids, MASK))
    for i in range(10):
        trunk, cache = denoiser.recall(x, i)
        log_p = denoiser.log_probs(trunk)[torch.arange(30), i, ids[:, i]]
        torch.testing.assert_close(log_p, told[:, i], atol=1e-5, rtol=0)
        x = TokenState(torch.where(torch.arange(10) <= i, ids, MASK), cache=cache)


@pytest.mark.parametrize("size, options", [
    (1, {}), (3, {}), (4, {"tokens_per_step": 2}), (4, {"order": Confidence()}),
    (4, {"order": Confidence(), "tokens_per_step": Threshold(0.5)}),
    (5, {"tokens_per_step": EntropyBounded(0.5)}), (4, {"temperature": 0.7, "top_p": 0.9}),
])  # fmt: skip
def test_a_cache_draws_the_same_rows(size, options):
    net, L = network(14), 14
    cached, plain = (
        drawn(TokenDenoiser(net, size, prefix_cache=c), L, 100, block_size=size, **options)
        for c in (True, False)
    )
    assert torch.equal(cached, plain)


# ---------------------------------------------------------------- the enumerable law, guided

L, B = 4, 2
SEQS = torch.cartesian_prod(*[torch.arange(2, MASK)] * L)


@torch.no_grad()
def law(net):
    """p (N,) float64 of blocks of two in random order: each block the mean over its orders of the
    product of its conditionals, of which the network is asked without a cache."""
    denoiser, p = Symbols(net, B, prefix_cache=False), torch.ones(len(SEQS)).double()
    for start in range(0, L, B):
        orders = list(permutations(range(start, start + B)))
        block = torch.zeros_like(p)
        for order in orders:
            ids, term = torch.where(torch.arange(L) < start, SEQS, MASK), torch.ones_like(p)
            for i in order:
                log_p = denoiser.log_probs(denoiser(TokenState(ids), 0))
                term *= log_p[torch.arange(len(ids)), i, SEQS[:, i]].double().exp()
                ids = ids.clone()
                ids[:, i] = SEQS[:, i]
            block += term / len(orders)
        p *= block
    return p


def reward(x):
    return 0.6 * (x.ids == 3).sum(1).double() + (x.ids[:, 0] == x.ids[:, 3])


RULES = [(smc(0.5), 1), (per_parent, 4), (nested(0.7), 3)]


@pytest.mark.parametrize("rule, value", list(product(RULES, ["guess", "rollout"])))
def test_guided_blocks_with_a_cache_are_unbiased(rule, value):
    net, (select, branch), repeats, K = network(L), rule, 200, 12
    p = law(net)
    assert abs(float(p.sum()) - 1) < 1e-5
    s = MaskedSampler(Symbols(net, B, prefix_cache=True), FixedCanvas.blank(L, MASK), block_size=B)
    told = Rollout(s, reward) if value == "rollout" else None
    g = guided_sample(
        s, reward, repeats * K, seeded(6), select=select, value=told, branch=branch,
        populations=repeats,
    )  # fmt: skip
    for f in (lambda ids: torch.ones(len(ids)), lambda ids: (ids[:, 1] == 2).float()):
        exact = float((p * reward(TokenState(SEQS)).exp() * f(SEQS)).sum())
        estimate = (g.log_w.exp() * f(g.x.ids)).view(repeats, K).mean(1)
        assert abs(float(estimate.mean()) - exact) < 4 * float(estimate.std()) / repeats**0.5
        assert float(estimate.std()) / repeats**0.5 < 0.1 * exact
