"""Solvers wrapped around the engine: each is the plain solver where it has nothing to add, and
does what its paper says where it has."""

import numpy as np
import pytest
import torch
from coupled_mixture import CoupledMixture
from gaussian_targets import Points, gaussian, tiny_graph_denoiser

from scidiff.core import Renoisable, Sampler, seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.processes.gaussian import Component
from scidiff.processes.schedules import VE, VP, alpha, lam
from scidiff.samplers.compensation import compensate, fit_ratios
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.grids import uniform_lambdas
from scidiff.samplers.mcmc_start import McmcStart
from scidiff.samplers.momentum import Momentum, heavy_ball_scheme
from scidiff.samplers.probability_flow import Flow
from scidiff.samplers.projection import Projection
from scidiff.samplers.rewritten import Rewritten
from scidiff.samplers.schemes import make_scheme
from scidiff.samplers.solver_search import mixed_order_scheme, search_table
from scidiff.samplers.statistics import (
    Residual,
    Statistics,
    measure_statistics,
    statistics_scheme,
)
from scidiff.samplers.tables import multistep_table
from scidiff.samplers.time_shift import TimeShift
from scidiff.testing import check_full_graph, check_sampler, same

MIXTURE, T_END = CoupledMixture(), 1e-2
SCHEDULES = [c.schedule for c in MIXTURE.components]
START = Points(
    tuple(
        sd * torch.randn(64, size, generator=seeded(1, size), dtype=torch.float64)
        for sd, size in zip((1.0, 5.0), MIXTURE.sizes, strict=True)
    )
)


def nodes(steps, schedules=SCHEDULES[:1]):
    return uniform_lambdas(schedules, steps, T_END)


def plain(scheme, denoiser=MIXTURE):
    return GaussianSampler(denoiser, MIXTURE.canvas, scheme=scheme, denoise=False)


def finish(sampler, start=START, seed=0):
    """Run a chain from given places, through the sampler's own beginning."""
    inner = getattr(sampler, "sampler", sampler)
    x = inner.arrive(start.moved(start.parts), 0)
    if isinstance(sampler, Rewritten):
        x = x.moved(x.parts, sampler.rule.begin(inner, x, 0))
    rng = seeded(seed)
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, rng)
    return x.parts


EXACT = Flow(MIXTURE, START).follow(START, torch.tensor([1.0, T_END]), tol=1e-10)[-1]


def error(sampler):
    gaps = [a - b for a, b in zip(finish(sampler), EXACT, strict=True)]
    return float(torch.cat(gaps, 1).norm(dim=1).median())


def slopes(make, steps=(20, 40, 80)):
    errors = np.array([error(make(n)) for n in steps])
    return np.log2(errors[:-1] / errors[1:])


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(finish(a), finish(b), strict=True))


# ---------------------------------------------------------------- momentum


def ghvb(order, damping, steps=12, eta=0.0):
    scheme = heavy_ball_scheme(order, SCHEDULES, nodes(steps), damping, eta)
    return Rewritten(plain(scheme), Momentum(damping))


@pytest.mark.parametrize("order, name", [(1, "exp1"), (2, "2m")])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_no_momentum_is_the_plain_row_bit_for_bit(order, name, eta):
    scheme = make_scheme(name, SCHEDULES, 12, eta, grid=nodes(12))
    assert equal(ghvb(order, 1.0, eta=eta), plain(scheme))


@pytest.mark.parametrize("damping", [0.5, 0.8])
def test_momentum_keeps_the_order_of_its_rows(damping):
    assert slopes(lambda n: ghvb(2, damping, n), (40, 80, 160)) == pytest.approx(2, abs=0.2)
    assert slopes(lambda n: ghvb(1, damping, n), (40, 80, 160)) == pytest.approx(1, abs=0.2)


# ---------------------------------------------------------------- time shift


def test_a_window_of_zero_is_the_plain_denoiser_bit_for_bit():
    scheme = make_scheme("2m", SCHEDULES, 12, 0.0, grid=nodes(12))
    assert equal(plain(scheme, TimeShift(MIXTURE, 0.0)), plain(scheme))


