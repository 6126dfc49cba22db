"""Schedules: the SDE follows from alpha and sigma, and lambda can be inverted."""

import pytest
import torch

from scidiff.processes.schedules import (
    EDM,
    VE,
    VP,
    Linear,
    MeanReverting,
    SubVP,
    alpha,
    lam,
    time_of_lam,
    total_lam,
)
from scidiff.processes.tabulated import Tabulated


def tabulated(schedule, nodes=40):
    """A schedule read off another one."""
    t = torch.linspace(0, 1, nodes, dtype=torch.float64)
    at = t.clamp(1e-3, 1 - 1e-3)
    at[0], at[-1] = 5e-4, 1 - 5e-4
    return Tabulated(t, alpha(schedule, at), schedule.sigma(at))


SCHEDULES = {
    "VP": VP(0.1, 20.0),
    "VP slow": VP(0.1, 1.0),
    "VE": VE(0.01, 5.0),
    "VE slow": VE(0.2, 1.0),
    "SubVP": SubVP(0.1, 20.0),
    "EDM": EDM(80.0),
    "Linear": Linear(),
    "MeanReverting": MeanReverting(0.1, 20.0, 0.3),
    "Tabulated": tabulated(VP(0.1, 20.0)),
    "Tabulated linear": tabulated(Linear(), 7),
}
TIMES = torch.linspace(0.01, 0.99, 13)
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=list(SCHEDULES))


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def derivative(f, t):
    t = t.double().requires_grad_()
    return torch.autograd.grad((f(t) + 0 * t).sum(), t)[0]


@each_schedule
def test_drift_and_diffusion_follow_from_signal_and_noise(schedule):
    """f = d log alpha / dt, g^2 = -2 sigma^2 d lambda / dt."""
    slope = derivative(schedule.log_alpha, TIMES)
    assert torch.allclose(schedule.drift(TIMES), slope, rtol=1e-9, atol=1e-12)
    slope = derivative(lambda t: lam(schedule, t), TIMES)
    want = -2 * schedule.sigma(TIMES) ** 2 * slope
    assert torch.allclose(schedule.diffusion(TIMES), want, rtol=1e-9)
    assert (schedule.diffusion(TIMES) > 0).all()


@each_schedule
def test_the_variance_grows_by_what_drift_and_diffusion_say(schedule):
    """d sigma^2 / dt = 2 f sigma^2 + g^2, by central differences."""
    t, h = TIMES.double(), 1e-5
    slope = (schedule.sigma(t + h) ** 2 - schedule.sigma(t - h) ** 2) / (2 * h)
    want = 2 * schedule.drift(t) * schedule.sigma(t) ** 2 + schedule.diffusion(t)
    assert torch.allclose(slope, want, rtol=1e-4, atol=1e-6)


@each_schedule
def test_the_prior_has_the_noise_level_at_the_end(schedule):
    """Of a slow VP too, once its signal is counted: alpha^2 + sigma^2 = 1."""
    end = torch.ones(1)
    signal = alpha(schedule, end) if schedule == VP(0.1, 1.0) else torch.zeros(1)
    total = float((signal**2 + schedule.sigma(end) ** 2).sqrt())
    assert schedule.prior_std == pytest.approx(total, rel=1e-4)


def test_published_coefficients():
    """GDSS's VP and VE (Jo et al. 2022): mean exp(-t^2 (b1 - b0) / 4 - t b0 / 2)."""
    t = TIMES.double()
    vp, ve = VP(0.1, 1.0), VE(0.2, 1.0)
    log_mean = -0.25 * t**2 * 0.9 - 0.5 * t * 0.1
    assert torch.allclose(alpha(vp, t), log_mean.exp())
    assert torch.allclose(vp.sigma(t), (1 - (2 * log_mean).exp()).sqrt())
    assert torch.allclose(ve.sigma(t), 0.2 * 5**t)
    assert vp.prior_std == 1 and ve.prior_std == 1


