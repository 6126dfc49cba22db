"""Feynman-Kac correctors against closed forms of Gaussians, by z-score over populations: E[w],
E[w x] and E[w x^2] are those of prod_i q_i^b_i exp(r) at every eta, and without weights they are
not."""

import copy
import math

import pytest
import torch
from gaussian_targets import Oracle, Points, tiny_graph_denoiser

from scidiff.core import seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all, smc
from scidiff.processes.schedules import VE, VP, lam
from scidiff.samplers.active_interval import active_interval, log_moment, log_moment_ratio
from scidiff.samplers.feynman_kac import FeynmanKac, path_table, steady_eta
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.tables import multistep_table
from scidiff.samplers.tempered import Product, Tilted, anneal, unfamiliar
from scidiff.samplers.weighed import free_entries, summed
from scidiff.testing import GaussianMixture, check_full_graph, check_sampler

SCHEDULE = VP(0.1, 20.0)
P = 40  # populations


def normal(mean, sd):
    return Oracle([GaussianMixture([1.0], [[mean]], [[sd]])], [SCHEDULE])


def powers(factors):
    """log of the integral, mean and variance of prod N(m_i, s_i^2)^b_i, factors (m, s, b)."""
    precision = sum(b / s**2 for _, s, b in factors)
    mean = sum(b * m / s**2 for m, s, b in factors) / precision
    bend = sum(b * m**2 / s**2 for m, s, b in factors) - precision * mean**2
    scale = sum(b * math.log(2 * math.pi * s**2) for _, s, b in factors)
    return math.log(2 * math.pi / precision) / 2 - scale / 2 - bend / 2, mean, 1 / precision


def points_neutral(total, sampler):
    """What an isolated point weighs less than 1 by, in noise of the last node."""
    noise = 2 * math.pi * float(SCHEDULE.sigma(sampler.times[-1])) ** 2
    return ((total - 1) * math.log(noise) + math.log(total)) / 2


def z_scores(sampler, log_z, mean, variance, select=None, K=250, seed=0):
    """Of E[w], of E[w (x - mean)] and of E[w ((x - mean)^2 - variance)]."""
    g = guided_sample(sampler, None, P * K, seeded(seed), select=select or smc(0.5), populations=P)
    x, w = g.x.parts[0][:, 0].double() - mean, (g.log_w - log_z).exp()
    runs = [(w * f).view(P, K).mean(1) for f in (torch.ones_like(x), x, x**2 - variance)]
    return [
        float((r.mean() - truth) / (r.std() / P**0.5))
        for r, truth in zip(runs, (1.0, 0.0, 0.0), strict=True)
    ]


# ---------------------------------------------------------------- powers and products


@pytest.mark.parametrize("power, eta", [(0.5, None), (1.5, None), (2.0, None), (1.5, 5.0)])
def test_a_power_of_a_gaussian_is_exact(power, eta):
    oracle = normal(0.4, 0.6)
    sampler = FeynmanKac(anneal(oracle, power), oracle.canvas, steps=120, eta=eta, spread=0.6)
    assert sampler.active[1] == 1.0
    log_z, mean, variance = powers([(0.4, 0.6, power)])
    zs = z_scores(sampler, log_z + points_neutral(power, sampler), mean, variance)
    assert max(map(abs, zs)) < 4


def test_without_weights_a_power_is_not():
    oracle = normal(0.4, 0.6)
    sampler = FeynmanKac(anneal(oracle, 2.0), oracle.canvas, steps=80, eta=1.0, spread=0.6)
    _, _, variance = powers([(0.4, 0.6, 2.0)])
    x = sample(sampler, 20_000, seeded(0)).parts[0].double()
    assert abs(float(x.var()) - variance) > 4 * variance * (2 / 20_000) ** 0.5


