"""Orders of convergence on two coupled components with a schedule each, against an adaptive
Runge-Kutta solution of the probability-flow ODE."""

from functools import cache

import numpy as np
import pytest
import torch
from gaussian_targets import Points

from scidiff.core import normal, seeded
from scidiff.processes.gaussian import Component
from scidiff.processes.schedules import VE, VP, alpha
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.grids import uniform_lambdas
from scidiff.samplers.schemes import SOLVERS

T_END, ROWS, WIDTHS = 1e-2, 64, (6, 3)
SCHEDULES = (VP(0.1, 20.0), VE(0.01, 5.0))


class CoupledOracle:
    """The exact clean guess of a mixture of three Gaussians on both components together, with
    covariances across them."""

    def __init__(self):
        rng, d = seeded(0), sum(WIDTHS)
        self.means = normal((3, d), rng).double()
        L = 0.35 * normal((3, d, d), rng).double()
        self.covariances = L @ L.mT + 0.05 * torch.eye(d, dtype=torch.float64)
        self.log_weights = normal((3,), rng).double().log_softmax(0)
        self.components = tuple(Component(s) for s in SCHEDULES)
        self.rows = 0

    def levels(self, t):
        """alpha and sigma of every coordinate (d,)."""
        pairs = ((alpha(s, t), s.sigma(t)) for s in SCHEDULES)
        both = [(a.expand(w), n.expand(w)) for (a, n), w in zip(pairs, WIDTHS, strict=True)]
        return tuple(torch.cat(v) for v in zip(*both, strict=True))

    def score(self, x, t):
        a, sigma = self.levels(t)
        spread = a[:, None] * self.covariances * a + torch.diag(sigma**2)
        away = a * self.means - x[:, None]
        pull = torch.einsum("mij,bmj->bmi", spread.inverse(), away)
        log_law = self.log_weights - (pull * away).sum(2) / 2 - spread.logdet() / 2
        return torch.einsum("bm,bmi->bi", log_law.softmax(1), pull)

    def __call__(self, state, t):
        self.rows += len(state)
        x = torch.cat(state.parts, 1)
        a, sigma = self.levels(t)
        return ((x + sigma**2 * self.score(x, t)) / a).split(WIDTHS, 1)


ORACLE = CoupledOracle()


def start():
    X, A = (normal((ROWS, w), seeded(1, w)).double() for w in WIDTHS)
    return Points((X, SCHEDULES[1].prior_std * A))


@cache
def solution():
    """x(T_END) of dx/dt = f x - g^2 score / 2 from `start`, to 1e-12."""
    integrate = pytest.importorskip("scipy.integrate")

    def slope(t, flat):
        t, x = torch.tensor(t, dtype=torch.float64), torch.from_numpy(flat).view(ROWS, -1)
        f, g2 = (
            torch.cat([v.expand(w) for v, w in zip(values, WIDTHS, strict=True)])
            for values in zip(*((s.drift(t), s.diffusion(t)) for s in SCHEDULES), strict=True)
        )
        return (f * x - g2 / 2 * ORACLE.score(x, t)).flatten().numpy()

    first = torch.cat(start().parts, 1).flatten().numpy()
    result = integrate.solve_ivp(slope, (1, T_END), first, "DOP853", rtol=1e-12, atol=1e-12)
    return torch.from_numpy(np.ascontiguousarray(result.y[:, -1])).view(ROWS, -1)


def median_error(solver, steps):
    """Median over trajectories: near the ridges of the mixture a few of them leave any order."""
    times = uniform_lambdas(SCHEDULES[:1], steps, T_END)
    options = dict(solver=solver, eta=0.0, times=times, denoise=False)
    sampler = GaussianSampler(ORACLE, lambda n, rng: start(), steps=steps, **options)
    x = sampler.arrive(start(), 0)
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, seeded(0))
    return float((torch.cat(x.parts, 1) - solution()).norm(dim=1).median())


SLOPES = {
    "euler": (1, 0.1),
    "exp1": (1, 0.1),
    "2m": (2, 0.15),
    "2m_midpoint": (2, 0.15),
    "2s": (2, 0.15),
    "heun": (2, 0.15),
    "3m": (3, 0.2),
    "unipc1": (2, 0.2),
    "unipc2": (3, 0.2),
    "unipc3": (4, 0.2),
}


@pytest.mark.parametrize("solver", SLOPES)
def test_errors_fall_at_the_order_of_the_solver(solver):
    wanted, within = SLOPES[solver]
    errors = np.array([median_error(solver, n) for n in (40, 80, 160)])
    assert np.log2(errors[:-1] / errors[1:]) == pytest.approx(wanted, abs=within)


def test_every_solver_is_measured_here_or_by_its_moments():
    assert {*SLOPES, "ddim", "ancestral", "reverse", "s4"} == set(SOLVERS)
