"""Chains of molecules in space: they stay centred, and turn and reorder with their noise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from point_targets import SIZES, E, K, finished, tiny_guess

from scidiff.core import Tape, seeded
from scidiff.data.graphs import NodeCounts
from scidiff.data.points import PointCanvas, one_hot_bonds
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.held import HeldShape
from scidiff.samplers.inpaint import Scaffold
from scidiff.samplers.schemes import SOLVERS, make_scheme

GUESS = tiny_guess()
GUESS.network.double()  # rounding grows along a chain of random weights
SIZES = replace(SIZES, dtype=torch.float64)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def chain(solver="2m", steps=4, denoiser=GUESS, canvas=SIZES, **options):
    times = torch.linspace(0.99, 0.05, steps + 1).double()
    schedules = [c.schedule for c in denoiser.components]
    scheme = make_scheme(solver, schedules, steps, grid=times, **options)
    return GaussianSampler(denoiser, canvas, scheme=scheme)


def rotation(seed=0):
    Q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)))
    return (Q * torch.linalg.det(Q)).double()


def positions_only(tape, change):
    """The same noise, that of positions changed; their draw is the first of three."""
    draws, turn = [], 0
    for kind, z in tape.draws:
        if kind == "normal":
            z, turn = (change(z) if turn % 3 == 0 else z), turn + 1
        draws.append((kind, z))
    return Tape(seeded(0), draws)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_centre_stays_where_it_is_in_every_step(solver):
    sampler = chain(solver)
    x = sampler.init(8, seeded(0))
    for k in range(sampler.num_steps):
        assert x.positions.sum(1).abs().max() < 1e-12
        assert not x.positions[~x.mask].any() and not x.types[~x.mask].any()
        assert torch.allclose(x.bonds, x.bonds.transpose(1, 2), atol=1e-12)
        x = sampler.step(x, k, seeded(1, k))
    assert x.positions.sum(1).abs().max() < 1e-12 and x.positions.isfinite().all()


@pytest.mark.parametrize("solver", ["2m", "ancestral", "heun", "ddim"])
def test_a_chain_turns_with_its_noise(solver):
    sampler, tape, R = chain(solver), Tape(seeded(2)), rotation()
    x = finished(sampler, 6, tape)
    y = finished(sampler, 6, positions_only(tape, lambda z: (z.double() @ R)))
    assert torch.allclose(y.positions, x.positions @ R, atol=1e-7)
    assert torch.allclose(y.types, x.types, atol=1e-7)
    assert torch.allclose(y.bonds, x.bonds, atol=1e-7)
    assert (x.positions @ R - x.positions).abs().max() > 0.1


def test_a_chain_reorders_with_its_noise():
    canvas = PointCanvas(NodeCounts.fixed(5), K, E, torch.float64)
    sampler, tape = chain(canvas=canvas), Tape(seeded(3))
    x = finished(sampler, 4, tape)
    order = torch.tensor([3, 1, 4, 0, 2])

    def permuted(z):
        if z.ndim < 3:
            return z
        if z.ndim == 3:
            return z[:, order]
        upper = z * torch.ones(5, 5).triu(1)[..., None]
        return (upper + upper.transpose(1, 2))[:, order][:, :, order]

    again = Tape(seeded(0), [(kind, permuted(z)) for kind, z in tape.draws])
    y = finished(sampler, 4, again)
    assert torch.allclose(y.positions, x.positions[:, order], atol=1e-7)
    assert torch.allclose(y.types, x.types[:, order], atol=1e-7)
    assert torch.allclose(y.bonds, x.bonds[:, order][:, :, order], atol=1e-7)


def test_a_molecule_does_not_depend_on_its_batch():
    sampler, tape = chain("ancestral"), Tape(seeded(4))
    together = finished(sampler, 7, tape)
    for i in range(7):
        row = torch.tensor([i])
        alone = finished(sampler, 1, tape.rewind()[row])
        for a, b in zip(alone.parts, together[row].parts, strict=True):
            assert torch.allclose(a, b, atol=1e-7)


def test_groups_of_one_size_say_what_the_whole_batch_says():
    x = SIZES(40, seeded(0))
    z = tuple(c.noise(p, x.mask, seeded(1)) for c, p in
              zip(GUESS.components, x.parts, strict=True))  # fmt: skip
    x, t = x.moved(z), torch.linspace(0.1, 0.9, 40)
    grouped = GUESS(x, t)
    GUESS.network.train()
    whole = GUESS(x, t)
    GUESS.network.eval()
    for a, b in zip(grouped, whole, strict=True):
        assert torch.allclose(a, b, atol=1e-11)


def test_given_types_and_bonds_are_kept():
    n, N = 4, 5
    mask = torch.arange(N)[None] < n
    X = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 0, 0]]), K) * mask[..., None]
    orders = torch.zeros(1, N, N, dtype=torch.int64)
    orders[:, 0, 1:n] = orders[:, 1:n, 0] = 1
    clean = (torch.zeros(1, N, 3).double(), X.double(), one_hot_bonds(orders, mask).double())
    known = tuple(torch.full_like(p, f).bool() for p, f in zip(clean, (0, 1, 1), strict=True))
    law = NodeCounts(torch.tensor([0.0, 0, 0, 0, 1, 0]))
    sampler = chain("ancestral", denoiser=Scaffold(GUESS, clean, known),
                    canvas=PointCanvas(law, K, E, torch.float64))  # fmt: skip
    x = finished(sampler, 6, seeded(0))
    assert torch.equal(x.types, clean[1].expand(6, -1, -1))
    assert torch.equal(x.bonds, clean[2].expand(6, -1, -1, -1))
    assert (x.positions[0] - x.positions[1]).abs().max() > 0.1


def test_a_condition_moves_with_its_row():
    x = replace(SIZES(4, seeded(0)), condition=torch.arange(4.0)[:, None])
    assert x[torch.tensor([3, 3, 1])].condition.flatten().tolist() == [3, 3, 1]
    assert x.moved(x.parts).condition is x.condition


@pytest.mark.parametrize("solver", ["2m", "ancestral", "heun"])
def test_a_held_shape_is_kept_exactly_and_the_whole_stays_centred(solver):
    n = 5
    given = torch.arange(n)[None] < 3
    shape = torch.randn(1, n, 3, generator=torch.Generator().manual_seed(1)).double()
    canvas = PointCanvas(NodeCounts.fixed(n), K, E, torch.float64)
    sampler = chain(solver, denoiser=HeldShape(GUESS, shape, given), canvas=canvas)
    x = finished(sampler, 6, seeded(0))
    moved = x.positions[:, :3] - shape[:, :3]
    assert torch.allclose(moved, moved[:, :1].expand(-1, 3, -1), atol=1e-9)
    assert x.positions.sum(1).abs().max() < 1e-9
    assert (moved[0] - moved[1]).abs().max() > 1e-3  # where it comes to lie is drawn


def test_a_shape_needs_an_atom():
    with pytest.raises(ValueError, match="at least one atom"):
        HeldShape(GUESS, torch.zeros(1, 4, 3), torch.zeros(1, 4, dtype=torch.bool))
