"""A sampler of samplers: choosing among candidates by a surrogate changes no law once it is
weighed, whatever the surrogate."""

from dataclasses import replace

import pytest
import torch
from gaussian_targets import chain_law, gaussian
from tilted_runs import z_scores

from scidiff.core import seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.cascade import Cascade
from scidiff.guidance.lookahead import Exact, Surrogate
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all, nested, smc
from scidiff.rewards.scoring import Scores, Status
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.samplers.strided import StridedSampler
from scidiff.testing import chain_reward, chain_table, check_sampler

TABLE, STRENGTH = chain_table(), 1.2
TARGET = TABLE.tilted(chain_reward, STRENGTH)


def masked(**options) -> MaskedSampler:
    return MaskedSampler(TABLE.denoiser(), FixedCanvas.blank(4, TABLE.mask_id), **options)


def wrong(x, k, rng):
    """A surrogate that has nothing to do with the reward."""
    return torch.sin(7.0 * x.ids.sum(1))


def patchy(x, k, rng):
    """One that says nothing of most rows."""
    lost = x.ids.sum(1) % 3 > 0
    status = torch.where(lost, int(Status.INVALID), int(Status.OK)).to(torch.int8)
    return Scores(wrong(x, k, rng).double().masked_fill(lost, torch.nan), status)


SURROGATES = {
    "wrong": lambda inner: Cascade(inner, wrong, 3, 0.7),
    "patchy": lambda inner: Cascade(inner, patchy, 3, 0.7),
    "posterior mean": lambda inner: Cascade.cheap(inner, chain_reward, 3, STRENGTH),
    "exact": lambda inner: Cascade(inner, Exact(TARGET), 4, STRENGTH),
}


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("reward", [None, chain_reward])
@pytest.mark.parametrize("select, branch", [(keep_all, 1), (smc(0.5), 1), (nested(0.5), 3)])
def test_cascades_keep_the_law(name, reward, select, branch):
    sampler = SURROGATES[name](masked())
    assert all(abs(z) < 4 for z in z_scores(sampler, reward, select, TARGET, branch))


def test_a_cascade_of_strides_and_a_stride_of_cascades_keep_it_too():
    for sampler in (Cascade(StridedSampler(masked(), 2), wrong, 3, 0.7),
                    StridedSampler(Cascade(masked(), wrong, 3, 0.7), 2)):  # fmt: skip
        assert all(abs(z) < 4 for z in z_scores(sampler, chain_reward, smc(0.5), TARGET))


def test_cascades_of_cascades_add_their_ratios():
    twice = Cascade(Cascade(masked(), wrong, 3, 0.7), patchy, 3, 0.7)
    assert all(abs(z) < 4 for z in z_scores(twice, chain_reward, smc(0.5), TARGET))


def test_without_its_ratio_a_cascade_bends_the_law():
    class Silent(Cascade):
        def step(self, x, k, rng):
            return replace(super().step(x, k, rng), log_ratio=None)

    silent = Silent(masked(), Exact(TARGET), 3)
    assert not all(abs(z) < 4 for z in z_scores(silent, chain_reward, smc(0.5), TARGET))


def test_the_oracle_sees_one_candidate_of_each_parent():
    asked = []

    def oracle(x):
        asked.append(len(x))
        return chain_reward(x)

    sampler = Cascade(masked(), Exact(TARGET), 8, STRENGTH)
    guided_sample(sampler, oracle, 50, seeded(0), select=smc(0.5), strength=STRENGTH, every=4)
    assert asked == [50]


def test_the_exact_surrogate_tilts_the_draws_themselves():
    plain = chain_reward(sample(masked(), 4000, seeded(0))).mean()
    bent = chain_reward(sample(Cascade(masked(), Exact(TARGET), 16, STRENGTH), 4000, seeded(0)))
    truth = float(TARGET.p @ TARGET.rewards)
    assert abs(float(bent.mean()) - truth) < 0.05 < truth - float(plain) - 0.1


def test_continuous_chains_keep_their_law():
    oracle = gaussian(mean=-0.3, sd=0.5)
    inner = GaussianSampler(oracle, oracle.canvas, steps=8)
    sampler = Cascade(inner, Surrogate(lambda x, k: torch.cos(5 * x.parts[0][:, 0])), 4, 2.0)

    def reward(x):
        return -1.5 * (x.parts[0][:, 0] - 1.0) ** 2

    runs, mean, variance = 400, *chain_law(oracle, inner)
    g = guided_sample(
        sampler, reward, runs * 16, seeded(0), select=smc(0.5), branch=2, populations=runs
    )
    total = torch.tensor(variance + 1 / 3)
    truth = (1 + 3 * variance) ** -0.5 * float((-((1 - mean) ** 2) / 2 / total).exp())
    z = g.log_z.exp()
    assert abs(float(z.mean()) - truth) < 4 * float(z.std()) / runs**0.5


def test_a_step_reports_its_own_choice_only():
    oracle = gaussian()
    for inner in (masked(), GaussianSampler(oracle, oracle.canvas, steps=4)):
        sampler = Cascade(inner, lambda x, k, rng: torch.randn(len(x)) * (k == 1), 3)
        x = sampler.step(sampler.init(5, seeded(0)), 0, seeded(1))
        assert x.log_ratio.ne(0).all()
        assert sampler.step(x, 1, seeded(2)).log_ratio.abs().max() < 1e-12


@pytest.mark.parametrize("make", [
    lambda: Cascade(masked(), Exact(TARGET), 3),
    lambda: Cascade(GaussianSampler(gaussian(), gaussian().canvas, steps=4),
                    Surrogate(lambda x, k: x.parts[0][:, 0]), 3),
])  # fmt: skip
def test_a_cascade_is_a_sampler(make):
    check_sampler(make())


def test_rows_with_clocks_of_their_own_are_cascaded():
    seen = []

    def watched(x, k, rng):
        seen.append(k.tolist())
        return wrong(x, k, rng)

    sampler = Cascade(masked(), watched, 2)
    sampler.step(sampler.init(3, seeded(0)), torch.tensor([0, 1, 2]), seeded(1))
    assert seen == [[1, 2, 3], [1, 2, 3]]


def test_copies_are_refused():
    oracle = gaussian()
    frozen = GaussianSampler(oracle, oracle.canvas, steps=4, eta=0.0)
    with pytest.raises(ValueError, match="eta > 0"):
        Cascade(frozen, wrong, 2)
    with pytest.raises(ValueError, match="candidates must be at least 1, got 0"):
        Cascade(masked(), wrong, 0)
    assert isinstance(sample(Cascade(masked(), wrong, 1), 3, seeded(0)), TokenState)
