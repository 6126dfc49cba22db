"""Likelihoods by the probability-flow ODE against exact densities."""

import pytest
import torch
from coupled_mixture import CoupledMixture
from gaussian_targets import Points, tiny_graph_denoiser
from torch.distributions import Normal

from scidiff.core import seeded
from scidiff.data.graphs import GraphState
from scidiff.processes.gaussian import Component, centred, symmetric
from scidiff.processes.schedules import EDM, VE, VP, Linear, SubVP, alpha
from scidiff.samplers.likelihood import log_likelihood, to_prior
from scidiff.samplers.probability_flow import Flow
from scidiff.samplers.runge_kutta import StiffError, integrate

MIXTURE, T_END = CoupledMixture(), 1e-2
POINTS = MIXTURE.sample(8, T_END, torch.Generator().manual_seed(2))


class Shrink:
    """The exact clean guess of N(0, v) on the free coordinates of every component."""

    def __init__(self, components, v=0.25):
        self.components, self.v, self.rows = components, v, 0

    def __call__(self, x, t):
        levels = ((alpha(c.schedule, t), c.schedule.sigma(t)) for c in self.components)
        gains = (a * self.v / (a**2 * self.v + s**2) for a, s in levels)
        return tuple(
            gain.to(part).reshape(-1, *[1] * (part.ndim - 1)) * part
            for gain, part in zip(gains, x.parts, strict=True)
        )


def from_exact_prior(**options):
    """log p_end by the flow, with the exact density of its end at t = 1."""
    end, gain, error = to_prior(MIXTURE, POINTS, t_end=T_END, **options)
    return MIXTURE.log_prob(end, 1.0) + gain, error


@pytest.mark.parametrize("tol, within", [(1e-5, 1e-3), (1e-8, 1e-6)])
def test_coupled_components_have_the_density_of_their_mixture(tol, within):
    value, error = from_exact_prior(tol=tol, trace="exact")
    assert (value - MIXTURE.log_prob(POINTS.parts, T_END)).abs().max() < within
    assert (error == 0).all()


def test_random_probes_agree_with_the_exact_trace_within_their_own_error():
    exact, _ = from_exact_prior(trace="exact", tol=1e-4)
    value, error = from_exact_prior(trace="hutchinson", probes=256, rng=seeded(0), tol=1e-4)
    assert (error > 0.01).all()  # there is something to be unsure about
    assert ((value - exact).abs() < 4 * error).all()


def test_a_row_does_not_depend_on_its_batch():
    together, _ = from_exact_prior()
    end, gain, _ = to_prior(MIXTURE, POINTS[torch.tensor([5])], t_end=T_END)
    assert torch.allclose(MIXTURE.log_prob(end, 1.0) + gain, together[5], atol=1e-11)


# ---------------------------------------------------------------- priors


@pytest.mark.parametrize("schedule", [VP(0.1, 20.0), VP(0.1, 1.0), VE(0.2, 1.0)])
def test_the_prior_that_knows_the_data_is_exact_for_a_centred_gaussian(schedule):
    """And the one that does not is off by log N(x_T; 0, prior_std^2) - log N(x_T; 0, v_T)."""
    v, t = 0.25, torch.tensor([1e-3, 1.0], dtype=torch.float64)
    oracle = Shrink((Component(schedule),), v)
    x = Points((torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None],))
    sds = (alpha(schedule, t) ** 2 * v + schedule.sigma(t) ** 2).sqrt()
    want = Normal(0, sds[0]).log_prob(x.parts[0][:, 0])
    value, _ = log_likelihood(oracle, x, tol=1e-9, t_end=1e-3, prior_variance=[v])
    assert torch.allclose(value, want, atol=1e-7)
    plain, _ = log_likelihood(oracle, x, tol=1e-9, t_end=1e-3)
    end = to_prior(oracle, x, tol=1e-9, t_end=1e-3)[0][0][:, 0]
    bias = Normal(0, schedule.prior_std).log_prob(end) - Normal(0, sds[1]).log_prob(end)
    assert torch.allclose(plain - want, bias, atol=1e-7) and bias.abs().max() > 1e-6


