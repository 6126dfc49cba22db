"""Ensemble guidance of Gaussian data by linear measurements is exact: its guess is that of the
posterior, and so is the law of its chains."""

from dataclasses import dataclass

import pytest
import torch
from gaussian_targets import Points, gaussian
from torch import Tensor

from scidiff.core import normal, seeded
from scidiff.guidance.ensemble import EnsembleKalman
from scidiff.guidance.particles import sample
from scidiff.processes.gaussian import Component, symmetric
from scidiff.processes.schedules import VE, VP, alpha
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.testing import GaussianMixture

D, M = 5, 2
SCHEDULES = (VP(0.1, 20.0), VE(0.01, 10.0))
SIZES = (3, 2)  # of the parts
T = torch.tensor(0.3, dtype=torch.float64)


def drawn(*shape, seed):
    return normal(shape, seeded(seed)).double()


ROOT = drawn(D, D, seed=1) / 2
MEAN, COVARIANCE = drawn(D, seed=2), ROOT @ ROOT.T + 0.05 * torch.eye(D)
G, Y, NOISE = drawn(M, D, seed=3), torch.tensor([1.0, -0.5]).double(), torch.tensor([0.3, 0.5])


def posterior() -> tuple[Tensor, Tensor]:
    """Mean and covariance given G x + N(0, noise^2) = y."""
    gain = COVARIANCE @ G.T @ (G @ COVARIANCE @ G.T + NOISE.double().square().diag()).inverse()
    return MEAN + gain @ (Y - G @ MEAN), COVARIANCE - gain @ G @ COVARIANCE


@dataclass
class Correlated:
    """The exact guess of N(mean, covariance), in parts of different schedules."""

    mean: Tensor
    covariance: Tensor
    rows: int = 0
    components = tuple(Component(s) for s in SCHEDULES)

    def __call__(self, x, t):
        self.rows += len(x)
        level, noise = (
            torch.cat([f(s).reshape(1).expand(n) for s, n in zip(SCHEDULES, SIZES, strict=True)])
            for f in (lambda s: alpha(s, t), lambda s: s.sigma(t) ** 2)
        )
        a = level.diag()
        gain = self.covariance @ a @ (a @ self.covariance @ a + noise.diag()).inverse()
        flat = torch.cat(x.parts, 1)
        return (self.mean + (flat - level * self.mean) @ gain.T).split(SIZES, 1)


def canvas(n, rng):
    return Points(torch.zeros(n, D, dtype=torch.float64).split(SIZES, 1))


def observed(x):
    return torch.cat(x.parts, 1) @ G.T


def guided(particles):
    return EnsembleKalman(Correlated(MEAN, COVARIANCE), observed, Y, NOISE, particles)


def places(n, seed=5):
    """Anywhere: the guess must not lean on the law of the population."""
    return Points((3 * drawn(n, D, seed=seed) @ drawn(D, D, seed=seed + 1)).split(SIZES, 1))


@pytest.mark.parametrize("t", [0.999, 0.5, 0.1, 0.002])
def test_the_guess_is_that_of_the_posterior(t):
    x, t = places(3 * (D + 1)), torch.tensor(t, dtype=torch.float64)
    told, exact = guided(D + 1)(x, t), Correlated(*posterior())(x, t)
    for ours, truth in zip(told, exact, strict=True):
        torch.testing.assert_close(ours, truth, rtol=1e-5, atol=1e-6)


def test_a_population_that_spans_less_comes_closer_as_it_grows():
    gaps = []
    for particles in (1, 2, 3, 4, 6):
        x = places(12 * particles)
        told, exact = guided(particles)(x, T), Correlated(*posterior())(x, T)
        gaps.append(float((torch.cat(told, 1) - torch.cat(exact, 1)).square().mean()))
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 1e-9 < gaps[-2]
    plain = torch.cat(Correlated(MEAN, COVARIANCE)(x := places(12), T), 1)
    assert torch.equal(torch.cat(guided(1)(x, T), 1), plain)


def test_symmetric_matrices_have_their_pairs_counted_once():
    """Three pairs of N(mean, sd^2) each, of which a weighted sum is measured."""
    level, sigma = (float(f) for f in (alpha(VP(0.1, 20.0), T), VP(0.1, 20.0).sigma(T)))
    mean, variance = 0.4, 0.36
    total = level**2 * variance + sigma**2
    weights = torch.tensor([1.0, -2.0, 0.5]).double()

    class Pairs:
        components, rows = (Component(VP(0.1, 20.0), symmetric),), 0

        def __call__(self, x, t):
            guess = mean + level * variance / total * (x.parts[0] - level * mean)
            return (guess.triu(1) + guess.triu(1).mT,)

    def read(x):
        return x.parts[0][:, [0, 0, 1], [1, 2, 2]] @ weights[:, None]

    places = symmetric(drawn(8, 3, 3, seed=9), None)
    plain = Pairs()(Points((places,)), T)
    told = EnsembleKalman(Pairs(), read, [1.5], 0.2, 8)(Points((places,)), T)[0]
    spread = variance * sigma**2 / total
    gain = spread * weights / (spread * weights.square().sum() + 0.2**2)
    upper = torch.zeros(3, 3).double()
    upper[[0, 0, 1], [1, 2, 2]] = gain
    exact = plain[0] + (1.5 - read(Points(plain)))[..., None] * (upper + upper.T)
    torch.testing.assert_close(told, exact)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_chains_have_the_posterior_s_mean_and_covariance(eta):
    n = 4000
    options = {"steps": 120, "eta": eta, "times": "lambda"}
    chain = GaussianSampler(guided(8), canvas, **options)
    x = torch.cat(sample(chain, n, seeded(0)).parts, 1)
    mean, covariance = posterior()
    error = covariance.diagonal().sqrt() / n**0.5
    assert ((x.mean(0) - mean).abs() < 4 * error).all()
    each = (x - mean)[:, :, None] * (x - mean)[:, None]
    assert ((each.mean(0) - covariance).abs() < 4 * each.std(0) / n**0.5).all()
    # particle by particle the chains of the posterior's own guess
    truth = GaussianSampler(Correlated(mean, covariance), canvas, **options)
    other = torch.cat(sample(truth, n, seeded(0)).parts, 1)
    torch.testing.assert_close(x, other, rtol=1e-4, atol=1e-4)


def test_without_measurements_chains_do_not():
    chain = GaussianSampler(Correlated(MEAN, COVARIANCE), canvas, steps=60)
    x = torch.cat(sample(chain, 4000, seeded(0)).parts, 1)
    error = posterior()[1].diagonal().sqrt() / 4000**0.5
    assert ((x.mean(0) - posterior()[0]).abs() > 4 * error).any()


def test_other_data_are_an_approximation():
    """Two modes and a measurement that only one of them explains: the posterior is in that mode,
    and what the ensemble draws is near it, but not its law."""
    target = GaussianMixture([0.5, 0.5], [[-1.5], [1.5]], [[0.3], [0.3]])
    oracle = gaussian()
    oracle.targets = [target]
    told = EnsembleKalman(oracle, lambda x: x.parts[0], [1.0], 0.5, 50)
    x = sample(GaussianSampler(told, oracle.canvas, steps=60), 4000, seeded(0)).parts[0]
    variance = 1 / (1 / 0.3**2 + 1 / 0.5**2)
    mean = variance * (1.5 / 0.3**2 + 1.0 / 0.5**2)
    assert 0.3 < float((x > 0).double().mean())
    assert abs(float(x.mean()) - mean) > 10 * float(x.std()) / 4000**0.5
