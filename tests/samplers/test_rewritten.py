"""The protocol of the solvers that wrap the engine, on graphs."""

import pytest
import torch
from gaussian_targets import tiny_graph_denoiser

from scidiff.core import Renoisable, Sampler, seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.samplers.compensation import compensate
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.grids import uniform_lambdas
from scidiff.samplers.mcmc_start import McmcStart
from scidiff.samplers.momentum import Momentum, heavy_ball_scheme
from scidiff.samplers.projection import Projection
from scidiff.samplers.rewritten import Rewritten
from scidiff.samplers.schemes import make_scheme
from scidiff.samplers.statistics import Residual, Statistics, statistics_scheme
from scidiff.samplers.time_shift import TimeShift
from scidiff.testing import check_full_graph, check_sampler, same

GRAPHS = GraphCanvas(NodeCounts(torch.tensor([0.0, 1, 0, 1, 1])), 3)  # 1, 3 or 4 nodes


def graph_samplers():
    denoiser = tiny_graph_denoiser()
    schedules = [c.schedule for c in denoiser.components]
    times = uniform_lambdas(schedules, 3)
    zero = Statistics.zero(2)

    def sampler(scheme, denoiser=denoiser):
        return GaussianSampler(denoiser, GRAPHS, scheme=scheme)

    def level_law(x):
        return torch.zeros(len(x), 3, device=x.X.device)

    two = make_scheme("2m", schedules, 3, 1.0, grid=times)
    return {
        "momentum": Rewritten(
            sampler(heavy_ball_scheme(2, schedules, times, 0.7, 1.0)), Momentum(0.7)
        ),
        "projection": Rewritten(sampler(two), Projection()),
        "statistics": Rewritten(
            sampler(statistics_scheme(2, zero, schedules, times)),
            Residual(zero, schedules, times),
        ),
        "time shift": sampler(two, TimeShift(denoiser, 0.1)),
        "compensated": sampler(compensate(two, 0.9 * torch.ones(2, 3))),
        "MCMC start": McmcStart(sampler(two), level_law, sweeps=2),
    }


@pytest.mark.parametrize("name", graph_samplers())
def test_second_line_samplers_keep_the_contract(name):
    sampler = graph_samplers()[name]
    assert isinstance(sampler, Sampler) and isinstance(sampler, Renoisable)
    with torch.no_grad():
        check_sampler(sampler)
        check_full_graph(sampler)
        x = sampler.init(6, seeded(0))
        again = sampler.renoise(x, 1, seeded(1))
        assert len(again.guesses) == len(x.guesses)
        assert sampler.step(again, 1, seeded(2)).X.isfinite().all()
        assert same(sampler.renoise(x, sampler.num_steps, seeded(1)), x)
