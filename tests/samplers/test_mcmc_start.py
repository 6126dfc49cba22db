"""A chain on place and noise level against the exact law of one Gaussian."""

import pytest
import torch
from gaussian_targets import gaussian

from scidiff.core import seeded
from scidiff.processes.schedules import VP, alpha
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.mcmc_start import McmcStart


def mcmc_start(sweeps=400, steps=8, relax=0.05, **options):
    oracle = gaussian(mean=0.3, sd=0.5, schedule=VP(0.1, 20.0))
    sampler = GaussianSampler(PerRow(oracle), oracle.canvas, steps=steps, eta=1.0)
    schedule, times = oracle.components[0].schedule, sampler.times[:steps]
    mean, sd = alpha(schedule, times) * 0.3, level_sd(schedule, times)

    def law(x):
        return -((x.parts[0] - mean) ** 2) / (2 * sd**2) - sd.log()

    return McmcStart(sampler, law, sweeps=sweeps, relax=relax, **options), mean, sd


def level_sd(schedule, times):
    return (alpha(schedule, times) ** 2 * 0.25 + schedule.sigma(times) ** 2).sqrt()


class PerRow:
    """The oracle of one Gaussian at a time of its own for each row."""

    def __init__(self, oracle):
        self.components, self.rows = oracle.components, 0

    def __call__(self, x, t):
        schedule, part = self.components[0].schedule, x.parts[0]
        level, sigma = (v.reshape(-1, 1) for v in (alpha(schedule, t), schedule.sigma(t)))
        gain = level * 0.25 / (level**2 * 0.25 + sigma**2)
        return (0.3 + gain * (part - level * 0.3),)


def test_the_chain_on_place_and_level_keeps_both_marginals():
    n, (sampler, mean, sd) = 4000, mcmc_start()
    x = sampler.init(n, seeded(0))
    k = sampler.nodes(x)
    z = (x.parts[0][:, 0] - mean[k]) / sd[k]
    assert abs(z.mean()) < 4 / n**0.5 and abs(z.var() - 1) < 4 * (2 / n) ** 0.5
    counts = torch.bincount(k, minlength=8).double()
    assert ((counts - n / 8).abs() < 4 * (n / 8 * 7 / 8) ** 0.5).all()


def test_weights_choose_how_often_each_level_is_left():
    weights = torch.tensor([0.0, 0, 0, 0, 1, 3, 0, 0])
    sampler, *_ = mcmc_start(weights=weights)
    k = sampler.nodes(sampler.init(4000, seeded(1)))
    share = (k == 5).double().mean()
    assert ((k == 4) | (k == 5)).all() and abs(share - 0.75) < 4 * (0.75 * 0.25 / 4000) ** 0.5


def test_particles_go_on_from_their_own_level_and_rest_at_the_end():
    sampler, *_ = mcmc_start(steps=24)
    x = sampler.init(3000, seeded(2))
    arrived = None
    for j in range(sampler.num_steps):
        before, x = x, sampler.step(x, j, seeded(3, j))
        arrived = sampler.nodes(before) == sampler.num_steps
        assert torch.equal(x.parts[0][arrived], before.parts[0][arrived])
    assert arrived.sum() > 2500 and (sampler.nodes(x) == sampler.num_steps).all()
    got = x.parts[0][:, 0]
    assert abs(got.mean() - 0.3) < 4 * 0.5 / 3000**0.5
    assert abs(got.var() / 0.25 - 1) < 4 * (2 / 3000) ** 0.5 + 0.02  # 24 steps are not exact


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: mcmc_start(sweeps=0), "expected sweeps >= 1"),
        (lambda: mcmc_start(weights=torch.ones(3)), r"weights must be \(8,\)"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
