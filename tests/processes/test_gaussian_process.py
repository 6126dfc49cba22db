"""Noise on components: how many coordinates are free, the forward law, and the score matching
loss."""

import pytest
import torch
from gaussian_targets import MIXED, gaussian, tiny_graph_denoiser

from scidiff.core import Process, Tape, seeded
from scidiff.data.graphs import GraphState
from scidiff.processes.gaussian import GaussianProcess, centred, iid, symmetric
from scidiff.processes.graph_sde import graph_sde
from scidiff.processes.schedules import alpha

MASK = torch.tensor([[True, True, True, False], [True, True, True, True]])


def draws(project, shape, n=20_000):
    mask = MASK[:1].expand(n, 4)
    z = torch.randn(n, 4, shape, generator=seeded(0))
    return project(z, mask)


def covariance_rank(z):
    values = torch.linalg.eigvalsh(torch.cov(z.flatten(1).double().T))
    return int((values > 1e-3).sum())


@pytest.mark.parametrize("project, width, free", [(iid, 2, 6), (symmetric, 4, 3), (centred, 3, 6)])
def test_projections_leave_the_free_coordinates(project, width, free):
    """3 of 4 nodes: 3 F entries, n (n - 1) / 2 pairs, 3 (n - 1) centred coordinates."""
    z = draws(project, width)
    assert covariance_rank(z) == free
    assert (z[:, 3] == 0).all()
    assert z.flatten(1).mean(0).abs().max() < 4 / 20_000**0.5


def test_symmetric_noise_has_variance_one_per_pair():
    z = draws(symmetric, 4)
    assert torch.equal(z, z.mT) and (z.diagonal(dim1=1, dim2=2) == 0).all()
    pairs = torch.stack([z[:, 0, 1], z[:, 0, 2], z[:, 1, 2]], 1)
    error = 4 * (2 / 20_000) ** 0.5
    assert (torch.cov(pairs.T) - torch.eye(3)).abs().max() < error


def test_centred_noise_is_the_projection_of_the_standard_normal():
    z = draws(centred, 3)
    assert z.sum(1).abs().max() < 1e-5
    assert abs(z[:, 0, 0].var() - 2 / 3) < 4 * (2 / 20_000) ** 0.5
    assert torch.allclose(centred(z, None).mean(1), torch.zeros(20_000, 3), atol=1e-6)


def test_noising_has_the_forward_law():
    oracle, n = gaussian(), 20_000
    process = GaussianProcess(oracle.components)
    x0 = oracle.canvas(n, seeded(0)).moved((torch.full((n, 1), 0.4).double(),))
    t = torch.tensor([0.3, 0.9]).repeat(n // 2)
    x = process.noise(x0, t, seeded(1)).parts[0].squeeze(1)
    for value in (0.3, 0.9):
        part, at = x[t == value], torch.tensor(value, dtype=torch.float64)
        schedule = oracle.components[0].schedule
        level, sigma = float(alpha(schedule, at)), float(schedule.sigma(at))
        assert abs(part.mean() - 0.4 * level) < 4 * sigma / len(part) ** 0.5
        assert abs(part.std() / sigma - 1) < 4 / (2 * len(part)) ** 0.5


def graph_batch():
    rng = seeded(4)
    A = torch.randint(0, 4, (2, 4, 4), generator=rng).float().triu(1)
    pairs = MASK[:, :, None] & MASK[:, None]
    X = torch.nn.functional.one_hot(torch.randint(0, 3, (2, 4), generator=rng), 3).float()
    return GraphState(X * MASK[..., None], (A + A.mT) * pairs, MASK)


def test_the_graph_loss_is_the_published_one():
    """1/2 sum (score std + z)^2, with score = -net / std for VP and net for VE."""
    process, denoiser, x0 = graph_sde(*MIXED), tiny_graph_denoiser(), graph_batch()
    assert isinstance(process.noise(x0, torch.rand(2), seeded(0)), GraphState)
    tape = Tape(seeded(1))
    losses = process.losses(denoiser, x0, tape)
    u, z_x, z_a = (draw for _, draw in tape.draws)
    t, vp = 1e-5 + (1 - 1e-5) * u, MIXED[0]
    pairs = MASK[:, :, None] & MASK[:, None]
    z_x, z_a = z_x * MASK[..., None], (z_a.triu(1) + z_a.triu(1).mT) * pairs
    row = (-1, 1, 1)
    std_x, std_a = (s.sigma(t).float().view(row) for s in MIXED)
    x = alpha(vp, t).float().view(row) * x0.X + std_x * z_x
    a = x0.A + std_a * z_a
    score_x = -denoiser.network_x(x, a, MASK) / std_x
    score_a = denoiser.network_a(x, a, MASK)
    wanted = [
        0.5 * (s * std + z).square().flatten(1).sum(1)
        for s, std, z in ((score_x, std_x, z_x), (score_a, std_a, z_a))
    ]
    for got, want in zip(losses, wanted, strict=True):
        assert torch.allclose(got, want, rtol=1e-3)
    assert torch.allclose(process.loss(denoiser, x0, tape.rewind()), sum(losses))


def test_each_loss_trains_its_own_network():
    process, denoiser = graph_sde(*MIXED), tiny_graph_denoiser()
    loss_x, _ = process.losses(denoiser, graph_batch(), seeded(0))
    loss_x.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in denoiser.network_a.parameters())
    assert any(p.grad is not None and p.grad.any() for p in denoiser.network_x.parameters())


def test_the_exact_clean_guess_has_the_least_loss():
    oracle = gaussian()
    process, n = GaussianProcess(oracle.components), 4000
    x0 = oracle.canvas(n, seeded(0)).moved((oracle.targets[0].sample(n, seeded(2)),))

    def loss(scale):
        def bent(x, t):
            return (scale * guess_rows(oracle, x, t),)

        return process.loss(bent, x0, seeded(3)).mean()

    assert loss(1.0) < min(loss(0.9), loss(1.1))


def guess_rows(oracle, x, t):
    """The oracle takes one time for all rows; here every row has its own."""
    schedule, target = oracle.components[0].schedule, oracle.targets[0]
    level, sigma = alpha(schedule, t)[:, None], schedule.sigma(t)[:, None]
    gain = level * target.variances / (level**2 * target.variances + sigma**2)
    return target.means + gain * (x.parts[0] - level * target.means)


def test_it_is_a_process():
    process: Process = graph_sde(*MIXED)
    assert process.t_min == 1e-5 and len(process.components) == 2
