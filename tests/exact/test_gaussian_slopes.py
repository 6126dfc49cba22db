"""Orders of convergence on two coupled components with a schedule each, against an adaptive
Runge-Kutta solution of the probability-flow ODE."""

from functools import cache

import numpy as np
import pytest
import torch
from coupled_mixture import SCHEDULES, CoupledMixture
from gaussian_targets import Points

from scidiff.core import normal, seeded
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.grids import uniform_lambdas
from scidiff.samplers.schemes import SOLVERS

T_END, ROWS = 1e-2, 64
ORACLE = CoupledMixture()


def start():
    X, A = (normal((ROWS, w), seeded(1, w)).double() for w in ORACLE.sizes)
    return Points((X, SCHEDULES[1].prior_std * A))


@cache
def solution():
    """x(T_END) of dx/dt = f x - g^2 score / 2 from `start`, to 1e-12."""
    integrate = pytest.importorskip("scipy.integrate")

    def slope(t, flat):
        t, x = torch.tensor(t, dtype=torch.float64), torch.from_numpy(flat).view(ROWS, -1)
        f, g2 = (
            torch.cat([v.expand(w) for v, w in zip(values, ORACLE.sizes, strict=True)])
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