FACTORS = {
    "product": [(0.5, 0.6, 1.0), (-0.3, 0.8, 1.0)],
    "weighted": [(0.5, 0.6, 1.2), (-0.3, 0.8, 0.5)],
    "classifier-free": [(0.5, 0.6, 2.0), (0.0, 0.9, -1.0)],
    "three": [(0.5, 0.6, 0.7), (-0.3, 0.8, 0.6), (0.0, 0.5, -0.3)],
}


@pytest.mark.parametrize("name", FACTORS)
def test_products_of_gaussians_are_exact(name):
    factors = FACTORS[name]
    oracles = [normal(m, s) for m, s, _ in factors]
    product = Product(oracles, [b for _, _, b in factors])
    sampler = FeynmanKac(product, oracles[0].canvas, steps=150, spread=0.7)
    log_z, mean, variance = powers(factors)
    zs = z_scores(sampler, log_z + points_neutral(product.total, sampler), mean, variance)
    assert max(map(abs, zs)) < 4


def test_weights_without_resampling_are_exact_too():
    (m, s, b), (m2, s2, b2) = FACTORS["classifier-free"]
    product = Product([normal(m, s), normal(m2, s2)], [b, b2])
    sampler = FeynmanKac(product, normal(0, 1).canvas, steps=200, eta=2.0)
    log_z, mean, variance = powers(FACTORS["classifier-free"])
    assert max(map(abs, z_scores(sampler, log_z, mean, variance, keep_all))) < 4


def test_products_inside_products_are_multiplied_out():
    a, b = normal(0.5, 0.6), normal(-0.3, 0.8)
    nested = Product([Product([a, b], [1.0, 2.0]), a], [0.5, 0.25])
    assert nested.exponents == (0.5, 1.0, 0.25) and nested.total == 1.75
    flat, x, t = Product([a, b], [0.75, 1.0]), Points((torch.randn(5, 1),)), torch.tensor(0.3)
    assert torch.allclose(nested(x, t)[0], flat(x, t)[0])
    assert torch.allclose(nested.bend(x, t).rate[0], flat.bend(x, t).rate[0], atol=1e-4)
    nested.bend(x, t)
    assert nested.rows == a.rows + b.rows


def test_as_a_plain_denoiser_a_path_says_its_score():
    a, b = normal(0.5, 0.6), normal(-0.3, 0.8)
    x, t = torch.linspace(-2, 2, 7).double()[:, None], torch.tensor(0.4, dtype=torch.float64)
    level, sigma = SCHEDULE.log_alpha(t).exp(), SCHEDULE.sigma(t)
    path = Tilted(Product([a, b], [2.0, 0.5]), lambda y: y.parts[0].sin().sum(1), 1.5)
    guess = path(Points((x,)), t)[0]
    told = [o.targets[0].score(x, level, sigma) for o in (a, b)]
    score = 2 * told[0] + 0.5 * told[1] + 1.5 * 0.6 * x.cos()
    assert torch.allclose((level * guess - x) / sigma**2, score, atol=1e-6)


def test_out_of_distribution_control_widens_the_law():
    assert unfamiliar(normal(0.0, 1.0), 0.04).total == 0.8
    with pytest.raises(ValueError, match="control"):
        unfamiliar(normal(0.0, 1.0), 1.0)


# ---------------------------------------------------------------- tilts (T9)

A = torch.tensor([[1.0, 0.5], [0.0, 1.5]], dtype=torch.float64)
Y = torch.tensor([1.0, -0.5], dtype=torch.float64)


def misfit(x):
    """-|A x - y|^2 / 2."""
    return -(x.parts[0].double() @ A.T - Y).square().sum(1) / 2


def posterior(sd):
    precision = torch.eye(2, dtype=torch.float64) / sd**2 + A.T @ A
    covariance = torch.linalg.inv(precision)
    return covariance @ A.T @ Y, covariance


