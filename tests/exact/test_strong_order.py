"""Strong order: the error of single paths under the same Brownian motion."""

import pytest
import torch
from brownian import brownian
from gaussian_targets import Oracle

from scidiff.core import Tape, seeded
from scidiff.processes.schedules import VP
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.testing import GaussianMixture


def slopes(errors):
    errors = torch.tensor(errors)
    return torch.log2(errors[:-1] / errors[1:])


def test_halves_of_a_brownian_interval_have_their_law():
    """W ~ N(0, h), H ~ N(0, h/12), independent of each other and of other intervals."""
    n, length = 40_000, 3.0
    for levels in (0, 1, 3):
        h = length / 2**levels
        W, H = brownian((n,), length, levels)
        columns = torch.cat([W / h**0.5, H / (h / 12) ** 0.5])
        second = columns @ columns.T / n
        off = second - torch.eye(len(columns), dtype=torch.float64)
        error = torch.where(torch.eye(len(columns)) > 0, (2 / n) ** 0.5, (1 / n) ** 0.5)
        assert (off.abs() < 4.5 * error).all()


def test_the_path_is_one_at_every_resolution():
    coarse_W, coarse_H = brownian((5,), 2.0, 3)
    W, H = brownian((5,), 2.0, 4)
    assert torch.allclose(W[::2] + W[1::2], coarse_W, atol=1e-12)
    joined = (H[::2] + H[1::2]) / 2 + (W[::2] - W[1::2]) / 4
    assert torch.allclose(joined, coarse_H, atol=1e-12)


def euler_path(oracle, levels, length, n):
    """The sampler's own euler rows, their normals read off the path."""
    steps = 2**levels
    W, _ = brownian((n, 1), length, levels)
    start = torch.randn(n, 1, generator=seeded(9), dtype=torch.float64)
    draws = [("normal", z) for z in (start, *(W / (length / steps) ** 0.5))]
    times = torch.linspace(1, 1 - length, steps + 1, dtype=torch.float64)
    sampler = GaussianSampler(
        oracle, oracle.canvas, steps=steps, solver="euler", times=times, denoise=False
    )
    tape = Tape(seeded(0), draws)
    x = sampler.init(n, tape)
    for k in range(steps):
        x = sampler.step(x, k, tape)
    return x.parts[0]


def reverse_sde_path(target, schedule, levels, length, n):
    """dx = (-f x + g^2 score) dtau + g dw, tau = 1 - t, written out step by step."""
    x = torch.randn(n, 1, generator=seeded(9), dtype=torch.float64)
    W, _ = brownian((n, 1), length, levels)
    dt = length / len(W)
    for i, dw in enumerate(W):
        t = torch.tensor(1 - i * dt, dtype=torch.float64)
        f, g2 = schedule.drift(t), schedule.diffusion(t)
        score = target.score(x, schedule.log_alpha(t).exp(), schedule.sigma(t))
        x = x + (g2 * score - f * x) * dt + g2.sqrt() * dw
    return x


def test_euler_rows_have_strong_order_1():
    """The noise is additive, so Euler-Maruyama gains half an order (Kloeden and Platen 1992)."""
    target = GaussianMixture([0.3, 0.7], [[-1.0], [1.0]], [[0.4], [0.5]])
    oracle = Oracle([target], [VP(0.1, 3.0)])
    fine = reverse_sde_path(target, VP(0.1, 3.0), 12, 0.9, 400)
    errors = [float((euler_path(oracle, j, 0.9, 400) - fine).abs().mean()) for j in (4, 5, 6, 7)]
    assert slopes(errors).tolist() == pytest.approx([1, 1, 1], abs=0.12)


def shark_path(levels, n, drift, sigma=1.0, length=1.0):
    """ShARK (Foster et al. 2024) of dx = drift(x) dt + sigma dw, which uses H."""
    h = length / 2**levels
    x = torch.zeros(n, dtype=torch.float64)
    for W, H in zip(*brownian((n,), length, levels), strict=True):
        shifted = drift(x + sigma * H)
        late = drift(x + sigma * H + 5 / 6 * (shifted * h + sigma * W))
        x = x + (2 / 5 * shifted + 3 / 5 * late) * h + sigma * W
    return x


def test_a_method_that_reads_the_area_has_strong_order_one_and_a_half():
    drift = lambda x: torch.sin(3 * x) - x  # noqa: E731
    fine = shark_path(11, 2000, drift)
    errors = [float((shark_path(j, 2000, drift) - fine).abs().mean()) for j in (3, 4, 5, 6)]
    assert slopes(errors).tolist() == pytest.approx([1.5] * 3, abs=0.15)
