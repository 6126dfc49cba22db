"""The continuous engine against closed forms: weights, orders of convergence and sampled laws."""

import mpmath
import pytest
import torch
from gaussian_targets import Oracle, chain_law, gaussian

from scidiff.core import seeded
from scidiff.processes.schedules import VE, VP, alpha, lam
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.grids import edm_times, uniform_lambdas, uniform_times
from scidiff.samplers.published import published_scheme
from scidiff.samplers.schemes import make_scheme
from scidiff.samplers.splitting import splitting_table
from scidiff.samplers.tables import Scheme, midpoint_moments, moments
from scidiff.testing import GaussianMixture

SCHEDULES = {"VP": VP(0.1, 20.0), "VP slow": VP(0.1, 1.0), "VE": VE(0.2, 1.0)}


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


# ---------------------------------------------------------------- weights


def exact_moment(h, eta, power):
    """int_0^h (1 + eta) e^{-(1 + eta)(h - u)} u^power du to 30 digits."""
    with mpmath.workdps(30):
        c, h = mpmath.mpf(1) + mpmath.mpf(eta), mpmath.mpf(h)
        part = (1 - mpmath.exp(-c * h)) * (1 if power == 0 else 0)
        for _ in range(1 if power else 0):
            part = h**power - power / c * mpmath.mpf(exact_moment(h, eta, power - 1))
        return part


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, 35.0])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_weights_integrate_polynomials(eta, order):
    h = torch.logspace(-4, 0.69897, 12, dtype=torch.float64)
    back = torch.stack([-j * h * (1 + 0.3 * j) for j in range(order)], 1)
    if order == 4:
        back[:, 3] = h  # the node ahead of a corrector
    w = moments(h, back, eta)
    for power in range(order):
        got = (w * back**power).sum(1)
        want = f64([float(exact_moment(float(v), eta, power)) for v in h])
        scale = (w * back**power).abs().sum(1)
        assert ((got - want).abs() <= 1e-12 * scale + 1e-15 * h**power).all()


def test_the_midpoint_weights_are_exact_for_constants_only_and_in_the_middle():
    h, nodes = f64([0.3, 1.2]), f64([[0, -0.5], [0, 2.0]])
    w, p = midpoint_moments(h, nodes, 0.3), -torch.expm1(-1.3 * h)
    assert torch.allclose(w.sum(1), p) and torch.allclose((w * nodes).sum(1), p * h / 2)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_second_order_weights_have_the_published_closed_form(eta):
    """w_1 = -phi / h_1, w_0 = p_1 + phi / h_1, phi = (H - p_1) / (1 + eta)."""
    h, before = f64([0.3, 1.2]), f64([0.5, 0.1])
    H = (1 + eta) * h
    p, phi = -torch.expm1(-H), (H + torch.expm1(-H)) / (1 + eta)
    w = moments(h, torch.stack([0 * h, -before], 1), eta)
    assert torch.allclose(w, torch.stack([p + phi / before, -phi / before], 1), rtol=1e-12)


# ---------------------------------------------------------------- moments without Monte Carlo


def variance_error(scheme, schedule, t_end=1e-3, v=0.25):
    """Relative error of the variance at t_end of a chain that starts from the exact marginal at
    t = 1: it is affine, so (x, D before, D before that, ..) has an exact covariance recursion."""
    level, sigma = alpha(schedule, scheme.times), schedule.sigma(scheme.times)
    gain = (level * v / (level**2 * v + sigma**2)).tolist()  # D = gain x
    rows = scheme.tables[0].stacked().tolist()
    J = len(rows[0]) - 2
    past = f64([1] + [gain[0]] * (J - 1))
    C = float(level[0] ** 2 * v + sigma[0] ** 2) * past.outer(past)
    for (a, w0, *w, b), g in zip(rows, gain, strict=False):
        M = torch.zeros(J, J, dtype=torch.float64)
        M[0, 0], M[0, 1:] = a + w0 * g, f64(w)
        if J > 1:
            M[1, 0] = g
            M[2:, 1:-1] = torch.eye(J - 2)
        C = M @ C @ M.T
        C[0, 0] += b**2
    end = f64(t_end)
    target = alpha(schedule, end) ** 2 * v + schedule.sigma(end) ** 2
    return float(C[0, 0] / target - 1)


def in_time(schedule, steps):
    return uniform_times(steps, 1e-3)


def in_lambda(schedule, steps):
    return uniform_lambdas([schedule], steps, 1e-3)


def edm(schedule, steps):
    return edm_times([schedule], steps, 1e-3)


def rows(solver, eta, grid):
    """Schemes (schedule, steps) -> Scheme of a named solver."""
    return lambda schedule, steps: make_scheme(
        solver, [schedule], steps, eta, grid=grid(schedule, steps)
    )


def as_coded(schedule, steps):
    nodes = in_time(schedule, steps)
    return Scheme(nodes, (splitting_table(schedule, nodes, 1.0, "gdss"),))