@pytest.mark.parametrize("eta", [1.0, 3.0])
def test_a_gaussian_reward_gives_the_conjugate_posterior(eta):
    oracle = Oracle([GaussianMixture([1.0], [[0.0, 0.0]], [[0.7, 0.7]])], [SCHEDULE])
    sampler = FeynmanKac(Tilted(oracle, misfit), oracle.canvas, steps=120, eta=eta, spread=0.7)
    g = guided_sample(sampler, None, P * 500, seeded(1), select=smc(0.5), populations=P)
    mean, covariance = posterior(0.7)
    w, gap = g.log_w.exp()[:, None], g.x.parts[0].double() - mean
    for f in (gap, (gap[:, :, None] * gap[:, None] - covariance).flatten(1)):
        runs = (w * f).view(P, 500, -1).mean(1)
        assert (runs.mean(0).abs() < 4 * runs.std(0) / P**0.5).all()


def test_the_gradient_alone_is_biased():
    oracle = Oracle([GaussianMixture([1.0], [[0.0, 0.0]], [[0.7, 0.7]])], [SCHEDULE])
    chain = GaussianSampler(Tilted(oracle, misfit), oracle.canvas, steps=120)
    x = sample(chain, 20_000, seeded(1)).parts[0].double()
    mean, covariance = posterior(0.7)
    assert ((x.mean(0) - mean).abs() > 10 * (covariance.diagonal() / 20_000).sqrt()).any()


def test_tilts_stack_on_products():
    factors = [(0.5, 0.6, 1.0), (-0.3, 0.8, 0.5)]
    product = Product([normal(0.5, 0.6), normal(-0.3, 0.8)], [1.0, 0.5])

    def reward(x):
        return -(x.parts[0][:, 0].double() ** 2) / 2

    def other(x):
        return -((x.parts[0][:, 0].double() - 1) ** 2) / 2

    path = Tilted(Tilted(product, reward, 0.7), other, lambda t: 0.8 * (1 - t) ** 2)
    sampler = FeynmanKac(path, normal(0, 1).canvas, steps=200, spread=0.6)
    bent = [*factors, (0.0, 1.0, 0.7), (1.0, 1.0, 0.8)]
    log_z, mean, variance = powers(bent)
    log_z += 1.5 * math.log(2 * math.pi) / 2 + points_neutral(1.5, sampler)
    assert max(map(abs, z_scores(sampler, log_z, mean, variance))) < 4


def test_a_black_box_reward_goes_on_top():
    oracle = normal(0.4, 0.6)
    sampler = FeynmanKac(anneal(oracle, 1.5), oracle.canvas, steps=80, spread=0.6)
    g = guided_sample(
        sampler, lambda x: -(x.parts[0][:, 0].double() ** 2) / 2, P * 500, seeded(2),
        select=smc(0.5), populations=P,
    )  # fmt: skip
    _, mean, variance = powers([(0.4, 0.6, 1.5), (0.0, 1.0, 1.0)])
    w = g.log_w.exp() / g.log_w.exp().mean()
    runs = (w * (g.x.parts[0][:, 0] - mean)).view(P, -1).mean(1)
    assert abs(float(runs.mean() / (runs.std() / P**0.5))) < 4
    assert abs(float((w * (g.x.parts[0][:, 0] - mean) ** 2).mean()) / variance - 1) < 0.05


# ---------------------------------------------------------------- rows and intervals


def test_rows_without_a_spread_are_those_of_the_plain_solver():
    times = torch.linspace(1, 1e-3, 20, dtype=torch.float64)
    made, known = (
        path_table(SCHEDULE, times, 1.7, 1.0),
        multistep_table(1, SCHEDULE, times, 1.7, 1.0),
    )
    for name in ("a", "w", "b"):
        assert torch.allclose(getattr(made, name), getattr(known, name), atol=1e-12)


