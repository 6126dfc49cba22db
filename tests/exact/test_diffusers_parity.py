"""Our rows against an independent implementation: schedulers of diffusers on one VP tensor."""

import pytest
import torch
from gaussian_targets import Oracle

from scidiff.core import Tape, seeded
from scidiff.processes.schedules import VP, alpha
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.grids import uniform_times
from scidiff.testing import GaussianMixture

K = 20
SCHEDULE = VP(0.1, 5.0)
TIMES = uniform_times(K, 1e-2)


def betas():
    """Per-step betas whose products are alpha^2 at the nodes, clean to noisy."""
    level = alpha(SCHEDULE, TIMES.flip(0)) ** 2
    previous = torch.cat([torch.ones(1, dtype=level.dtype), level[:-1]])
    return (1 - level / previous).tolist()


def walk(scheduler, target, x, noises=None, **options):
    """Run a scheduler from node K down to node 0 on the exact noise prediction."""
    level, sigma = alpha(SCHEDULE, TIMES.flip(0)), SCHEDULE.sigma(TIMES.flip(0))
    for k, t in enumerate(range(K, 0, -1)):
        guess = target.denoised(x, level[t], sigma[t])
        eps = (x - level[t] * guess) / sigma[t]
        if noises is not None:
            options["variance_noise"] = noises[k].to(x)
        x = scheduler.step(eps, t, x, **options).prev_sample
    return x


def ours(solver, eta, rng):
    target = GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.0, 0.0]], [[0.3], [0.5]])
    oracle = Oracle([target], [SCHEDULE])
    options = dict(solver=solver, eta=eta, times=TIMES, denoise=False)
    sampler = GaussianSampler(oracle, oracle.canvas, steps=K, **options)
    x = start = sampler.init(16, rng)
    for k in range(K):
        x = sampler.step(x, k, rng)
    return target, start.parts[0], x.parts[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_first_order_rows_are_ddim_and_ancestral_sampling(eta):
    diffusers = pytest.importorskip("diffusers")
    options = dict(clip_sample=False, steps_offset=0, set_alpha_to_one=False)
    peer = diffusers.DDIMScheduler(K + 1, trained_betas=betas(), **options)
    peer.set_timesteps(K + 1)
    tape = Tape(seeded(0))
    target, start, x = ours("exp1", eta, tape)
    noises = [draw for _, draw in tape.draws[1:]] if eta else None
    got = walk(peer, target, start, noises, eta=eta)
    assert torch.allclose(got, x, atol=2e-5)


@pytest.mark.filterwarnings("ignore")
def test_second_order_rows_are_dpm_solver_2m():
    diffusers = pytest.importorskip("diffusers")
    peer = diffusers.DPMSolverMultistepScheduler(
        K + 1,
        trained_betas=betas(),
        solver_order=2,
        solver_type="heun",
        lower_order_final=False,
        final_sigmas_type="sigma_min",
    )
    peer.set_timesteps(K)
    assert peer.timesteps.tolist() == list(range(K, 0, -1))
    target, start, x = ours("2m", 0.0, seeded(0))
    assert torch.allclose(walk(peer, target, start), x, atol=2e-5)
