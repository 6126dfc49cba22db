"""The two samplers of sequence-then-structure as one chain."""

from __future__ import annotations

import pytest
import torch

from scidiff.core import seeded
from scidiff.data.tokens import EOS, FIRST_SYMBOL
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all, smc
from scidiff.networks.block_guesses import NetworkGuesses
from scidiff.networks.point_blocks import PointBlockNetwork, PointBlockNetworkConfig
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.processes.continuous_blocks import even_blocks
from scidiff.processes.point_blocks import PointBlocks
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.continuous_blocks import ContinuousBlockSampler, make_front
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.point_blocks import SequenceThenBlocks, WrittenPoints
from scidiff.samplers.step_annealing import annealed_steps
from scidiff.testing import check_sampler

N, K = 4, 2
MASK = K + 2


def chain(head=0, size=2, steps=2, compact=False, ids=None, **how) -> SequenceThenBlocks:
    torch.manual_seed(0)
    net = PointBlockNetwork(
        PointBlockNetworkConfig(K + 3, N, 16, 2, 1, 1, 1, head_depth=head, spatial=1)
    )
    for name, p in net.named_parameters():
        if not p.any() and "own" not in name:
            torch.nn.init.normal_(p, std=0.3)
    net.eval().requires_grad_(False)
    canvas = FixedCanvas.blank(N, MASK) if ids is None else FixedCanvas(ids, MASK)
    denoiser = TokenDenoiser(net.sequence, 1, compact=compact, prefix_cache=False)
    atoms = MaskedSampler(denoiser, canvas, block_size=1)
    guesses = NetworkGuesses(net.structure, PointBlocks().component, compact)
    front = make_front(guesses.component, even_blocks(N, size), steps, **how)
    places = ContinuousBlockSampler(guesses, lambda n, rng: None, front)
    return SequenceThenBlocks(atoms, places, net.read, K)


CHAINS = {
    "plain": chain,
    "compact": lambda: chain(compact=True),
    "head": lambda: chain(1),
    "items": lambda: chain(size=1, steps=annealed_steps(3, 1, 4)),
    "flow": lambda: chain(eta=0.0),
    "late": lambda: chain(size=4, lag=1),
    "given": lambda: chain(ids=torch.tensor([[2, 3, 1, 0]])),
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_contract_is_kept(name) -> None:
    check_sampler(CHAINS[name]())


@pytest.mark.parametrize("name", ["plain", "head", "compact"])
def test_rows_at_different_places_are_stacked_and_go_on(name) -> None:
    sampler, states = CHAINS[name](), []
    x = sampler.init(8, seeded(0))
    for k in range(sampler.num_steps):
        states.append(x)
        x = sampler.step(x, k, seeded(1, k))
    states.append(x)
    last = sampler.num_steps
    places = [last - 1, 1, last, sampler.written]
    rows = x.mask.sum(1).argmax()[None]
    assert x.mask[rows].sum() > 1
    mixed = WrittenPoints.cat([states[k][rows] for k in places])
    assert len(sampler.predict_clean(mixed, torch.tensor(places), seeded(0))) == 4
    moved = sampler.step(mixed, torch.tensor(places), seeded(2))
    assert torch.equal(moved.positions[2], x.positions[rows][0])
    assert not moved.positions[1].any() and (moved.atoms.ids[1, :2] != MASK).all()
    assert (moved.atoms.ids[1, 2:] == MASK).all() or (moved.atoms.ids[1] == EOS).any()
    assert torch.equal(moved.types[[0, 2, 3]], mixed.types[[0, 2, 3]])
    assert not torch.equal(moved.positions[3], mixed.positions[3])
    alone = sampler.step(states[last - 1][rows], last - 1, seeded(3))  # its last row draws nothing
    assert torch.allclose(moved.positions[0], alone.positions[0], atol=1e-6)


def test_atoms_are_written_first_and_then_stay() -> None:
    sampler = chain()
    x, seen = sampler.init(8, seeded(0)), []
    assert not x.types.any() and sampler.written == N
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, seeded(1, k))
        seen.append(x)
    for k in range(N - 1):
        assert not seen[k].positions.any()
        assert torch.equal(seen[k].types[:, : k + 1], x.types[:, : k + 1])
        assert not seen[k].types[:, k + 1 :].any()
    assert torch.equal(seen[N - 1].types, x.types)
    mask = x.mask[..., None]
    assert (x.positions * ~mask == 0).all() and (x.positions.abs().sum(-1) > 0)[x.mask].all()