@pytest.mark.parametrize("total", [1.0, 2.5])
def test_rows_are_exact_for_gaussian_data_of_the_spread(total):
    """One long step has the law of two halves."""
    times = torch.tensor([0.5, 0.49, 0.48], dtype=torch.float64)
    value = lam(SCHEDULE, times)

    def law(nodes):
        table = path_table(SCHEDULE, times[nodes], 2.0, total, 0.7)
        level = SCHEDULE.log_alpha(times[nodes])[:-1].exp()
        share = 0.49 / (0.49 + (-2 * value[nodes][:-1]).exp()) / level
        slope, variance = torch.ones(()).double(), torch.zeros(()).double()
        for a, (w,), b, part in zip(table.a, table.w, table.b, share, strict=True):
            grown = a + w * part
            slope, variance = grown * slope, grown**2 * variance + b**2
        return torch.stack([slope, variance])

    assert torch.allclose(law([0, 2]), law([0, 1, 2]), rtol=1e-6)


def test_the_first_moment_is_the_closed_form():
    """E[w] of the moment rule is the integral of q^B, so the rule describes these chains."""
    times = torch.linspace(1, 1e-3, 4000, dtype=torch.float64)
    m = 1 / (1 + (2 * lam(SCHEDULE, times)).exp() * 0.36)
    found = log_moment(1.0, lam(SCHEDULE, times).numpy(), m.numpy(), 1.5, 2.0)[0]
    went = float(lam(SCHEDULE, times[-1]) - lam(SCHEDULE, times[0]))
    noise = 2 * math.pi * float(SCHEDULE.sigma(times[-1])) ** 2
    level = float(SCHEDULE.log_alpha(times[-1]).exp())
    spread = (0.36 + float(SCHEDULE.sigma(times[-1])) ** 2 / level**2) ** 0.5
    exact = powers([(0.0, level * spread, 1.5)])[0] + (0.5 * math.log(noise) + math.log(1.5)) / 2
    assert abs(found - 0.5 * went - exact) < 2e-3


@pytest.mark.parametrize("total", [1.25, 2.0, 3.0])
def test_the_least_eta_is_where_the_second_moment_stays_finite(total):
    schedule, times = VE(1e-3, 1e6), torch.linspace(1, 0, 2000, dtype=torch.float64)
    least = (3 + 2 * math.sqrt(2)) * (1 - 1 / total)
    assert steady_eta(total) == max(1.0, least)
    above = log_moment_ratio(schedule, times, total, least * 1.02, 1e-6)
    below = log_moment_ratio(schedule, times, total, least * 0.9, 1e-6)
    assert math.isfinite(above[0]) and below[0] == math.inf


def test_the_automatic_interval():
    times = torch.linspace(1, 1e-4, 51, dtype=torch.float64)

    def hi(total, eta):
        return active_interval([SCHEDULE], times, total, eta, [1.0])[1]

    assert hi(1.0, 1.0) == hi(0.5, 1.0) == hi(3.0, steady_eta(3.0)) == 1.0
    assert 0.1 < hi(3.0, 1.0) < hi(2.0, 1.0) < hi(1.5, 1.0) < 1.0
    two = active_interval([VP(0.1, 1.0), SCHEDULE], times, 3.0, 1.0, [1.0, 1.0])
    assert two[1] <= hi(3.0, 1.0) and two[1] in times


def test_outside_the_interval_nothing_is_weighed():
    oracle = normal(0.0, 1.0)
    sampler = FeynmanKac(anneal(oracle, 2.0), oracle.canvas, steps=10, active=(0.0, 0.5))
    x, rng = sampler.init(4, seeded(0)), seeded(1)
    for k in range(10):
        x = sampler.step(x, k, rng)
        inside = float(sampler.times[k]) <= 0.5
        assert bool((x.log_ratio != 0).all()) == inside


# ---------------------------------------------------------------- states


GRAPHS = GraphCanvas(NodeCounts(torch.tensor([0.0, 1, 0, 1, 1])), 3)


