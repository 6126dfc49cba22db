"""Laws of molecules in space in closed form: centred noise, chains of every solver, likelihoods,
classes as numbers."""

from __future__ import annotations

import math

import pytest
import torch
from gaussian_targets import chain_law, gaussian
from point_targets import SYSTEM, E, GaussianMolecules, K, centring, finished, units

from scidiff.core import seeded
from scidiff.data.graphs import NodeCounts
from scidiff.data.points import PointCanvas, PointState, one_hot_bonds, pair_mask
from scidiff.networks.points import PointGuess
from scidiff.processes.points import PointNoise, PointSystem
from scidiff.processes.schedules import alpha
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.likelihood import log_likelihood
from scidiff.samplers.probability_flow import free_share
from scidiff.samplers.schemes import SOLVERS, make_scheme

N = 4


def made(target, solver, steps, **options):
    times = torch.linspace(0.99, 0.02, steps + 1).double()
    scheme = make_scheme(solver, [c.schedule for c in target.components], steps, grid=times)
    return GaussianSampler(target, target.canvas, scheme=scheme, **options)


def blank(n=N, rows=1):
    mask = torch.arange(n + 1) < n  # one place of padding
    return PointState(
        torch.zeros(rows, n + 1, 3).double(), torch.zeros(rows, n + 1, K).double(),
        mask.expand(rows, -1), torch.zeros(rows, n + 1, n + 1, E).double(),
    )  # fmt: skip


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize("n", [1, 2, 5])
def test_centred_noise_has_the_covariance_of_what_is_left_without_the_mean(n):
    component, x = SYSTEM.components()[0], blank(n)
    images = torch.stack([
        component.project(unit.reshape(1, n + 1, 3), x.mask).flatten()
        for unit in torch.eye(3 * (n + 1)).double()
    ])  # fmt: skip
    wanted = torch.zeros(n + 1, n + 1).double()
    wanted[:n, :n] = centring(n)
    assert torch.allclose(images.T @ images, torch.kron(wanted, torch.eye(3).double()), atol=1e-12)


def test_free_coordinates_are_those_of_the_molecule():
    x = blank()
    shares = [free_share(c, p, x.mask).sum() for c, p in
              zip(SYSTEM.components(), x.parts, strict=True)]  # fmt: skip
    assert [round(float(s), 9) for s in shares] == [3 * (N - 1), N * K, N * (N - 1) // 2 * E]


# ---------------------------------------------------------------- chains


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_end_of_every_solver_has_the_covariance_of_its_own_rows(solver):
    """In the eigenvectors of C a chain is one scalar chain each, whose law is known exactly."""
    target = GaussianMolecules.of(N)
    sampler = made(target, solver, 5)
    tape, rows = units(sampler, N)
    G = finished(sampler, rows, tape).positions.permute(0, 2, 1).reshape(rows, 3 * N)
    values, vectors = torch.linalg.eigh(target.C)
    assert values[0].abs() < 1e-12  # the mean
    variances = [0.0]
    for value in values[1:].tolist():
        scalar = gaussian(0.0, value**0.5, target.components[0].schedule)
        variances.append(chain_law(scalar, made(scalar, solver, 5))[1])
    wanted = vectors @ torch.diag(torch.tensor(variances).double()) @ vectors.T
    assert torch.allclose(G.T @ G, torch.kron(torch.eye(3).double(), wanted), atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_more_steps_bring_the_end_nearer_to_the_data(solver):
    target = GaussianMolecules.of(N)
    wanted = torch.kron(torch.eye(3).double(), target.C)
    errors = []
    for steps in (24, 96):
        sampler = made(target, solver, steps)
        tape, rows = units(sampler, N)
        G = finished(sampler, rows, tape).positions.permute(0, 2, 1).reshape(rows, 3 * N)
        errors.append(float((G.T @ G - wanted).norm() / wanted.norm()))
    assert errors[1] < errors[0] / 2 and errors[1] < 0.1


@pytest.mark.parametrize("component", [1, 2])
def test_types_and_bonds_are_scalar_chains(component):
    target = GaussianMolecules.of(N)
    sampler = made(target, "2m", 5)
    tape, rows = units(sampler, N, component)
    G = finished(sampler, rows, tape).parts[component].flatten(1)
    scalar = gaussian(0.0, 0.5, target.components[component].schedule)
    variance = chain_law(scalar, made(scalar, "2m", 5))[1]
    cov = G.T @ G
    if component == 1:
        assert torch.allclose(cov, variance * torch.eye(N * K).double(), atol=1e-9)
    else:
        there = pair_mask(torch.ones(1, N, dtype=torch.bool))[0]
        same = torch.eye(N * N).double() + torch.eye(N * N).reshape(N, N, -1).transpose(
            0, 1
        ).reshape(N * N, -1)  # (i, j) is (j, i)
        same = same * there.flatten()[:, None]
        wanted = variance * torch.kron(same, torch.eye(E).double())
        assert torch.allclose(cov, wanted, atol=1e-9)


# ---------------------------------------------------------------- likelihood


def test_the_likelihood_counts_three_coordinates_less():
    """Of N(0, v) on the free coordinates: places without their mean, types, pairs once."""
    v, t_end = 0.25, 1e-2
    target = GaussianMolecules(v * centring(N), v)
    x = target.canvas(3, seeded(0))
    noise = [c.noise(p, x.mask, seeded(1)) * v**0.5
             for c, p in zip(target.components, x.parts, strict=True)]  # fmt: skip
    x = x.moved(tuple(noise))
    end = torch.tensor(t_end, dtype=torch.float64)
    start = torch.tensor(0.999, dtype=torch.float64)
    schedule = target.components[0].schedule
    variance = float(alpha(schedule, end) ** 2 * v + schedule.sigma(end) ** 2)
    value, error = log_likelihood(
        target, x, t_end=t_end, t_start=float(start), tol=1e-7, trace="exact",
        prior_variance=[v] * 3,
    )  # fmt: skip
    free = 3 * (N - 1) + N * K + N * (N - 1) // 2 * E
    R, X, A = x.parts
    squares = R.square().sum((1, 2)) + X.square().sum((1, 2)) + A.square().sum((1, 2, 3)) / 2
    wanted = -free / 2 * math.log(2 * math.pi * variance) - squares / (2 * variance)
    assert torch.allclose(value, wanted, atol=1e-4) and (error == 0).all()


# ---------------------------------------------------------------- classes


class Prior:
    """A network that knows how frequent each class is, and nothing of the others."""

    training = True  # in one batch

    def __init__(self, types, bonds):
        self.types, self.bonds = types.log(), bonds.log()

    def __call__(self, positions, features, mask, t, edges, condition, shown):
        B, n, _ = positions.shape
        return (
            torch.zeros_like(positions), self.types.expand(B, n, -1),
            self.bonds.expand(B, n, n, -1),
        )  # fmt: skip


TYPES, BONDS = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.7, 0.1, 0.15, 0.05])


