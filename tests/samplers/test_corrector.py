"""Predictor-corrector: the Langevin rule, whose norms it takes, and what law it leaves alone."""

import pytest
import torch
from gaussian_targets import Points, gaussian, tiny_graph_denoiser

from scidiff.core import Tape, seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.samplers.corrector import PredictorCorrector
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.testing import check_full_graph, check_sampler, same

CANVAS = GraphCanvas(NodeCounts(torch.tensor([0.0, 1, 0, 1, 1])), 3)  # 1, 3 or 4 nodes


def corrected(gdss_compat=False, solver="reverse", stale=False):
    inner = GaussianSampler(tiny_graph_denoiser(), CANVAS, steps=3, solver=solver)
    options = dict(gdss_compat=gdss_compat, stale=stale)
    return PredictorCorrector(inner, snr=0.2, scale_eps=0.7, **options)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def test_it_is_a_sampler_and_a_particle_does_not_depend_on_its_batch():
    for sampler in (corrected(), corrected(solver="s4", stale=True)):
        check_sampler(sampler, n=12)
        check_full_graph(sampler)


def test_the_published_rule_couples_the_batch():
    with pytest.raises(AssertionError, match="its own state and noise alone"):
        check_sampler(corrected(gdss_compat=True), n=12)


@pytest.mark.parametrize("gdss_compat", [False, True])
def test_graphs_without_edges_stay_finite(gdss_compat):
    inner = GaussianSampler(
        tiny_graph_denoiser(), GraphCanvas(NodeCounts.fixed(1), 3), steps=2, solver="reverse"
    )
    sampler = PredictorCorrector(inner, snr=0.2, gdss_compat=gdss_compat)
    x = sampler.step(sampler.init(3, seeded(0)), 0, seeded(1))
    assert x.X.isfinite().all() and (x.A == 0).all()


@pytest.mark.parametrize("gdss_compat", [False, True])
def test_the_langevin_step_is_the_published_formula(gdss_compat):
    sampler, k = corrected(gdss_compat), 1
    x = sampler.step(sampler.init(8, seeded(0)), 0, seeded(1))
    tape = Tape(seeded(2))
    moved = sampler.sampler.arrive(
        x.moved(tuple(sampler._langevin(c, part, x, k, tape) for c, part in enumerate(x.parts))), k
    )
    schedule, beta_step = sampler.denoiser.components[0].schedule, sampler.sampler.times[k]
    alpha_k, sigma = schedule.log_alpha(beta_step).exp(), schedule.sigma(beta_step)
    alpha_next = schedule.log_alpha(sampler.sampler.times[k + 1]).exp()
    score = -sampler.denoiser.network_x(x.X, x.A, x.mask) / sigma.float()
    z = tape.draws[0][1] * x.mask[..., None]
    norms = [v.flatten(1).norm(dim=1) for v in (z, score)]
    if gdss_compat:
        norms = [v.mean() for v in norms]
    size = (2 * (alpha_k / alpha_next) ** 2 * (0.2 * norms[0] / norms[1]) ** 2).float()
    size = size.reshape(-1, 1, 1)
    want = x.X + size * score + 0.7 * (2 * size).sqrt() * z
    assert torch.allclose(moved.X, want, atol=1e-5)


def test_small_corrector_steps_leave_the_marginal_where_it_is():
    """The Langevin rule alone, from the exact marginal of a wide Gaussian target in 200
    dimensions: norms concentrate, so the step is a constant and the law is kept to O(step)."""
    d, n, sd = 200, 400, 2.0
    oracle = gaussian(0.0, sd)
    oracle.targets[0].means = torch.zeros(1, d).double()
    oracle.targets[0].variances = torch.full((1, d), sd**2).double()
    sampler = PredictorCorrector(
        GaussianSampler(oracle, oracle.canvas, steps=4, solver="reverse"), snr=0.05
    )
    level, sigma = (float(v) for v in sampler.sampler.levels(2, 0))
    std = (level**2 * sd**2 + sigma**2) ** 0.5
    rng = seeded(0)
    x = Points((std * torch.randn(n, d, generator=rng, dtype=torch.float64),))
    x = sampler.sampler.arrive(x, 2)
    for _ in range(20):
        x = sampler.sampler.arrive(Points((sampler._langevin(0, x.parts[0], x, 2, rng),)), 2)
    assert abs(x.parts[0].var() / std**2 - 1) < 4 * (2 / (n * d)) ** 0.5 + 0.05**2


def test_finished_rows_stay_and_costs_are_two_evaluations_a_step():
    sampler = corrected()
    x = sampler.init(5, seeded(0))
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, seeded(1, k))
    assert sampler.denoiser.rows == 5 * (2 * sampler.num_steps + 1)
    after = sampler.step(x, torch.full((5,), sampler.num_steps), seeded(2))
    assert same(after.parts, x.parts)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="snr must be positive"):
        PredictorCorrector(corrected().sampler, snr=0.0)