CASES = {
    # scheme, wanted slope, relative variance error at N = 100 on the three schedules
    "euler": (rows("euler", 1.0, in_time), 1, (1.5e-2, 2.2e-3, -5.8e-4)),
    "reverse": (rows("reverse", 1.0, in_time), 1, (6.1e-2, 9.4e-3, 1.2e-2)),
    "reverse, lambda": (rows("reverse", 1.0, in_lambda), 1, (8.2e-2, 2.3e-2, 1.2e-2)),
    "ancestral": (rows("ancestral", 1.0, in_lambda), 1, (-9.0e-2, -4.0e-2, -1.3e-2)),
    "ddim": (rows("ddim", 1.0, in_lambda), 1, (-4.7e-2, -1.6e-2, -5.3e-3)),
    "2m": (rows("2m", 1.0, in_lambda), 2, (6.3e-3, 1.1e-3, 5.2e-5)),
    "2m, midpoint": (rows("2m_midpoint", 1.0, in_lambda), 2, (3.0e-3, 4.5e-4, -1.9e-5)),
    "2m, eta .3": (rows("2m", 0.3, in_lambda), 2, (3.0e-3, 3.7e-4, 1.1e-5)),
    "2m, ODE": (rows("2m", 0.0, in_lambda), 2, (1.9e-3, 1.6e-4, 3.4e-7)),
    "s4": (rows("s4", 1.0, in_time), 1, (-4.4e-2, -8.5e-3, -1.3e-2)),
    "s4, as coded": (as_coded, 1, (-6.1e-2, -1.0e-2, -1.3e-2)),
}


def slope(errors):
    return torch.log2(torch.tensor(errors[0] / errors[1])).item()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", SCHEDULES)
def test_variance_of_a_gaussian_converges_at_the_order_of_the_solver(name, case):
    make, wanted, at_100 = CASES[case]
    schedule = SCHEDULES[name]
    error = [variance_error(make(schedule, n), schedule) for n in (100, 800, 1600)]
    assert slope(error[1:]) == pytest.approx(wanted, abs=0.1)
    measured = at_100[list(SCHEDULES).index(name)]
    assert error[0] == pytest.approx(measured, rel=0.05)  # two digits known


ORDERS = [  # noise keeps the SDE forms of higher orders at weak order 2
    ("3m", 0.0, 3),
    ("3m", 1.0, 2),
    ("unipc1", 0.0, 2),
    ("unipc1", 1.0, 2),
    ("unipc2", 0.0, 3),
    ("unipc2", 1.0, 2),
    ("unipc3", 0.0, 3),  # its first step is of order 2; where that one is exact, order 4
    ("unipc3", 1.0, 2),
    *((solver, eta, 2) for solver in ("2s", "heun") for eta in (0.0, 1.0, 3.0)),
]


@pytest.mark.parametrize("solver, eta, order", ORDERS)
@pytest.mark.parametrize("grid", [in_lambda, edm])
@pytest.mark.parametrize("name", ["VP slow", "VE"])
def test_variance_of_the_other_solvers_converges_at_their_order(name, grid, solver, eta, order):
    make, schedule = rows(solver, eta, grid), SCHEDULES[name]
    error = [variance_error(make(schedule, n), schedule) for n in (400, 800)]
    assert slope(error) == pytest.approx(order, abs=0.12)


PUBLISHED = {
    # solver on its own grid: error at N = 100, slope over N = 800 -> 1600 (None: it changes sign)
    "s4": ((-6.4e-2, -9.4e-3, -1.1e-2), (0.91, 0.62, 0.53)),
    "euler": ((1.6e-2, 3.4e-3, 1.8e-3), (1.66, None, None)),
}


@pytest.mark.parametrize("solver", PUBLISHED)
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_published_grid_has_an_error_of_its_own(name, solver):
    """Nodes at distance (1 - eps) / (N - 1), steps of 1 / N."""
    schedule, which = SCHEDULES[name], list(SCHEDULES).index(name)
    schemes = (
        published_scheme(solver, [schedule], n, denoise=False, t_end=1e-3)
        for n in (100, 800, 1600)
    )
    error = [variance_error(scheme, schedule) for scheme in schemes]
    at_100, slopes = (column[which] for column in PUBLISHED[solver])
    assert error[0] == pytest.approx(at_100, rel=0.06)
    if slopes is None:
        assert error[0] > 0 > error[2]
    else:
        assert slope(error[1:]) == pytest.approx(slopes, abs=0.02)


# ---------------------------------------------------------------- the sampler itself


def run(sampler, n, seed, device="cpu"):
    rng = seeded(seed, device=device)
    x = sampler.init(n, rng)
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, rng)
    return x


