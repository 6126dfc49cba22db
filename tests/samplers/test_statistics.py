"""Rows fitted to how the clean guess depends on its place."""

import pytest
import torch
from coupled_runs import FEW, MIXTURE, SCHEDULES, finish, nodes, plain, slopes
from gaussian_targets import Points

from scidiff.processes.gaussian import Component
from scidiff.processes.schedules import VP, alpha, lam
from scidiff.samplers.grids import uniform_lambdas
from scidiff.samplers.rewritten import Rewritten
from scidiff.samplers.schemes import make_scheme
from scidiff.samplers.statistics import Residual, Statistics, measure_statistics, statistics_scheme


def from_statistics(order, statistics, steps, denoiser=MIXTURE, times=None):
    schedules = [c.schedule for c in denoiser.components]
    times = nodes(steps) if times is None else times
    scheme = statistics_scheme(order, statistics, schedules, times)
    return Rewritten(plain(scheme, denoiser), Residual(statistics, schedules, times))


@pytest.mark.parametrize("order, name", [(1, "exp1"), (2, "2m")])
def test_statistics_that_say_nothing_are_dpm_solver_plus_plus(order, name):
    scheme = make_scheme(name, SCHEDULES, 12, 0.0, grid=nodes(12))
    a, b = finish(from_statistics(order, Statistics.zero(2), 12)), finish(plain(scheme))
    assert all(torch.allclose(x, y, atol=1e-12, rtol=1e-12) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def measured():
    return measure_statistics(MIXTURE, FEW, nodes(120), trace="exact")


@pytest.mark.parametrize("order", [1, 2])
def test_rows_with_statistics_keep_their_order(measured, order):
    assert slopes(lambda n: from_statistics(order, measured, n)) == pytest.approx(order, abs=0.25)


class Gain:
    """The exact clean guess of N(0, v)."""

    def __init__(self, schedule, v):
        self.components, self.v, self.rows = (Component(schedule),), v, 0

    def __call__(self, x, t):
        level, sigma = alpha(self.components[0].schedule, t), self.components[0].schedule.sigma(t)
        gain = level * self.v / (level**2 * self.v + sigma**2)
        return ((gain * x.parts[0].T).T,)


def test_with_its_statistics_a_gaussian_takes_one_exact_step():
    """dx~ / dlambda = -(1 - l) x~ with l = v / (v + e^-2 lambda): s~^2 + v scales x~."""
    v, schedule = 0.25, VP(0.1, 20.0)
    oracle, x = Gain(schedule, v), Points((torch.tensor([[0.4], [-1.3]]).double(),))
    statistics = measure_statistics(oracle, x, uniform_lambdas([schedule], 200, 1e-3))
    times = torch.tensor([1.0, 1e-3], dtype=torch.float64)
    value = lam(schedule, statistics.times)
    assert torch.allclose(statistics.linear[0], v / (v + (-2 * value).exp()), atol=1e-10)
    sampler = from_statistics(1, statistics, 1, oracle, times)
    level, sigma = alpha(schedule, times), schedule.sigma(times)
    sd = (level**2 * v + sigma**2).sqrt()
    (end,) = finish(sampler, x)
    assert torch.allclose(end, x.parts[0] * sd[1] / sd[0], rtol=1e-3)
    (ddim,) = finish(plain(make_scheme("exp1", [schedule], 1, 0.0, grid=times), oracle), x)
    assert not torch.allclose(ddim, end, rtol=0.2)