def test_a_particle_asks_at_the_time_whose_noise_it_has():
    schedule = VE(0.01, 5.0)
    oracle = type("Silent", (), {"components": (Component(schedule),), "rows": 0})()
    shift = TimeShift(oracle, 0.4, candidates=41)
    t = torch.tensor([0.4, 0.5, 0.65], dtype=torch.float64)
    noise = torch.randn(3, 20_000, generator=seeded(0), dtype=torch.float64)
    x = Points((schedule.sigma(t)[:, None] * noise,))
    asked = shift.shifted(x, torch.tensor(0.5, dtype=torch.float64))
    assert asked.tolist() == pytest.approx([0.4, 0.5, 0.65], abs=0.011)
    far = shift.shifted(x, torch.tensor(0.9, dtype=torch.float64))
    assert far.tolist() == pytest.approx([0.7, 0.7, 0.7])  # the edge of the window
    calm = TimeShift(oracle, 0.4, cutoff=0.6)
    assert calm.shifted(x, torch.tensor(0.5, dtype=torch.float64)).tolist() == [0.5] * 3
    alone = TimeShift(oracle, 0.4).shifted(Points((x.parts[0][:, :1],)), t)
    assert torch.equal(alone, t)  # one coordinate has no variance


# ---------------------------------------------------------------- compensation


def test_ratios_of_one_are_the_plain_rows():
    scheme = make_scheme("2m", SCHEDULES, 12, 0.0, grid=nodes(12))
    assert equal(plain(compensate(scheme, torch.ones(2, 12))), plain(scheme))


@pytest.mark.parametrize("name", ["exp1", "2m", "unipc2"])
def test_fitted_ratios_bring_other_trajectories_closer(name):
    scheme = make_scheme(name, SCHEDULES, 8, 0.0, grid=nodes(8))
    few = Points(tuple(torch.roll(part, 1, 1)[:16] for part in START.parts))
    ratios = fit_ratios(MIXTURE, few, scheme)
    assert ratios.shape == (2, 8) and (ratios[:, 0] == 1).all() and (ratios[:, 1:] != 1).all()
    assert error(plain(compensate(scheme, ratios))) < 0.95 * error(plain(scheme))


def test_a_fit_needs_the_flow_without_noise():
    with pytest.raises(ValueError, match="expected eta = 0"):
        fit_ratios(MIXTURE, START, make_scheme("2m", SCHEDULES, 4, 1.0))
    with pytest.raises(ValueError, match=r"ratios must be \(2, 4\).*got \(4,\)"):
        compensate(make_scheme("2m", SCHEDULES, 4, 0.0), torch.ones(4))


# ---------------------------------------------------------------- statistics


def from_statistics(order, statistics, steps, denoiser=MIXTURE, times=None):
    schedules = [c.schedule for c in denoiser.components]
    times = nodes(steps) if times is None else times
    scheme = statistics_scheme(order, statistics, schedules, times)
    return Rewritten(plain(scheme, denoiser), Residual(statistics, schedules, times))


