"""Noise and loss of molecules in space, term by term."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from point_targets import MOLECULES, SYSTEM, E, K, tiny_guess

from scidiff.core import Tape, seeded
from scidiff.data.points import PackedPoints, PointState, pair_mask
from scidiff.processes.gaussian import GaussianProcess
from scidiff.processes.points import PointNoise, PointProcess, PointSystem, symmetric_pairs
from scidiff.processes.schedules import Linear, alpha


def molecules() -> PointState:
    packed = PackedPoints.of(MOLECULES)
    species = np.searchsorted([1, 6, 9], packed.numbers) % K
    return packed.padded(np.arange(len(packed)), species, K)


X0 = molecules()


class Says:
    """A denoiser that says what it is told to."""

    def __init__(self, *said):
        self.words = said

    def said(self, x, t):
        return self.words

    def scales(self, t):
        return tiny_guess().scales(t)


def certain(one_hot, sure=40.0):
    return (one_hot * sure).log_softmax(-1)


def test_what_goes_in_comes_out_but_for_its_place():
    back = SYSTEM.outward(SYSTEM.inward(X0))
    moved = back.positions - X0.positions
    assert torch.equal(back.types, X0.types) and torch.equal(back.bonds, X0.bonds)
    for row, mask in zip(moved, X0.mask, strict=True):
        assert (row[mask] - row[mask][:1]).abs().max() < 1e-5
    inside = SYSTEM.inward(X0).positions
    assert inside.sum(1).abs().max() < 1e-5 and not inside[~X0.mask].any()


def test_noise_is_alpha_times_the_molecule_and_sigma_times_free_noise():
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    tape = Tape(seeded(0))
    process = PointProcess()
    noisy, clean = process.noise(X0, t, tape), SYSTEM.inward(X0)
    drawn = [z for _, z in tape.draws]
    for c, z, x, part in zip(
        SYSTEM.components(), drawn, clean.parts, noisy.parts, strict=True
    ):
        shape = (-1, *[1] * (x.ndim - 1))
        wanted = (1 - t).reshape(shape) * x + t.reshape(shape) * c.project(z, X0.mask)
        assert torch.allclose(part, wanted, atol=1e-6)
    assert torch.equal(noisy.bonds, noisy.bonds.transpose(1, 2))
    assert noisy.positions.sum(1).abs().max() < 1e-5


def test_noise_of_pairs_is_free_once_a_pair():
    z = torch.randn(2, 4, 4, E, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    out = symmetric_pairs(z, mask)
    assert torch.equal(out, out.transpose(1, 2))
    i, j = torch.triu_indices(4, 4, 1)
    assert torch.equal(out[0, i, j], z[0, i, j])
    assert not out[~pair_mask(mask)].any()


def test_a_perfect_guess_costs_nothing():
    clean = SYSTEM.inward(X0)
    denoiser = Says(clean.positions, certain(X0.types), certain(X0.bonds))
    for loss in PointProcess().losses(denoiser, X0, torch.full((5,), 0.4), seeded(0)):
        assert loss.abs().max() < 1e-5


@pytest.mark.parametrize("t", [0.2, 0.8])
def test_every_term_is_the_stated_one(t):
    clean, n = SYSTEM.inward(X0), X0.mask.sum(1)
    noises = (PointNoise(scale=1.4, weight=2.0), PointNoise(weight=3.0), PointNoise(weight=5.0))
    system = PointSystem(*noises)
    even = [torch.full_like(p, -math.log(p.shape[-1])) for p in (X0.types, X0.bonds)]
    denoiser = Says(torch.zeros_like(clean.positions), *even)
    R, X, A = PointProcess(system).losses(denoiser, X0, torch.full((5,), t), seeded(0))
    level, sigma = 1 - t, t
    c_out2 = sigma**2 / (level**2 + sigma**2)
    assert torch.allclose(R, 2 * clean.positions.square().sum((1, 2)) / c_out2, rtol=1e-5)
    assert torch.allclose(X, 3 * n * math.log(K))
    assert torch.allclose(A, 5 * n * (n - 1) / 2 * math.log(E))


def test_a_preconditioned_guess_has_outputs_of_variance_one():
    t = torch.linspace(0.01, 0.99, 9).double()
    c_in, skip, out = tiny_guess().scales(t)
    a, s = alpha(Linear(), t), t
    assert torch.allclose(c_in**2 * (a**2 + s**2), torch.ones(9).double())
    # Var(x0 - c_skip x) = c_out^2 for x0 of variance 1
    assert torch.allclose((1 - skip * a) ** 2 + (skip * s) ** 2, out**2)


def test_times_of_training_are_logistic_normal():
    process = PointProcess(PointSystem(mean=-0.5, spread=0.7))
    t = process.times(4_000, seeded(0))
    z = (torch.logit(t.double()) + 0.5) / 0.7
    assert abs(z.mean()) < 4 / 4_000**0.5 and abs(z.var() - 1) < 4 * (2 / 4_000) ** 0.5


def test_a_row_does_not_depend_on_its_batch():
    process, guess, t = PointProcess(), tiny_guess(), torch.full((5,), 0.3)
    tape = Tape(seeded(0))
    with torch.no_grad():
        together = torch.stack(process.losses(guess, X0, t, tape))
        for i in range(5):
            row = torch.tensor([i])
            alone = process.losses(guess, X0[row], t[row], tape.rewind()[row])
            assert torch.allclose(torch.stack(alone), together[:, row], rtol=1e-4)


def test_padding_changes_nothing():
    guess, t = tiny_guess(), torch.full((5,), 0.3)
    clean = SYSTEM.inward(X0)
    with torch.no_grad():
        tight, wide = guess(clean, t), guess(clean.widened(9), t)
    N = X0.mask.shape[1]
    for a, b in zip(tight, wide, strict=True):
        assert torch.allclose(a, b[:, :N] if a.ndim == 3 else b[:, :N, :N], atol=1e-5)
        assert not b[:, N:].any()


def test_the_loss_has_gradients_at_every_weight():
    guess = tiny_guess()
    network = guess.network.train()
    PointProcess().loss(network, X0, seeded(0)).sum().backward()
    grads = {name: p.grad for name, p in network.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in grads.values())


def test_without_bonds_there_are_two_components():
    system = PointSystem(bonds=False)
    guess = tiny_guess(system)
    plain = PointState(X0.positions, X0.types, X0.mask)
    assert len(system.components()) == 2 and system.num_bonds == 0
    loss = PointProcess(system).losses(guess, plain, torch.full((5,), 0.3), seeded(0))
    assert len(loss) == 2
    noisy = PointProcess(system).noise(X0, torch.full((5,), 0.3), seeded(0))
    assert noisy.bonds is None  # those that are known are left aside
    with pytest.raises(ValueError, match="bonds, but those of the molecules are not known"):
        SYSTEM.inward(plain)


def test_a_system_comes_back_from_its_config():
    from dataclasses import asdict

    for system in (SYSTEM, PointSystem(bonds=False, mean=0.3), PointSystem(PointNoise("vp", 2))):
        assert PointSystem.of(asdict(system)) == system


@pytest.mark.parametrize(
    "make, why",
    [
        (lambda: PointNoise("ve"), "noise must be one of linear, vp"),
        (lambda: PointNoise(scale=0), "scale must be positive"),
        (lambda: PointNoise(weight=-1), "weight 0 or more"),
        (lambda: PointSystem(spread=0), "spread must be positive"),
    ],
    ids=["kind", "scale", "weight", "spread"],
)
def test_what_makes_no_system_says_why(make, why):
    with pytest.raises(ValueError, match=why):
        make()


def test_the_process_is_the_gaussian_one_of_its_components():
    t = torch.full((5,), 0.4)
    ours = PointProcess().noise(X0, t, seeded(5))
    theirs = GaussianProcess(SYSTEM.components()).noise(SYSTEM.inward(X0), t, seeded(5))
    assert all(torch.equal(a, b) for a, b in zip(ours.parts, theirs.parts, strict=True))
