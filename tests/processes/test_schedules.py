"""Schedules: the SDE follows from alpha and sigma, and lambda can be inverted."""

import pytest
import torch

from scidiff.processes.schedules import VE, VP, alpha, lam, time_of_lam, total_lam

SCHEDULES = [VP(0.1, 20.0), VP(0.1, 1.0), VE(0.01, 5.0), VE(0.2, 1.0)]
TIMES = torch.linspace(0.01, 1, 12)


def derivative(f, t):
    t = t.double().requires_grad_()
    return torch.autograd.grad(f(t).sum(), t)[0]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_drift_and_diffusion_follow_from_signal_and_noise(schedule):
    """f = d log alpha / dt, g^2 = -2 sigma^2 d lambda / dt."""
    if isinstance(schedule, VP):
        assert torch.allclose(schedule.drift(TIMES), derivative(schedule.log_alpha, TIMES))
    else:
        assert (schedule.drift(TIMES) == 0).all() and (alpha(schedule, TIMES) == 1).all()
    slope = derivative(lambda t: lam(schedule, t), TIMES)
    assert torch.allclose(schedule.diffusion(TIMES), -2 * schedule.sigma(TIMES) ** 2 * slope)


def test_published_coefficients():
    """GDSS's VP and VE (Jo et al. 2022): mean exp(-t^2 (b1 - b0) / 4 - t b0 / 2)."""
    t = TIMES.double()
    vp, ve = VP(0.1, 1.0), VE(0.2, 1.0)
    log_mean = -0.25 * t**2 * 0.9 - 0.5 * t * 0.1
    assert torch.allclose(alpha(vp, t), log_mean.exp())
    assert torch.allclose(vp.sigma(t), (1 - (2 * log_mean).exp()).sqrt())
    assert torch.allclose(ve.sigma(t), 0.2 * 5**t)
    assert vp.prior_std == 1 and ve.prior_std == 1


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_values_keep_float64_near_the_data(schedule):
    t = torch.tensor([1e-9], dtype=torch.float32)
    assert schedule.sigma(t).dtype == torch.float64 and schedule.sigma(t) > 0
    if isinstance(schedule, VP):
        assert torch.allclose(schedule.sigma(t), (schedule.beta_min * t.double()).sqrt())


@pytest.mark.parametrize("schedules", [SCHEDULES[:1], SCHEDULES[2:3], SCHEDULES[1:]], ids=len)
def test_lambda_is_inverted(schedules):
    t = TIMES.double()
    assert torch.allclose(time_of_lam(schedules, total_lam(schedules, t)), t, atol=1e-12)


@pytest.mark.parametrize(
    "make",
    [lambda: VP(2.0, 1.0), lambda: VP(0.0, 0.0), lambda: VE(0.0, 1.0), lambda: VE(1.0, 0.5)],
)
def test_impossible_ranges_are_refused(make):
    with pytest.raises(ValueError, match="needs 0 <"):
        make()