@pytest.mark.parametrize("t", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_class_is_told_by_bayes_rule(t, scale):
    noise = PointNoise(scale=scale)
    guess = PointGuess(Prior(TYPES, BONDS), PointSystem(types=noise, bonds=noise))
    x = PointCanvas(NodeCounts.fixed(3), K, E)(5, seeded(0))
    z = [c.noise(p, x.mask, seeded(1)) for c, p in zip(guess.components, x.parts, strict=True)]
    now = torch.tensor(t, dtype=torch.float64)
    _, *laws = guess.said(x.moved(tuple(z)), now)
    for part, law, prior, c in zip(z[1:], laws, (TYPES, BONDS), (1, 2), strict=True):
        schedule = guess.components[c].schedule
        a, s = float(alpha(schedule, now)), float(schedule.sigma(now))
        means = a * scale * torch.eye(len(prior))
        log_p = prior.log() - (part[..., None, :] - means).square().sum(-1) / (2 * s**2)
        assert torch.allclose(law, log_p.log_softmax(-1), atol=1e-4 * max(1, 1 / s**2))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_classes_that_are_drawn_as_numbers_are_as_frequent_as_they_should_be(eta):
    guess = PointGuess(Prior(TYPES, BONDS), PointSystem())
    canvas = PointCanvas(NodeCounts.fixed(4), K, E)
    times = torch.linspace(0.999, 0.02, 151).double()
    sampler = GaussianSampler(guess, canvas, steps=150, solver="2m", eta=eta, times=times)
    with torch.no_grad():
        x = finished(sampler, 1_000, seeded(3))
    drawn = torch.bincount(x.types.argmax(-1).flatten(), minlength=K) / 4_000
    assert ((drawn - TYPES).abs() < 4 * (TYPES * (1 - TYPES) / 4_000).sqrt()).all()
    i, j = torch.triu_indices(4, 4, 1)
    drawn = torch.bincount(x.bonds.argmax(-1)[:, i, j].flatten(), minlength=E) / 6_000
    assert ((drawn - BONDS).abs() < 4 * (BONDS * (1 - BONDS) / 6_000).sqrt()).all()


def test_a_chain_ends_on_whole_classes():
    guess = PointGuess(Prior(TYPES, BONDS), PointSystem())
    canvas = PointCanvas(NodeCounts(torch.tensor([0.0, 0, 1, 0, 1])), K, E)
    with torch.no_grad():
        x = finished(GaussianSampler(guess, canvas, steps=60), 50, seeded(0))
    X, A = x.types, x.bonds
    rounded = torch.nn.functional.one_hot(X.argmax(-1), K) * x.mask[..., None]
    assert (X - rounded).abs().max() < 1e-3
    assert torch.allclose(A, one_hot_bonds(A.argmax(-1), x.mask), atol=1e-3)