def test_free_entries_count_what_is_drawn():
    x = GRAPHS(6, seeded(0))
    entries, counts = free_entries(tiny_graph_denoiser().components, x)
    n = x.mask.sum(1)
    assert torch.equal(counts, torch.stack([3 * n, n * (n - 1) // 2], 1).double())
    assert torch.equal(entries.sum(1), counts.sum(1).long())
    A = torch.randn(6, 4, 4, generator=seeded(1)) * x.mask[:, None] * x.mask[:, :, None]
    A = A.triu(1) + A.triu(1).mT
    both = summed((x.X, A), entries)
    assert torch.allclose(both[:, 1], A.triu(1).sum((1, 2)).double()) and (both[:, 0] == 0).all()


@pytest.mark.parametrize("make", ["graphs", "points"])
def test_the_sampler_keeps_the_contract(make):
    if make == "graphs":
        one, two = tiny_graph_denoiser(), tiny_graph_denoiser(features=3)
        sampler = FeynmanKac(Product([one, two], [1.0, 0.5]), GRAPHS, steps=4, spread=(1.0, 0.5))
    else:
        oracle = normal(0.4, 0.6)
        sampler = FeynmanKac(anneal(oracle, 2.0), oracle.canvas, steps=4)
    with torch.no_grad():
        check_sampler(sampler)
        check_full_graph(sampler)


def test_rows_may_stand_at_different_steps():
    oracle = normal(0.4, 0.6)
    sampler = FeynmanKac(anneal(oracle, 2.0), oracle.canvas, steps=3)
    x = sampler.init(3, seeded(0))
    together = sampler.step(x, torch.tensor([2, 2, 2]), seeded(1))
    alone = sampler.step(x, 2, seeded(1))
    assert torch.allclose(together.parts[0], alone.parts[0])
    assert torch.allclose(together.log_ratio, alone.log_ratio)
    done = sampler.step(together, torch.tensor([3, 3, 3]), seeded(2))
    assert torch.allclose(done.parts[0], together.parts[0]) and (done.log_ratio == 0).all()


def test_a_state_is_read_like_the_one_inside():
    sampler = FeynmanKac(anneal(tiny_graph_denoiser(), 1.5), GRAPHS, steps=3)
    x = sample(sampler, 5, seeded(0))
    assert torch.equal(x.X, x.state.X) and torch.equal(x.mask, x.state.mask)
    assert (x.X[~x.mask] == 0).all() and x.log_ratio.isfinite().all()
    assert torch.equal(copy.deepcopy(x).A, x.A)
    with pytest.raises(AttributeError):
        _ = x.nothing_of_the_kind


def test_a_finished_state_can_be_noised_again():
    oracle = normal(0.4, 0.6)
    sampler = FeynmanKac(anneal(oracle, 2.0), oracle.canvas, steps=10)
    clean = sample(sampler, 20_000, seeded(0))
    again = sampler.renoise(clean, 5, seeded(1))
    level, sigma = SCHEDULE.log_alpha(sampler.times[5]).exp(), SCHEDULE.sigma(sampler.times[5])
    noise = again.parts[0] - level * clean.parts[0]
    assert abs(float(noise.var() / (sigma**2 / 2)) - 1) < 0.05


REFUSED = {
    "an exponent for each": lambda o: Product([o], [1.0, 2.0]),
    "positive sum": lambda o: Product([o, o], [1.0, -1.0]),
    "same components": lambda o: Product([o, tiny_graph_denoiser()], [1.0, 1.0]),
    "tilt goes outside": lambda o: Product([Tilted(o, misfit), o], [1.0, 1.0]),
    "eta must be positive": lambda o: FeynmanKac(o, o.canvas, steps=3, eta=0.0),
    "spread must be positive": lambda o: FeynmanKac(o, o.canvas, steps=3, spread=0.0),
    "active must be": lambda o: FeynmanKac(o, o.canvas, steps=3, active=(0.6, 0.2)),
    "0 where chains start": lambda o: FeynmanKac(
        Tilted(o, misfit, lambda t: 1 + 0 * t), o.canvas, steps=3
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_makes_no_sense_is_refused(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message](normal(0.0, 1.0))
