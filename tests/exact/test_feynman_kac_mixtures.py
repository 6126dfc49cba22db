"""Feynman-Kac correctors on Gaussian mixtures: the distance to what they promise, beside that of
the same chain unweighted."""

import pytest
import torch
from gaussian_targets import Oracle

from scidiff.core import seeded
from scidiff.guidance.particles import guided_sample
from scidiff.guidance.selection import keep_all, smc
from scidiff.processes.schedules import VP
from scidiff.samplers.feynman_kac import FeynmanKac
from scidiff.samplers.tempered import Product, Tilted, anneal
from scidiff.testing import GaussianMixture

SCHEDULE = VP(0.1, 20.0)
ONE = Oracle([GaussianMixture([0.3, 0.7], [[-1.0], [1.0]], [[0.5], [0.6]])], [SCHEDULE])
TWO = Oracle([GaussianMixture([0.6, 0.4], [[-0.8], [1.2]], [[0.6], [0.5]])], [SCHEDULE])
GRID = torch.linspace(-8, 8, 4001, dtype=torch.float64)


def reward(x):
    y = x.parts[0][:, 0]
    return (2 * y).sin() + 0.3 * y


def log_q(oracle):
    return oracle.targets[0].log_prob(GRID[:, None])


PATHS = {
    "unguided": (Product([ONE], [1.0]), log_q(ONE)),
    "anneal 1.25": (anneal(ONE, 1.25), 1.25 * log_q(ONE)),
    "anneal 3": (anneal(ONE, 3.0), 3 * log_q(ONE)),
    "product": (Product([ONE, TWO], [1.0, 1.0]), log_q(ONE) + log_q(TWO)),
    "classifier-free 3": (Product([ONE, TWO], [3.0, -2.0]), 3 * log_q(ONE) - 2 * log_q(TWO)),
    "tilt": (Tilted(ONE, reward, 1.5), log_q(ONE) + 1.5 * ((2 * GRID).sin() + 0.3 * GRID)),
}


def distance(x, w, log_p):
    """W1 of weighted points to the law on the grid: the area between their cumulative laws."""
    cdf = log_p.softmax(0).cumsum(0)
    order = x.argsort()
    steps = torch.cat([torch.zeros(1).double(), (w[order] / w.sum()).cumsum(0)])
    at = steps[torch.searchsorted(x[order], GRID, right=True)]
    return float((at - cdf).abs().sum() * (GRID[1] - GRID[0]))


def distances(name, weigh, *, K, repeats, steps, **options):
    """Mean W1 over populations of K."""
    path, log_p = PATHS[name]
    sampler = FeynmanKac(path, ONE.canvas, steps=steps, **options)
    g = guided_sample(
        sampler, None, K * repeats, seeded(7), populations=repeats,
        select=smc(0.5) if weigh else keep_all,
    )  # fmt: skip
    x = g.x.parts[0][:, 0].double().view(repeats, K)
    w = g.log_w.view(repeats, K).softmax(1) if weigh else torch.ones_like(x)
    return sum(distance(*row, log_p) for row in zip(x, w, strict=True)) / repeats


QUICK = {"K": 2000, "repeats": 6, "steps": 150}
FULL = {"K": 4000, "repeats": 6, "steps": 300}


@pytest.mark.parametrize(
    "name, within, share", [("classifier-free 3", 0.05, 0.35), ("tilt", 0.03, 0.2)]
)
def test_weights_bring_the_chain_to_its_path(name, within, share):
    weighed = distances(name, True, **QUICK)
    assert weighed < within and weighed < share * distances(name, False, eta=1.0, **QUICK)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, within",
    [
        ("unguided", 0.03),
        ("anneal 1.25", 0.04),
        ("anneal 3", 0.04),
        ("product", 0.05),
        ("classifier-free 3", 0.04),
        ("tilt", 0.02),
    ],
)
def test_distances_at_full_length(name, within):
    assert distances(name, True, **FULL) < within


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, share", [("classifier-free 3", 0.35), ("tilt", 0.15), ("anneal 1.25", 0.6)]
)
def test_shares_of_the_unweighted_distance_at_full_length(name, share):
    """In the setting of the paper: eta = 1, where the unweighted chain is far."""
    weighed = distances(name, True, eta=1.0, **FULL)
    assert weighed < share * distances(name, False, eta=1.0, **FULL)


@pytest.mark.slow
@pytest.mark.parametrize("name, within", [("anneal 3", 0.07), ("product", 0.11)])
def test_an_explicit_interval_at_eta_one(name, within):
    assert distances(name, True, eta=1.0, active=(0.0, 0.6), times="time", **FULL) < within
