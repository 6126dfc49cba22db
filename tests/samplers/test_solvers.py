"""Samplers by name: what each name makes, what it costs, and what makes none."""

import pytest
import torch
from gaussian_targets import chain_law, gaussian, tiny_graph_denoiser

from scidiff.core import Renoisable, seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.processes.schedules import EDM, VE, VP, Linear, MeanReverting, SubVP
from scidiff.samplers.corrector import PredictorCorrector
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.solvers import SOLVERS, make_sampler

CANVAS = GraphCanvas(NodeCounts(torch.tensor([0.0, 1, 0, 1, 1])), 3)  # 1, 3 or 4 nodes


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def graphs(**options):
    return make_sampler(tiny_graph_denoiser(), CANVAS, **{"steps": 3, **options})


def run(sampler, n=5, seed=0):
    x = sampler.init(n, seeded(seed))
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, seeded(seed, k))
    return x


@pytest.mark.parametrize("denoise", [True, False])
@pytest.mark.parametrize("snr", [None, 0.2])
@pytest.mark.parametrize("solver", [name for name in SOLVERS if name not in ("2s", "heun")])
def test_evaluations_are_what_a_run_costs(solver, snr, denoise):
    sampler = graphs(solver=solver, snr=snr, denoise=denoise)
    assert isinstance(sampler, Renoisable)
    assert isinstance(sampler, GaussianSampler if snr is None else PredictorCorrector)
    assert run(sampler).X.isfinite().all()
    assert sampler.denoiser.rows == 5 * sampler.evaluations
    twice = snr is not None and solver != "s4"
    assert sampler.evaluations == 3 * (1 + twice) + denoise


@pytest.mark.parametrize("solver", ["2s", "heun"])
def test_two_evaluations_a_step_are_two_steps_of_the_protocol(solver):
    sampler = graphs(solver=solver)
    run(sampler)
    assert sampler.num_steps == 6 and sampler.evaluations == 7
    assert sampler.denoiser.rows == 5 * 7


def test_s4_goes_on_with_the_score_from_before_its_langevin_step():
    """x' = x + e s + noise, then the splitting with s, not with the score at x'."""
    sampler, k = graphs(solver="s4", snr=0.3, scale_eps=0.0), 1
    x = sampler.step(sampler.init(4, seeded(0)), 0, seeded(0))
    parts = tuple(sampler._langevin(c, p, x, k, seeded(5)) for c, p in enumerate(x.parts))
    guesses = sampler._carried(x, parts, k)[0]
    for c, (old, new) in enumerate(zip(x.parts, parts, strict=True)):
        level, sigma = sampler.sampler.levels(k, c)
        before = (level * x.guesses[0][c] - old) / sigma**2
        after = (level * guesses[c] - new) / sigma**2
        assert not torch.allclose(old, new) and torch.allclose(before, after, rtol=1e-4, atol=1e-3)


LAWS = [SubVP(0.1, 20.0), EDM(20.0), Linear(), MeanReverting(0.1, 20.0, 2.0), VP(), VE()]


@pytest.mark.parametrize("grid", ["time", "lambda", "edm"])
@pytest.mark.parametrize("schedule", LAWS, ids=str)
def test_every_schedule_and_grid_samples_its_target(schedule, grid):
    """The exact law of the chain by its own rows: mean 0.3 and standard deviation 0.5 to a per
    cent of the latter."""
    oracle = gaussian(schedule=schedule)
    sampler = make_sampler(oracle, oracle.canvas, solver="2s", steps=400, grid=grid)
    mean, variance = chain_law(oracle, sampler)
    assert mean == pytest.approx(0.3, abs=0.01) and variance**0.5 == pytest.approx(0.5, rel=0.02)


def test_defaults_follow_eta_and_the_corrector():
    assert graphs().history == 2 and graphs(eta=5.0).history == 1
    assert not graphs(eta=0.0).stochastic and not graphs(solver="ddim").stochastic
    corrected = graphs(snr=0.2)
    assert torch.equal(corrected.sampler.tables[0], graphs(solver="reverse").tables[0])
    assert torch.equal(graphs(snr=0.2, eta=5.0).sampler.tables[0], graphs(eta=5.0).tables[0])
    assert graphs(solver="s4", snr=0.2).stale and not corrected.stale


def test_aliases_stand_for_one_eta():
    for name, eta in (("ddim", 0.0), ("ancestral", 1.0)):
        a, b = graphs(solver=name), graphs(solver="exp1", eta=eta)
        assert all(torch.equal(p, q) for p, q in zip(a.tables, b.tables, strict=True))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"solver": "unipc"}, "unknown solver 'unipc'.*did you mean 'unipc"),
        ({"grid": "lambdas"}, "unknown grid 'lambdas'.*did you mean 'lambda'"),
        ({"solver": "heun", "snr": 0.2}, "snr corrects between the two evaluations.*'heun'"),
        ({"solver": "ancestral", "eta": 0.0}, "eta must be 1, got 0.0"),
        ({"solver": "exp1", "compat": True}, "reverse, euler, s4, got 'exp1'"),
        ({"solver": "exp1", "compat": True, "eta": 10.0}, "reverse, euler, s4, got 'exp1'"),
        ({"steps": 2.5}, "steps must be a whole number of at least 1, got 2.5"),
        ({"steps": 0, "compat": True}, "steps must be a whole number of at least 1, got 0"),
        ({"eta": float("nan")}, "must not be negative, got eta=nan"),
        ({"snr": float("nan")}, "snr must be positive"),
        ({"grid": [1.0, 0.5, 0.2, 0.0]}, "cannot reach t = 0.0.*no noise"),
        ({"compat": True, "eta": 2.0}, "compat takes the published SDE and grid.*eta=2.0"),
        ({"compat": True, "grid": "time"}, "compat takes the published SDE and grid.*grid=time"),
        ({"snr": -1.0}, "snr must be positive"),
    ],
)
def test_what_makes_no_sampler_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        graphs(**options)