@pytest.mark.parametrize("order, name", [(1, "exp1"), (2, "2m")])
def test_statistics_that_say_nothing_are_dpm_solver_plus_plus(order, name):
    scheme = make_scheme(name, SCHEDULES, 12, 0.0, grid=nodes(12))
    a, b = finish(from_statistics(order, Statistics.zero(2), 12)), finish(plain(scheme))
    assert all(torch.allclose(x, y, atol=1e-12, rtol=1e-12) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def measured():
    few = Points(tuple(torch.roll(part, 1, 1)[:16] for part in START.parts))
    return measure_statistics(MIXTURE, few, nodes(120), trace="exact")


@pytest.mark.parametrize("order", [1, 2])
def test_rows_with_statistics_keep_their_order(measured, order):
    assert slopes(lambda n: from_statistics(order, measured, n)) == pytest.approx(order, abs=0.25)


class Gain:
    """The exact clean guess of N(0, v)."""

    def __init__(self, schedule, v):
        self.components, self.v, self.rows = (Component(schedule),), v, 0

    def __call__(self, x, t):
        level, sigma = alpha(self.components[0].schedule, t), self.components[0].schedule.sigma(t)
        gain = level * self.v / (level**2 * self.v + sigma**2)
        return ((gain * x.parts[0].T).T,)


def test_with_its_statistics_a_gaussian_takes_one_exact_step():
    """dx~ / dlambda = -(1 - l) x~ with l = v / (v + e^-2 lambda): s~^2 + v scales x~."""
    v, schedule = 0.25, VP(0.1, 20.0)
    oracle, x = Gain(schedule, v), Points((torch.tensor([[0.4], [-1.3]]).double(),))
    statistics = measure_statistics(oracle, x, uniform_lambdas([schedule], 200, 1e-3))
    times = torch.tensor([1.0, 1e-3], dtype=torch.float64)
    value = lam(schedule, statistics.times)
    assert torch.allclose(statistics.linear[0], v / (v + (-2 * value).exp()), atol=1e-10)
    sampler = from_statistics(1, statistics, 1, oracle, times)
    level, sigma = alpha(schedule, times), schedule.sigma(times)
    sd = (level**2 * v + sigma**2).sqrt()
    (end,) = finish(sampler, x)
    assert torch.allclose(end, x.parts[0] * sd[1] / sd[0], rtol=1e-3)
    (ddim,) = finish(plain(make_scheme("exp1", [schedule], 1, 0.0, grid=times), oracle), x)
    assert not torch.allclose(ddim, end, rtol=0.2)


# ---------------------------------------------------------------- projection


class Straight:
    """A clean guess that is a straight line in lambda, wherever the particle is."""

    def __init__(self, schedule):
        self.components, self.rows = (Component(schedule),), 0

    def __call__(self, x, t):
        line = torch.tensor([0.3, -2.0, 0.7], dtype=torch.float64)
        return ((1 + lam(self.components[0].schedule, t) * line).expand_as(x.parts[0]),)


def test_on_straight_guesses_projection_is_2m():
    oracle = Straight(VP(0.1, 20.0))
    x = Points((torch.randn(4, 3, generator=seeded(0), dtype=torch.float64),))
    for name in ("time", "edm"):  # unequal steps
        scheme = make_scheme("2m", [VP(0.1, 20.0)], 9, 0.0, grid=name)
        (a,) = finish(plain(scheme, oracle), x)
        (b,) = finish(Rewritten(plain(scheme, oracle), Projection()), x)
        assert torch.allclose(a, b, rtol=1e-11)


def projected(steps):
    scheme = make_scheme("2m", SCHEDULES, steps, 0.0, grid=nodes(steps))
    return Rewritten(plain(scheme), Projection())


def test_projection_keeps_second_order():
    assert slopes(projected, (40, 80, 160)) == pytest.approx(2, abs=0.3)
    assert error(projected(20)) != error(
        plain(make_scheme("2m", SCHEDULES, 20, 0.0, grid=nodes(20)))
    )


def test_projection_needs_rows_of_two_guesses():
    sampler = Rewritten(plain(make_scheme("exp1", SCHEDULES, 4)), Projection())
    with pytest.raises(ValueError, match="rows of two guesses, such as those of 2m, got 1"):
        sampler.init(2, seeded(0))


# ---------------------------------------------------------------- Denoising MCMC


def mcmc_start(sweeps=400, steps=8, relax=0.05, **options):
    oracle = gaussian(mean=0.3, sd=0.5, schedule=VP(0.1, 20.0))
    sampler = GaussianSampler(PerRow(oracle), oracle.canvas, steps=steps, eta=1.0)
    schedule, times = oracle.components[0].schedule, sampler.times[:steps]
    mean, sd = alpha(schedule, times) * 0.3, level_sd(schedule, times)

    def law(x):
        return -((x.parts[0] - mean) ** 2) / (2 * sd**2) - sd.log()

    return McmcStart(sampler, law, sweeps=sweeps, relax=relax, **options), mean, sd


def level_sd(schedule, times):
    return (alpha(schedule, times) ** 2 * 0.25 + schedule.sigma(times) ** 2).sqrt()


class PerRow:
    """The oracle of one Gaussian at a time of its own for each row."""

    def __init__(self, oracle):
        self.components, self.rows = oracle.components, 0

    def __call__(self, x, t):
        schedule, part = self.components[0].schedule, x.parts[0]
        level, sigma = (v.reshape(-1, 1) for v in (alpha(schedule, t), schedule.sigma(t)))
        gain = level * 0.25 / (level**2 * 0.25 + sigma**2)
        return (0.3 + gain * (part - level * 0.3),)


def test_the_chain_on_place_and_level_keeps_both_marginals():
    n, (sampler, mean, sd) = 4000, mcmc_start()
    x = sampler.init(n, seeded(0))
    k = sampler.nodes(x)
    z = (x.parts[0][:, 0] - mean[k]) / sd[k]
    assert abs(z.mean()) < 4 / n**0.5 and abs(z.var() - 1) < 4 * (2 / n) ** 0.5
    counts = torch.bincount(k, minlength=8).double()
    assert ((counts - n / 8).abs() < 4 * (n / 8 * 7 / 8) ** 0.5).all()


def test_weights_choose_how_often_each_level_is_left():
    weights = torch.tensor([0.0, 0, 0, 0, 1, 3, 0, 0])
    sampler, *_ = mcmc_start(weights=weights)
    k = sampler.nodes(sampler.init(4000, seeded(1)))
    share = (k == 5).double().mean()
    assert ((k == 4) | (k == 5)).all() and abs(share - 0.75) < 4 * (0.75 * 0.25 / 4000) ** 0.5


def test_particles_go_on_from_their_own_level_and_rest_at_the_end():
    sampler, *_ = mcmc_start(steps=24)
    x = sampler.init(3000, seeded(2))
    arrived = None
    for j in range(sampler.num_steps):
        before, x = x, sampler.step(x, j, seeded(3, j))
        arrived = sampler.nodes(before) == sampler.num_steps
        assert torch.equal(x.parts[0][arrived], before.parts[0][arrived])
    assert arrived.sum() > 2500 and (sampler.nodes(x) == sampler.num_steps).all()
    got = x.parts[0][:, 0]
    assert abs(got.mean() - 0.3) < 4 * 0.5 / 3000**0.5
    assert abs(got.var() / 0.25 - 1) < 4 * (2 / 3000) ** 0.5 + 0.02  # 24 steps are not exact


# ---------------------------------------------------------------- search


@pytest.mark.parametrize("corrected, names", [(False, "exp1 2m"), (True, "unipc1 unipc2 unipc3")])
def test_one_order_throughout_is_the_named_table(corrected, names):
    for name in names.split():
        order = {"exp1": 1, "2m": 2}.get(name) or int(name[-1])
        orders = tuple(min(order, k + 1) for k in range(9))
        got = mixed_order_scheme(orders, SCHEDULES, nodes(9), 0.3, 0.9, corrected=corrected)
        want = make_scheme(name, SCHEDULES, 9, 0.3, 0.9, nodes(9))
        for a, b in zip(got.tables, want.tables, strict=True):
            assert torch.allclose(a.stacked(), b.stacked(), atol=1e-14, rtol=0)


def test_mixed_orders_take_each_row_from_its_own_table():
    scheme = mixed_order_scheme((1, 2, 1, 3), SCHEDULES, nodes(4))
    for table, schedule in zip(scheme.tables, SCHEDULES, strict=True):
        for k, p in enumerate((1, 2, 1, 3)):
            want = multistep_table(p, schedule, nodes(4), 0.0, 1.0).w[k]
            assert torch.equal(table.w[k, : len(want)], want)


@pytest.mark.parametrize("steps", [5, 8])
def test_the_search_beats_uniform_grids_on_chains_it_has_not_seen(steps):
    found = search_table(MIXTURE, MIXTURE.canvas, steps, seeded(5), n=48, t_end=T_END, rounds=2)
    uniform = min(
        error(plain(make_scheme(name, SCHEDULES, steps, 0.0, grid=nodes(steps, group))))
        for name in ("exp1", "2m", "unipc2", "unipc3")
        for group in (SCHEDULES[:1], SCHEDULES)
    )
    assert error(plain(found.scheme(SCHEDULES))) < 0.9 * uniform
    assert found.tried > 20 and len(found.orders) == steps and found.eta == 0


def test_a_score_may_choose_the_noise():
    def warm(x):  # likes chains that end far out
        return -float(x.parts[0].abs().mean())

    options = dict(n=16, rounds=0, score=warm, etas=(5.0,), rhos=(0.5, 1.0))
    found = search_table(MIXTURE, MIXTURE.canvas, 4, seeded(0), t_end=T_END, **options)
    again = search_table(MIXTURE, MIXTURE.canvas, 4, seeded(0), t_end=T_END, **options)
    assert found.error == again.error and found.rho == 1.0
    with pytest.raises(ValueError, match="give a score"):
        search_table(MIXTURE, MIXTURE.canvas, 4, seeded(0), etas=(1.0,))


# ---------------------------------------------------------------- the protocol, on graphs

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


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Momentum(0.0), r"damping must be in \(0, 1\], got 0.0"),
        (lambda: heavy_ball_scheme(3, SCHEDULES, nodes(3), 0.5), "order must be 1 or 2, got 3"),
        (lambda: TimeShift(MIXTURE, 2.0), r"expected a window in \[0, 1\]"),
        (lambda: mixed_order_scheme((1, 4), SCHEDULES, nodes(2)), r"of 1 to 3.*got \[1, 4\]"),
        (lambda: mcmc_start(sweeps=0), "expected sweeps >= 1"),
        (lambda: mcmc_start(weights=torch.ones(3)), r"weights must be \(8,\)"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
