"""Schedules of discrete diffusion: inverses, slopes, and that they all weigh one bound."""

import math

import numpy as np
import pytest
import torch

from scidiff.processes.noise_levels import (
    SCHEDULES,
    Clipped,
    Cosine,
    CosineSquared,
    Geometric,
    LinearSigma,
    LogLinear,
    MiddleSteps,
    NearNoise,
    Power,
    named,
)

WHOLE = [LogLinear(), Cosine(), CosineSquared(), Power(2.0), Power(0.5), Power(3.0), NearNoise(),
         MiddleSteps(), Clipped()]  # fmt: skip
PART = [LogLinear(1e-3), Cosine(1e-3), CosineSquared(1e-3), LinearSigma(0.0, 10.0),
        LinearSigma(0.5, 3.0), Geometric(1e-3, 20.0), Clipped(0.3, 0.8)]  # fmt: skip
NODES, WEIGHTS = np.polynomial.legendre.leggauss(60)
INSIDE = torch.linspace(0.001, 0.999, 301, dtype=torch.float64)


@pytest.mark.parametrize("schedule", [*WHOLE, *PART], ids=str)
def test_alpha_falls_and_has_its_inverse(schedule):
    alpha = schedule.alpha(INSIDE)
    assert (alpha.diff() < 0).all() and 0 <= alpha.min() and alpha.max() <= 1
    assert torch.allclose(schedule.alpha_inv(alpha), INSIDE, atol=1e-7)


@pytest.mark.parametrize("schedule", [*WHOLE, *PART], ids=str)
def test_slope_is_the_derivative_and_the_weight_is_that_of_sigma(schedule):
    t = INSIDE.clone().requires_grad_()
    (slope,) = torch.autograd.grad(schedule.rate(t).sum(), t)
    assert torch.allclose(schedule.slope(INSIDE), slope, rtol=1e-9)
    sigma = -schedule.alpha(t).log()
    (rate,) = torch.autograd.grad(sigma.sum(), t)
    expected = (rate / sigma.expm1()).detach()
    assert torch.allclose(schedule.weight(INSIDE), expected, rtol=1e-6)


@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.3])
def test_the_log_linear_weight_is_one_over_t(eps):
    assert torch.allclose(LogLinear(eps).weight(INSIDE), 1 / INSIDE, rtol=1e-14)


def test_published_forms():
    t = INSIDE
    for schedule, sigma in [
        (LogLinear(1e-3), -torch.log1p(-(1 - 1e-3) * t)),
        (LinearSigma(0.2, 7.0), 0.2 + t * 6.8),
        (Geometric(1e-3, 20.0), 1e-3 ** (1 - t) * 20.0**t),
        (Cosine(1e-3), -(1e-3 + 0.999 * torch.cos(math.pi * t / 2)).log()),
        (CosineSquared(1e-3), -(1e-3 + 0.999 * torch.cos(math.pi * t / 2) ** 2).log()),
    ]:
        assert torch.allclose(-schedule.alpha(t).log(), sigma, rtol=1e-9)


@pytest.mark.parametrize("schedule", WHOLE, ids=str)
@pytest.mark.parametrize("n, k", [(1, 1), (4, 1), (4, 3), (9, 9)])
def test_whole_schedules_count_k_hidden_of_n_alike(schedule, n, k):
    """Integral of weight rate^k (1 - rate)^(n - k) dt = B(k, n - k + 1), whatever the schedule."""
    assert schedule.covers() == pytest.approx((0, 1), abs=1e-12)
    # t = u^4: a square root at 0 is then smooth
    u, w = torch.from_numpy((NODES + 1) / 2), torch.from_numpy(WEIGHTS / 2)
    t = u**4
    rate = schedule.rate(t)
    found = (w * 4 * u**3 * schedule.weight(t) * rate**k * (1 - rate) ** (n - k)).sum()
    exact = math.gamma(k) * math.gamma(n - k + 1) / math.gamma(n + 1)
    assert float(found) == pytest.approx(exact, rel=1e-6)


def test_what_others_cover():
    assert Clipped(0.3, 0.8).covers() == pytest.approx((0.3, 0.8))
    assert LogLinear(1e-3).covers() == pytest.approx((0, 0.999))
    assert LinearSigma(0.0, 10.0).covers() == pytest.approx((0, 1 - math.exp(-10)))


def test_rates_keep_their_digits_in_float32():
    t = torch.tensor([1e-5])
    for schedule in (Cosine(), LinearSigma(), Power(2.0), CosineSquared()):
        assert torch.allclose(schedule.rate(t).double(), schedule.rate(t.double()), rtol=1e-5)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Power(0.0), "power must be positive, got 0"),
        (lambda: Clipped(0.5, 0.5), "0 <= low < high <= 1, got 0.5 and 0.5"),
        (lambda: LinearSigma(3.0, 1.0), "rise from low >= 0, got 3.0 to 1.0"),
        (lambda: Geometric(0.0, 1.0), "rise from low > 0, got 0.0 to 1.0"),
        (lambda: named("cosin", SCHEDULES, "schedule"), "schedule must be .* mean 'cosine'"),
    ],
)
def test_impossible_schedules(make, message):
    with pytest.raises(ValueError, match=message):
        make()