def test_a_look_ahead_leaves_out_what_is_not_begun() -> None:
    sampler = chain(size=2, steps=2)
    x = sampler.init(8, seeded(0))
    for k in range(N + 1):
        x = sampler.step(x, k, seeded(1, k))
    seen = sampler.predict_clean(x, N + 1, seeded(0))
    assert not seen.types[:, 2:].any() and torch.equal(seen.types[:, :2], x.types[:, :2])
    guess = x.places.guesses[0][0][:, :2]
    assert torch.equal(seen.positions[:, :2], guess) and not seen.positions[:, 2:].any()


def test_a_given_sequence_is_placed_at_once() -> None:
    ids = torch.tensor([[2, 3, 1, 0], [3, 3, 3, 2]])
    sampler = chain(ids=ids)
    assert sampler.written == 0
    x = sample(sampler, 6, seeded(0))
    assert x.mask.sum(1).tolist() == [2] * 3 + [4] * 3
    assert torch.equal(x.types[3].argmax(-1), ids[1] - FIRST_SYMBOL)
    assert (x.positions.abs().sum(-1) > 0).equal(x.mask)


def test_finished_rows_do_not_begin_again() -> None:
    sampler = chain()
    done = sample(sampler, 2, seeded(0))
    assert sampler.step(done, sampler.num_steps, seeded(1)) is done
    with pytest.raises(ValueError, match="must come from `init`"):
        sampler.step(done.moved(done.parts), 0, seeded(0))


@pytest.mark.parametrize("k", [0, 2, 4, 6, 9])
def test_taken_back_a_row_keeps_what_was_done_by_then(k) -> None:
    sampler = chain()
    clean = sample(sampler, 6, seeded(0))
    clean = clean.moved(clean.parts)
    x = sampler.renoise(clean, k, seeded(1))
    if k < N:
        assert torch.equal(x.types[:, :k], clean.types[:, :k]) and not x.positions.any()
        assert not x.types[:, k:].any()
    else:
        assert torch.equal(x.types, clean.types)
        lo = sampler.places.window[k - N][0]
        assert torch.equal(x.positions[:, :lo], clean.positions[:, :lo])
        assert not torch.equal(x.positions[:, lo:], clean.positions[:, lo:])
    for j in range(k, sampler.num_steps):
        x = sampler.step(x, j, seeded(2, j))
    assert x.positions.isfinite().all()
    assert sampler.renoise(clean, sampler.num_steps, seeded(0)) is clean


@pytest.mark.parametrize("select", [keep_all, smc(0.5)], ids=["importance", "smc"])
def test_weights_are_unbiased_for_a_reward_of_atoms_and_places(select) -> None:
    # Z = E exp(r) of the chain's own law, by plain draws and by weighted ones
    def reward(x: WrittenPoints) -> torch.Tensor:
        near = (x.positions.norm(dim=-1) < 1.0) & x.mask
        return 0.8 * x.types[..., 0].sum(1).double() - 0.5 * near.sum(1)

    sampler = chain(steps=1)
    plain = reward(sample(sampler, 8000, seeded(0))).exp()
    runs = torch.stack([
        guided_sample(sampler, reward, 100, seeded(1, i), select=select).log_z.exp().mean()
        for i in range(40)
    ])  # fmt: skip
    error = (plain.var() / len(plain) + runs.var() / len(runs)).sqrt()
    assert abs(float((runs.mean() - plain.mean()) / error)) < 4
