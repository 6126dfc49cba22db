"""Twisted proposals draw where a potential is high and weigh back: the law never changes, and the
exact soft value leaves nothing to weigh."""

import pytest
import torch
from tilted_runs import z_scores
from token_laws import exact_law

from scidiff.core import seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.lookahead import Exact
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all, nested, smc
from scidiff.guidance.twisted import Potential, Twisted
from scidiff.rewards.scoring import Scores
from scidiff.samplers.classifier import ClassifierGuided, ExactChange, FirstOrderChange
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.testing import chain_reward, chain_table, check_sampler

TABLE, STRENGTH = chain_table(), 1.2
TARGET = TABLE.tilted(chain_reward, STRENGTH)
BLANK = FixedCanvas.blank(4, TABLE.mask_id)


def sine(x, k, rng):
    return 0.5 * torch.sin(7.0 * x.ids.double().sum(1) + k)


def potential(value, strength=STRENGTH):
    return ExactChange(Potential(value, strength, 4, TABLE.mask_id))


def slope(soft):
    """A smooth potential of one-hot rows."""
    return (soft * torch.linspace(0, 1, soft.shape[-1]) ** 2).sum((1, 2)).cos()


CHANGES = {
    "exact": lambda: potential(Exact(TARGET)),
    "sine": lambda: potential(sine),
    "gradient": lambda: FirstOrderChange(slope, TABLE.vocab_size),
}


def twisted(change, weight=1.0, **options) -> Twisted:
    guided = ClassifierGuided(TABLE.denoiser(), change, weight)
    return Twisted(MaskedSampler(guided, BLANK, **options))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("reward", [None, chain_reward])
@pytest.mark.parametrize("tokens", [1, 2])
@pytest.mark.parametrize("select, branch", [(smc(0.5), 1), (nested(0.5), 2)])
def test_twisted_proposals_keep_the_law(name, reward, tokens, select, branch):
    law = exact_law(TABLE, tokens_per_step=tokens)
    sampler = twisted(CHANGES[name](), 0.8, tokens_per_step=tokens)
    assert all(abs(z) < 4 for z in z_scores(sampler, reward, select, TARGET, branch, law))


def test_the_exact_value_leaves_every_weight_equal_to_z():
    g = guided_sample(twisted(CHANGES["exact"]()), chain_reward, 500, seeded(0), select=keep_all,
                      strength=STRENGTH)  # fmt: skip
    assert torch.allclose(g.log_w.exp(), torch.tensor(TARGET.z, dtype=torch.float64), rtol=1e-4)
    mean = chain_reward(g.x).mean()
    assert float(mean) == pytest.approx(float(TARGET.p @ TARGET.rewards), abs=0.12)


def test_a_potential_tells_the_value_how_much_is_written():
    told = []

    def value(x, k, rng):
        told.append(k.tolist())
        return torch.zeros(len(x))

    Potential(value, 1.0, 4, TABLE.mask_id).log_prob(TABLE.states[[0, 3, 255]])
    hidden = (TABLE.states[[0, 3, 255]] == TABLE.mask_id).sum(1)
    assert told == [(4 - hidden).tolist()]


def test_a_potential_without_a_value_is_named():
    def value(x, k, rng):
        status = (torch.arange(len(x)) == 1).to(torch.int8) * 2
        return Scores(torch.zeros(len(x)).double().masked_fill(status > 0, torch.nan), status)

    with pytest.raises(ValueError, match="row 1 has none"):
        Potential(value, 1.0, 4, TABLE.mask_id).log_prob(TABLE.states[:3])


def test_twisted_samplers_are_samplers():
    check_sampler(twisted(CHANGES["sine"]()))
    assert isinstance(sample(twisted(CHANGES["sine"]()), 3, seeded(0)), TokenState)


@pytest.mark.parametrize("options, message", [
    ({"temperature": 0.5}, "temperature 0.5"), ({"block_size": 2}, "block_size 2"),
])  # fmt: skip
def test_what_cannot_be_weighed_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        twisted(CHANGES["sine"](), **options)
    with pytest.raises(ValueError, match="ClassifierGuided denoiser, got one of TableDenoiser"):
        Twisted(MaskedSampler(TABLE.denoiser(), BLANK))