def test_a_schedule_without_signal_at_one_starts_just_below():
    """The straight path of flow matching; the others end at 1."""
    v, x = 0.25, Points((torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None],))
    for schedule in (Linear(), EDM(5.0), SubVP(0.1, 20.0)):
        t = torch.tensor(1e-3, dtype=torch.float64)
        sd = (alpha(schedule, t) ** 2 * v + schedule.sigma(t) ** 2).sqrt()
        value, _ = log_likelihood(
            Shrink((Component(schedule),), v), x, tol=1e-9, t_end=1e-3, prior_variance=[v]
        )
        assert torch.allclose(value, Normal(0, sd).log_prob(x.parts[0][:, 0]), atol=1e-7)


def test_data_in_the_variance_of_the_prior_brings_the_mixture_closer():
    flat = MIXTURE.log_weights.exp()
    mean = flat @ MIXTURE.means
    second = MIXTURE.covariances.diagonal(dim1=-2, dim2=-1) + MIXTURE.means**2
    variance = (flat @ second - mean**2).split(MIXTURE.sizes)
    want = MIXTURE.log_prob(POINTS.parts, T_END)
    plain, _ = log_likelihood(MIXTURE, POINTS, t_end=T_END)
    better, _ = log_likelihood(MIXTURE, POINTS, t_end=T_END, prior_variance=variance)
    assert (better - want).abs().mean() < (plain - want).abs().mean() < 0.3


# ---------------------------------------------------------------- free coordinates


def normal_graphs(N, counts, seed=0):
    rng = torch.Generator().manual_seed(seed)
    X, A = torch.zeros(len(counts), N, 2), torch.zeros(len(counts), N, N)
    for i, n in enumerate(counts):
        X[i, :n] = torch.randn(n, 2, generator=rng)
        upper = torch.randn(n, n, generator=rng).triu(1)
        A[i, :n, :n] = upper + upper.T
    mask = torch.arange(N) < torch.tensor(counts)[:, None]
    return GraphState(X.double(), A.double(), mask)


def test_a_graph_has_the_density_of_its_free_coordinates():
    """n features a node and n (n - 1) / 2 edges, each N(0, v) noised to t_end."""
    x, v, t = normal_graphs(5, [1, 3, 5]), 0.25, torch.tensor(1e-3).double()
    components = (Component(VP(0.1, 1.0)), Component(VE(0.2, 1.0), symmetric))
    value, _ = log_likelihood(
        Shrink(components), x, tol=1e-9, t_end=1e-3, trace="exact", prior_variance=[v, v]
    )
    want = torch.zeros(3, dtype=torch.float64)
    for i, n in enumerate([1, 3, 5]):
        pairs = torch.triu_indices(n, n, 1)
        free = (x.X[i, :n].flatten(), x.A[i][pairs[0], pairs[1]])
        for c, values in zip(components, free, strict=True):
            sd = float(alpha(c.schedule, t) ** 2 * v + c.schedule.sigma(t) ** 2) ** 0.5
            want[i] += Normal(0, sd).log_prob(values).sum()
    assert torch.allclose(value, want, atol=1e-7)


def test_centred_points_lose_the_dimensions_of_their_mean():
    rng, v, schedule = torch.Generator().manual_seed(0), 0.25, VP(0.1, 1.0)
    x = torch.randn(4, 5, 3, generator=rng, dtype=torch.float64)
    x = x - x.mean(1, keepdim=True)
    oracle, t = Shrink((Component(schedule, centred),)), torch.tensor(1e-3).double()
    value, _ = log_likelihood(oracle, Points((x,)), tol=1e-9, t_end=1e-3, prior_variance=[v])
    variance = alpha(schedule, t) ** 2 * v + schedule.sigma(t) ** 2
    want = -(x.square().sum((1, 2)) / variance + 12 * (2 * torch.pi * variance).log()) / 2
    assert torch.allclose(value, want, atol=1e-7)


def double_denoiser():
    return tiny_graph_denoiser(features=2).double()


def test_padding_changes_no_likelihood():
    tight, wide = normal_graphs(4, [2, 4]), normal_graphs(7, [2, 4])
    options = dict(t_end=0.05, trace="exact")
    a, _ = log_likelihood(double_denoiser(), tight, **options)
    b, _ = log_likelihood(double_denoiser(), wide, **options)
    assert torch.allclose(a, b, atol=1e-10, rtol=0) and a.isfinite().all()