@pytest.mark.parametrize(
    "solver, eta",
    [("exp1", 1.0), ("2m", 1.0), ("2m", 0.4), ("exp1", 0.0), ("unipc1", 1.0), ("2s", 1.0)]
    + [("heun", 1.0), ("s4", 1.0), ("exp1", 10.0)],
)
@pytest.mark.parametrize("schedule", [VP(0.1, 20.0), VE(0.01, 5.0)], ids=["VP", "VE"])
def test_samples_of_a_gaussian_have_the_law_of_the_chain(solver, eta, schedule, device):
    oracle, n, steps = gaussian(schedule=schedule, device=device), 20_000, 12
    options = dict(steps=steps, solver=solver, eta=eta, device=device)
    sampler = GaussianSampler(oracle, oracle.canvas, **options)
    x = run(sampler, n, 1, device)
    mean, variance = chain_law(oracle, sampler)
    got = x.parts[0].squeeze(1)
    assert got.device.type == device
    assert abs(got.mean() - mean) < 4 * (variance / n) ** 0.5
    assert abs(got.var() - variance) < 4 * variance * (2 / n) ** 0.5
    assert oracle.rows == n * sampler.evaluations


@pytest.mark.parametrize("solver, steps", [("2m", 200), ("unipc2", 100), ("heun", 100)])
def test_samples_of_coupled_components_have_the_moments_of_their_mixtures(solver, steps, device):
    targets = [
        GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.0, 0.0]], [[0.3], [0.5]]),
        GaussianMixture([0.5, 0.5], [[-2.0], [1.0]], [[0.4], [0.2]]),
    ]
    oracle, n = Oracle(targets, [VP(0.1, 20.0), VE(0.01, 50.0)], device), 20_000
    options = dict(steps=steps, solver=solver, device=device)
    x = run(GaussianSampler(oracle, oracle.canvas, **options), n, 2, device)
    for part, target in zip(x.to("cpu").parts, targets, strict=True):
        centred = part - target.mean()
        assert (centred.mean(0).abs() < 4 * (target.variance() / n).sqrt()).all()
        error = centred.square().std(0) / n**0.5
        assert ((centred.square().mean(0) - target.variance()).abs() < 4 * error).all()


def test_the_deterministic_sampler_is_ddim():
    """x_t = alpha_t D + sigma_t (x_s - alpha_s D) / sigma_s (Song et al. 2021, eq. 12)."""
    oracle = gaussian()
    schedule, target = oracle.components[0].schedule, oracle.targets[0]
    sampler = GaussianSampler(oracle, oracle.canvas, steps=5, solver="exp1", eta=0.0)
    assert not sampler.stochastic
    x = sampler.init(6, seeded(0))
    y, times = x.parts[0], sampler.times[:-1]
    for s, t in zip(times, times[1:], strict=False):
        (a, sd), (a_next, sd_next) = ((alpha(schedule, v), schedule.sigma(v)) for v in (s, t))
        guess = target.denoised(y, a, sd)
        y = a_next * guess + sd_next * (y - a * guess) / sd
    y = target.denoised(y, a_next, sd_next)
    assert torch.allclose(run(sampler, 6, 0).parts[0], y, rtol=1e-12)
    after = [sampler.step(x, 0, seeded(seed)).parts[0] for seed in (1, 2)]
    assert torch.equal(*after)


@pytest.mark.parametrize("eta, rho", [(0.5, 1.0), (2.0, 0.7)])
def test_churn_takes_a_particle_back_by_eta_steps(eta, rho):
    """sigma / alpha rises by e^{eta h} (Karras et al. 2022: gamma = e^{eta h} - 1), and what is
    added is that noise, times rho; no churn at either end."""
    schedule = VP(0.1, 20.0)
    nodes = uniform_lambdas([schedule], 6, 1e-2)
    scheme = make_scheme("heun", [schedule], 6, eta, rho, nodes)
    value, h = lam(schedule, nodes), lam(schedule, nodes).diff()
    back = lam(schedule, scheme.times[::2])
    want = (value[1:-1] - eta * h[1:]).clamp(min=value[0])
    assert torch.allclose(back[1:-1], want, rtol=1e-9) and torch.equal(
        back[[0, -1]], value[[0, -1]]
    )
    table, now = scheme.tables[0], scheme.times[2::2]
    kept = table.a[1::2] * schedule.sigma(nodes[1:])
    added = (schedule.sigma(now) ** 2 - kept**2).clamp(min=0).sqrt()
    assert torch.allclose(table.b[1::2], rho * added, atol=1e-9) and (table.b[::2] == 0).all()
    assert torch.allclose(table.a[1::2], alpha(schedule, now) / alpha(schedule, nodes[1:]))


def test_lambda_grids_have_equal_steps():
    schedule = VP(0.1, 20.0)
    steps = lam(schedule, uniform_lambdas([schedule], 7, 1e-3)).diff()
    assert torch.allclose(steps, steps.mean().expand(7), rtol=1e-9)
