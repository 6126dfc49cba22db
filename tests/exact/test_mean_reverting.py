"""Noise that returns to mu, against the closed form for one Gaussian: x_t ~ N(alpha m + (1 -
alpha) mu, alpha^2 v + sigma^2)."""

import pytest
import torch
from gaussian_targets import Points, gaussian, tiny_graph_denoiser

from scidiff.core import seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.processes.gaussian import Centred, GaussianProcess
from scidiff.processes.schedules import MeanReverting, alpha
from scidiff.samplers.gaussian import GaussianSampler

SCHEDULE, MU, MEAN, SD = MeanReverting(0.1, 20.0, 0.4), torch.tensor([3.0]), -0.5, 0.2


class Returning:
    """E[x0 | x_t = x] under the noise that returns to mu; knows nothing of y."""

    def __init__(self, mu=MU):
        self.mu = mu.double()
        self.components, self.rows = gaussian(schedule=SCHEDULE).components, 0

    def __call__(self, x, t):
        self.rows += len(x)
        level, sigma = alpha(SCHEDULE, t).view(-1, 1), SCHEDULE.sigma(t).view(-1, 1)
        gain = level * SD**2 / (level**2 * SD**2 + sigma**2)
        return (MEAN + gain * (x.parts[0] - level * MEAN - (1 - level) * self.mu),)


def canvas(n, rng):
    return Points((torch.zeros(n, 1, dtype=torch.float64),))


def test_a_chain_passes_through_the_law_of_every_time():
    n, sampler = 20_000, GaussianSampler(Centred(Returning(), [MU]), canvas, steps=60, solver="2m")
    rng = seeded(0)
    y = sampler.init(n, rng)
    for k in range(sampler.num_steps + 1):
        if k in (0, 20, 40, 60):
            t = sampler.times[k] if k < 60 else torch.zeros(())
            level, sigma = float(alpha(SCHEDULE, t)), float(SCHEDULE.sigma(t))
            (x,) = sampler.denoiser.places(y, t)
            var = level**2 * SD**2 + sigma**2
            assert abs(x.mean() - level * MEAN - (1 - level) * 3) < 4 * (var / n) ** 0.5 + 0.01
            assert x.var() / var == pytest.approx(1, abs=4 * (2 / n) ** 0.5 + 0.02)
        if k < sampler.num_steps:
            y = sampler.step(y, k, rng)
    assert sampler.denoiser.rows == n * 61


def test_training_sees_noise_that_returns():
    """The guess that is exact for mu has the loss of an exact guess; for another mu more."""
    process = GaussianProcess(Returning().components, t_min=0.05)
    x0 = Points((MEAN + SD * torch.randn(4000, 1, generator=seeded(1), dtype=torch.float64),))
    best = process.loss(Returning(0 * MU), x0, seeded(2))  # mu = 0 is the plain process
    assert torch.allclose(process.loss(Centred(Returning(), [MU]), x0, seeded(2)), best)
    worse = process.loss(Centred(Returning(), [MU - 1]), x0, seeded(2)) - best
    assert worse.mean() > 4 * worse.std() / len(worse) ** 0.5


def test_absent_nodes_are_not_drawn_to_mu():
    x = GraphCanvas(NodeCounts(torch.tensor([0.0, 1, 0, 1, 1])), 3)(6, seeded(0))
    denoiser = Centred(tiny_graph_denoiser(), [torch.ones(3), torch.ones(())])
    X, A = denoiser.places(x, torch.full((6,), 0.7))
    assert (X[~x.mask] == 0).all() and (X[x.mask] > 0).all()
    pairs = x.mask[:, :, None] & x.mask[:, None] & ~torch.eye(4, dtype=torch.bool)
    assert ((A != 0) <= pairs).all() and torch.equal(A, A.mT)
    only_x = Centred(tiny_graph_denoiser(), [torch.ones(3), None])
    assert torch.equal(only_x.places(x, torch.tensor(0.7))[1], x.A)
    assert [p.shape for p in only_x(x, torch.tensor(0.7))] == [X.shape, A.shape]


def test_a_centre_is_given_for_every_component():
    with pytest.raises(ValueError, match="one tensor or None a component, 2 in all, got 1"):
        Centred(tiny_graph_denoiser(), [None])
