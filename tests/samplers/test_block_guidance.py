"""Guidance inside blocks: classifier control keeps its law there, and what is kept of finished
blocks changes nothing that is read."""

import numpy as np
import pytest
import torch
from token_laws import propagated, transition

from scidiff.core import seeded
from scidiff.data.tokens import FIRST_SYMBOL, TokenState
from scidiff.guidance.particles import guided_sample
from scidiff.guidance.selection import keep_all
from scidiff.networks.block_cache import PrefixCache
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.classifier import ClassifierGuided, ExactChange
from scidiff.samplers.context import Degraded, context_guided
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.paces import Threshold
from scidiff.testing import chain_reward, chain_table

V, L, B = 9, 14, 4
MASK = V - 1
TABLE = chain_table()
LABEL = torch.sigmoid(chain_reward(TokenState(TABLE.seqs)) - 1)  # p(y | x) of every row


class Posterior:
    """log p(y | x_t) of the table's partly hidden rows."""

    def __init__(self):
        self.values = (TABLE.completions @ LABEL / TABLE.completions.sum(1)).log()

    def log_prob(self, ids):
        return self.values[TABLE.index(ids)]


class Guess:
    """Made up, and different for every row that differs anywhere."""

    def log_prob(self, ids):
        weights = torch.from_numpy(np.random.default_rng(5).normal(size=(L, V)))
        return -(weights[torch.arange(L), ids].sum(1) ** 2) / 4


def guided_table(weight):
    return ClassifierGuided(TABLE.denoiser(), ExactChange(Posterior()), weight)


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_the_posterior_is_exact_inside_blocks(block_size):
    canvas = FixedCanvas.blank(TABLE.length, TABLE.mask_id)
    s = MaskedSampler(guided_table(1.0), canvas, block_size=block_size)
    kernel = transition(s, TABLE)
    wanted = TABLE.p * LABEL
    torch.testing.assert_close(
        propagated(TABLE, [kernel] * s.num_steps), wanted / wanted.sum(), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("block_size", [1, 2])
def test_other_weights_are_weighed_inside_blocks(block_size):
    canvas = FixedCanvas.blank(TABLE.length, TABLE.mask_id)
    s = MaskedSampler(guided_table(2.0), canvas, block_size=block_size)
    z = float((TABLE.p * LABEL**2).sum()) / float((TABLE.p * LABEL).sum()) ** 2
    found = torch.stack([
        guided_sample(s, None, 200, seeded(7, j), select=keep_all).log_z.exp() for j in range(60)
    ])  # fmt: skip
    assert abs(float((found.mean() - z) / (found.std() / 60**0.5))) < 4


def network():
    config = TokenTransformerConfig(V, L, width=32, depth=2, heads=2)
    net, rng = TokenTransformer(config), seeded(0)
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim == 2:
                p.copy_(1.5 * torch.randn(p.shape, generator=rng) / p.shape[1] ** 0.5)
        net.own.weight[MASK] = 0
    return net.eval()


def by_classifier(inner):
    return ClassifierGuided(inner, ExactChange(Guess()), 1.5)


def by_context(inner):
    return context_guided(inner, L, seeded(3), weight=2.0, fraction=0.5)


@pytest.mark.parametrize("bend", [by_classifier, by_context])
@pytest.mark.parametrize("pace", [1, Threshold(0.3)])
def test_cached_equals_uncached_at_every_step(bend, pace):
    net = network()
    kept, plain = (bend(TokenDenoiser(net, B, prefix_cache=c)) for c in (True, False))
    whole = bend(TokenDenoiser(net, B, prefix_cache=False, compact=False))
    s = MaskedSampler(kept, FixedCanvas.blank(L, MASK), block_size=B, tokens_per_step=pace)
    x, rng = s.init(8, seeded(21)), seeded(22)
    for k in range(s.num_steps - 1):
        x = s.step(x[torch.randint(0, 8, (8,), generator=rng)], k, rng)
        caches = x.cache if isinstance(x.cache, tuple) else (x.cache,)
        assert all(isinstance(cache, PrefixCache) for cache in caches)
        hidden = x.ids == MASK
        here = hidden & (torch.arange(L) // B == hidden.int().argmax(1, keepdim=True) // B)
        told = kept.log_weights(x.trunk.dense())[here]
        for other in (plain, whole):
            wanted = other.log_weights(other(x, k))[here]
            assert torch.equal(wanted == float("-inf"), told == float("-inf"))
            seen = wanted > float("-inf")
            torch.testing.assert_close(told[seen], wanted[seen], atol=2e-5, rtol=0)


def test_of_blocks_the_current_one_is_hidden_again():
    ids = torch.randint(FIRST_SYMBOL, MASK, (50, L), generator=seeded(6))
    ids[:, 7:] = MASK
    net = network()
    blocks = Degraded(TokenDenoiser(net, B), L, seeded(3), fraction=0.5)
    lost = blocks.degrade(TokenState(ids)) != ids
    assert not lost[:, :B].any() and (lost[:, B:].sum(1) == 2).all()  # of 3 that are written
    free = Degraded(TokenDenoiser(net, None), L, seeded(3), fraction=0.5)
    assert (free.degrade(TokenState(ids)) != ids)[:, :B].any()