def test_published_coefficients_of_the_others():
    """Sub-VP's g^2 = beta (1 - e^{-2B}), EDM's sigma, the straight path, IR-SDE's variance."""
    t = TIMES.double()
    B = 0.1 * t + 19.9 * t**2 / 2
    rate = 0.1 + 19.9 * t
    assert torch.allclose(SubVP().sigma(t), 1 - (-B).exp())
    assert torch.allclose(SubVP().diffusion(t), rate * (1 - (-2 * B).exp()))
    assert torch.allclose(EDM().sigma(t), 80 * t) and (alpha(EDM(), t) == 1).all()
    assert torch.allclose(alpha(Linear(), t) + Linear().sigma(t), torch.ones_like(t))
    reverting = MeanReverting(0.1, 20.0, 0.3)
    assert torch.allclose(alpha(reverting, t), (-B / 2).exp())
    assert torch.allclose(reverting.sigma(t) ** 2, 0.09 * (1 - (-B).exp()))


@each_schedule
def test_values_keep_float64_near_the_data(schedule):
    t = torch.tensor([1e-9], dtype=torch.float32)
    assert schedule.sigma(t).dtype == torch.float64 and schedule.sigma(t) > 0
    if isinstance(schedule, VP):
        assert torch.allclose(schedule.sigma(t), (schedule.beta_min * t.double()).sqrt())


def test_a_table_goes_through_its_nodes_and_is_monotone_between():
    t = torch.tensor([0, 0.2, 0.25, 0.9, 1], dtype=torch.float64)
    level, noise = f64([1, 0.9, 0.2, 0.19, 0.01]), f64([0.01, 0.3, 0.5, 0.51, 1])
    schedule = Tabulated(t, level, noise)
    assert torch.allclose(alpha(schedule, t), level) and torch.allclose(schedule.sigma(t), noise)
    dense = lam(schedule, torch.linspace(0, 1, 1001))
    assert (dense.diff() < 0).all()
    assert (alpha(schedule, torch.linspace(0, 1, 1001)).diff() <= 0).all()


def test_a_fine_table_is_the_schedule_it_was_read_off():
    t = torch.linspace(0, 1, 400, dtype=torch.float64).clamp(1e-6)
    nodes = torch.linspace(0, 1, 400, dtype=torch.float64)
    exact, schedule = VE(0.01, 5.0), Tabulated(nodes, torch.ones(400), VE(0.01, 5.0).sigma(nodes))
    between = (t[1:] + t[:-1]) / 2
    assert torch.allclose(schedule.sigma(between), exact.sigma(between), rtol=1e-9)
    assert torch.allclose(schedule.diffusion(between), exact.diffusion(between), rtol=1e-9)


@pytest.mark.parametrize(
    "t, level, noise, message",
    [
        ([0, 1], [1], [0.1, 1], "equally many numbers"),
        ([0, 0.9], [1, 0.5], [0.1, 1], "t must increase from 0 to 1"),
        ([0, 1, 1], [1, 0.5, 0.4], [0.1, 1, 2], "t must increase from 0 to 1"),
        ([0, 1], [1, 0.5], [0.0, 1], "sigma must be positive"),
        ([0, 1], [1, 0.0], [0.1, 1], "alpha must be positive"),
        ([0, 0.5, 1], [1, 1, 1], [0.1, 0.5, 0.4], "alpha / sigma must decrease"),
    ],
)
def test_impossible_tables_are_refused(t, level, noise, message):
    with pytest.raises(ValueError, match=message):
        Tabulated(t, level, noise)


@pytest.mark.parametrize("names", [["VP"], ["VE"], ["Tabulated"], list(SCHEDULES)], ids=len)
def test_lambda_is_inverted(names):
    schedules = [SCHEDULES[name] for name in names]
    t = TIMES.double()
    assert torch.allclose(time_of_lam(schedules, total_lam(schedules, t)), t, atol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VP(2.0, 1.0),
        lambda: VP(0.0, 0.0),
        lambda: VE(0.0, 1.0),
        lambda: VE(1.0, 0.5),
        lambda: SubVP(2.0, 1.0),
        lambda: EDM(0.0),
        lambda: MeanReverting(0.1, 1.0, 0.0),
    ],
)
def test_impossible_ranges_are_refused(make):
    with pytest.raises(ValueError, match="needs 0 <"):
        make()
