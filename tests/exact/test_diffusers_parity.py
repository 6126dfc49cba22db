"""Our rows against an independent implementation, the update rules of diffusers on one tensor in
float64. Noise levels and clean guesses are given to it; what it does with them is its own."""

import pytest
import torch
from gaussian_targets import Oracle

from scidiff.core import Tape, seeded
from scidiff.processes.schedules import VE, VP, alpha
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.grids import uniform_times
from scidiff.samplers.tables import Scheme, multistep_table
from scidiff.samplers.two_row import single_step_scheme
from scidiff.testing import GaussianMixture

K = 20
SCHEDULE = VP(0.1, 5.0)
TIMES = uniform_times(K, 1e-2)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def diffusers():
    return pytest.importorskip("diffusers")


def close(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-10)


def oracle(schedule=SCHEDULE):
    target = GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.0, 0.0]], [[0.3], [0.5]])
    return Oracle([target], [schedule])


def ours(rng, schedule=SCHEDULE, **options):
    """Places x_0 .. x_K of our chain, and the standard normals it drew."""
    net = oracle(schedule)
    if "scheme" not in options:
        options.update(steps=K, times=TIMES)
    sampler = GaussianSampler(net, net.canvas, denoise=False, **options)
    tape = Tape(rng)
    x = sampler.init(16, tape)
    places = [x.parts[0]]
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, tape)
        places.append(x.parts[0])
    return places, [draw.double() for _, draw in tape.draws[1:]]


def guess(x, k, schedule=SCHEDULE, times=TIMES):
    level, sigma = alpha(schedule, times[k]), schedule.sigma(times[k])
    return oracle(schedule).targets[0].denoised(x, level, sigma)


def ratios(schedule=SCHEDULE, times=TIMES):
    """sigma / alpha at the nodes, with the 0 that diffusers puts after them."""
    return torch.cat([schedule.sigma(times) / alpha(schedule, times), torch.zeros(1).double()])


def with_levels(peer, steps=K):
    """A scheduler of diffusers at our noise levels, in float64."""
    peer.set_timesteps(steps)
    peer.sigmas = ratios()
    return peer


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_first_order_rows_are_ddim_and_ancestral_sampling(diffusers, eta):
    peer = diffusers.DDIMScheduler(K + 1, clip_sample=False, prediction_type="sample")
    peer.set_timesteps(K + 1)
    peer.alphas_cumprod = alpha(SCHEDULE, TIMES.flip(0)) ** 2
    places, noises = ours(seeded(0), solver="ddim" if eta == 0 else "ancestral")
    x = places[0]
    for k in range(K):
        noise = noises[k] if eta else None
        x = peer.step(guess(x, k), K - k, x, eta=eta, variance_noise=noise).prev_sample
    assert close(x, places[-1])


@pytest.mark.parametrize("kind", ["dpmsolver++", "sde-dpmsolver++"])
@pytest.mark.parametrize("solver, phi", [("2m", "heun"), ("2m_midpoint", "midpoint")])
def test_second_order_rows_are_dpm_solver_2m_and_its_sde(diffusers, kind, solver, phi):
    peer = with_levels(diffusers.DPMSolverMultistepScheduler(algorithm_type=kind, solver_type=phi))
    places, noises = ours(seeded(0), solver=solver, eta=float(kind.startswith("sde")))
    x, seen = places[0], []
    for k in range(K):
        peer._step_index = k
        seen.append(guess(x, k))
        options = dict(sample=x, noise=noises[k] if noises else None)
        if k == 0:
            x = peer.dpm_solver_first_order_update(seen[-1], **options)
        else:
            x = peer.multistep_dpm_solver_second_order_update(seen, **options)
        assert close(x, places[k + 1])


@pytest.mark.parametrize("order", [1, 2, 3])
def test_corrected_rows_are_unipc(diffusers, order):
    """Its B_2 takes the value in the middle for a line through two guesses."""
    peer = with_levels(
        diffusers.UniPCMultistepScheduler(
            solver_order=order, prediction_type="sample", lower_order_final=False
        )
    )
    options = dict(corrected=K, midpoint=True)
    table = multistep_table(order, SCHEDULE, TIMES, 0.0, 1.0, **options)
    places, _ = ours(seeded(0), scheme=Scheme(TIMES, (table,)))
    x = places[0]
    for k in range(K):
        x = peer.step(guess(x, k), peer.timesteps[k], x).prev_sample
        assert close(x, places[k + 1])


def test_single_steps_are_dpm_solver_2s(diffusers):
    peer = with_levels(diffusers.DPMSolverSinglestepScheduler(solver_order=2))
    scheme = single_step_scheme([SCHEDULE], TIMES, 0.0, 1.0)
    times = scheme.times
    peer.sigmas = ratios(times=times)
    places, _ = ours(seeded(0), scheme=scheme)
    x = places[0]
    for k in range(0, 2 * K, 2):
        peer._step_index, first = k, guess(x, k, times=times)
        y = peer.dpm_solver_first_order_update(first, sample=x)
        assert close(y, places[k + 1])
        peer._step_index, second = k + 1, guess(y, k + 1, times=times)
        x = peer.singlestep_dpm_solver_second_order_update([first, second], sample=x)
        assert close(x, places[k + 2])


def test_heun_rows_are_heun(diffusers):
    schedule = VE(0.01, 5.0)
    peer = diffusers.HeunDiscreteScheduler(prediction_type="sample")
    peer.set_timesteps(K + 1)
    twice = ratios(schedule)
    peer.sigmas = torch.cat([twice[:1], twice[1:-1].repeat_interleave(2), twice[-1:]])
    places, _ = ours(seeded(0), schedule, solver="heun", eta=0.0)
    x = places[0]
    for k in range(2 * K):
        at = guess(x, (k + 1) // 2, schedule)
        x = peer.step(at, peer.timesteps[k], x).prev_sample
        assert close(x, places[k + 1])
