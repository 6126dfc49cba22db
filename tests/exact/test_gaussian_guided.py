"""Guided continuous chains are unbiased: E[exp(r)] and E[exp(r) 1(x > 0)] of a Gaussian chain and
a quadratic reward, by z-score over populations."""

import pytest
import torch
from gaussian_targets import chain_law, gaussian, tiny_graph_denoiser

from scidiff.core import seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.guidance.particles import guided_sample
from scidiff.guidance.selection import greedy, keep_all, nested, per_parent, smc
from scidiff.samplers.gaussian import GaussianSampler

CENTRE, CURVATURE, RUNS, K = 1.0, 3.0, 400, 16


def reward(x):
    """-curvature / 2 (x - centre)^2."""
    return -CURVATURE / 2 * (x.parts[0].squeeze(1) - CENTRE) ** 2


def exact(mean, variance):
    """E[exp(r)] and E[exp(r) 1(x > 0)] under N(mean, variance): a product of two Gaussians."""
    total = variance + 1 / CURVATURE
    z = (1 + variance * CURVATURE) ** -0.5 * torch.tensor(
        -((CENTRE - mean) ** 2) / 2 / total
    ).exp()
    middle = (mean / variance + CENTRE * CURVATURE) / (1 / variance + CURVATURE)
    tilted = torch.distributions.Normal(middle, (1 / variance + CURVATURE) ** -0.5)
    return float(z), float(z * (1 - tilted.cdf(torch.tensor(0.0))))


def estimates(select, branch, eta=1.0, seed=0):
    oracle = gaussian(mean=-0.3, sd=0.5)
    sampler = GaussianSampler(oracle, oracle.canvas, steps=8, eta=eta)
    g = guided_sample(
        sampler, reward, RUNS * K, seeded(seed), select=select, branch=branch, populations=RUNS
    )
    w, positive = g.log_w.exp().view(RUNS, K), (g.x.parts[0] > 0).view(RUNS, K)
    return w.mean(1), (w * positive).mean(1), exact(*chain_law(oracle, sampler))


def z_score(values, truth):
    return float((values.mean() - truth) / (values.std() / len(values) ** 0.5))


PROPER = [
    (keep_all, 1),
    (smc(0.5), 1),
    (smc(1.0), 1),
    (per_parent, 1),
    (per_parent, 4),
    (smc(0.5), 4),
    (nested(0.5), 4),
]


@pytest.mark.parametrize("eta", [1.0, 3.0])
@pytest.mark.parametrize("select, branch", PROPER)
def test_proper_rules_are_unbiased_on_a_continuous_chain(select, branch, eta):
    constant, indicator, (z, above) = estimates(select, branch, eta)
    assert abs(z_score(constant, z)) < 4
    assert abs(z_score(indicator, above)) < 4


def test_the_test_sees_an_improper_rule():
    constant, _, (z, _) = estimates(greedy, 4)
    assert abs(z_score(constant, z)) > 4


def test_the_same_loop_drives_graphs_and_keeps_their_masks():
    canvas = GraphCanvas(NodeCounts(torch.tensor([0.0, 0, 1, 0, 1, 0, 1])), 3)
    sampler = GaussianSampler(tiny_graph_denoiser(), canvas, steps=6)

    def large(x):
        return x.mask.sum(1).double()

    with torch.no_grad():
        g = guided_sample(
            sampler, large, 64, seeded(0), select=nested(1.0), branch=3, populations=4
        )
    sizes = g.x.mask.sum(1)
    assert sizes.double().mean() > 5  # 4 without the reward
    for part in (g.x.X, g.x.A, *g.x.guesses[0]):
        assert (part[~g.x.mask] == 0).all()
    assert g.x.X[g.x.mask].ne(0).all() and g.ledger.network_rows > 0


def test_a_deterministic_chain_cannot_branch():
    oracle = gaussian()
    sampler = GaussianSampler(oracle, oracle.canvas, steps=4, eta=0.0)
    with pytest.raises(ValueError, match="eta"):
        guided_sample(sampler, reward, 8, seeded(0), select=per_parent, branch=2)