def test_a_permuted_graph_is_as_likely():
    x, order = normal_graphs(4, [4, 4]), torch.tensor([2, 0, 3, 1])
    y = GraphState(x.X[:, order], x.A[:, order][:, :, order], x.mask)
    a, b = (log_likelihood(double_denoiser(), g, t_end=0.05)[0] for g in (x, y))
    assert torch.allclose(a, b, atol=1e-9, rtol=0)


def test_probes_on_graphs_use_each_edge_once():
    x = normal_graphs(4, [3, 4])
    exact, _ = log_likelihood(double_denoiser(), x, t_end=0.05, trace="exact")
    value, error = log_likelihood(
        double_denoiser(), x, seeded(1), t_end=0.05, trace="hutchinson", probes=64
    )
    assert ((value - exact).abs() < 4 * error).all() and (error < 0.1).all()


# ---------------------------------------------------------------- the integrator and its edges


def test_the_integrator_meets_its_tolerance_and_leaves_rows_alone():
    rates = torch.tensor([[1.0], [30.0]], dtype=torch.float64)
    start = torch.ones(2, 1, dtype=torch.float64)
    y = integrate(lambda s, y: -rates * y, start, 0.0, 1.0, tol=1e-9)
    assert torch.allclose(y, (-rates).exp(), atol=1e-8)
    slow = integrate(lambda s, y: -rates[:1] * y, start[:1], 0.0, 1.0, tol=1e-9)
    assert torch.allclose(slow, y[:1], rtol=1e-14)
    back = integrate(lambda s, y: -rates[:1] * y, slow, 1.0, 0.0, tol=1e-9)
    assert torch.allclose(back, start[:1], atol=1e-7)


def test_the_cost_of_the_integrator_is_that_of_order_5():
    """A local error h^5 of the embedded order 4 held at tol takes tol^(-1/5) steps."""
    calls = []

    def spin(s, y):
        calls.append(s)
        return torch.stack([-y[:, 1], y[:, 0]], 1)

    def cost(tol):
        calls.clear()
        start = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        end = integrate(spin, start, 0.0, 20.0, tol=tol)
        assert (end - torch.tensor([20.0]).double().cos()).abs()[0, 0] < 50 * tol
        return len(calls)

    assert cost(1e-11) / cost(1e-6) == pytest.approx(10, rel=0.1)


def test_a_velocity_without_an_end_is_an_error():
    start = torch.ones(1, 1, dtype=torch.float64)
    with pytest.raises(StiffError, match="did not get from 0 to 2 in 200 steps"):
        integrate(lambda s, y: y**2, start, 0.0, 2.0, tol=1e-6, max_steps=200)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(trace="hutchinson"), "draws its probes: got no rng"),
        (dict(trace="hutch"), "trace must be 'exact' or 'hutchinson', got 'hutch'"),
        (dict(t_end=0.0), "times must be 0 < t_end < t_start <= 1, got 0.0"),
        (dict(trace="hutchinson", rng=seeded(0), probes=1), "probes must be at least 2"),
        (dict(tol=0.0), "tol must be positive"),
        (dict(prior_variance=[1.0]), "Var.x0. of 2 components, got 1"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        log_likelihood(double_denoiser(), normal_graphs(3, [3]), **{"t_end": 0.5, **change})


def test_rows_outside_the_free_coordinates_are_refused():
    x = normal_graphs(3, [2, 3])
    loop = GraphState(x.X, x.A + torch.eye(3).double(), x.mask)
    with pytest.raises(ValueError, match="component 1 of x0 must lie in its free coordinates"):
        log_likelihood(double_denoiser(), loop)
    missing = GraphState(x.X * torch.nan, x.A, x.mask)
    with pytest.raises(ValueError, match="component 0 of x0 must be finite"):
        log_likelihood(double_denoiser(), missing)


def test_the_flow_visits_its_nodes():
    start = MIXTURE.sample(4, 1.0, torch.Generator().manual_seed(3))
    flow, times = Flow(MIXTURE, start), torch.tensor([1.0, 0.5, 0.1, 0.01])
    path = flow.follow(start, times, tol=1e-10)
    back = Flow(MIXTURE, start).follow(Points(path[-1]), times.flip(0), tol=1e-10)
    assert len(path) == 4
    for there, here in zip(path, back[::-1], strict=True):
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(there, here, strict=True))
