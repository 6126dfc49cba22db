"""Fronts of times and the sampler that moves them; the laws are in exact/."""

from dataclasses import replace

import pytest
import torch
from joint_gaussian import JointGaussian, block_sampler, correlated, sample

from scidiff.core import Tape, seeded
from scidiff.networks.block_guesses import NetworkGuesses
from scidiff.networks.continuous_blocks import (
    ContinuousBlocks,
    ContinuousBlocksConfig,
)
from scidiff.processes.continuous_blocks import Items, block_of, clean_guess, even_blocks, levels
from scidiff.processes.gaussian import Component
from scidiff.processes.schedules import VE, VP, Linear
from scidiff.samplers.continuous_blocks import ContinuousBlockSampler, make_front
from scidiff.samplers.step_annealing import annealed_steps
from scidiff.testing import check_full_graph, check_sampler

L = 4
COMPONENT = Component(VP())
BLOCKS = {"one": (4,), "two": (2, 2), "uneven": (3, 1), "items": (1, 1, 1, 1)}


def of_network(head=0, sizes=(3, 1), lengths=(4, 2, 3), **how):
    """A network with random weights, over rows of several lengths."""
    torch.manual_seed(0)
    net = ContinuousBlocks(
        ContinuousBlocksConfig(3, 4, width=16, heads=2, depth=2, token_depth=1, head_depth=head)
    )
    for p in net.parameters():
        if not p.any():
            torch.nn.init.normal_(p, std=0.2)
    net.eval().requires_grad_(False)

    def canvas(n, rng):
        mask = torch.arange(L) < torch.tensor(lengths)[torch.arange(n) % len(lengths), None]
        return Items(torch.zeros(n, L, 3), mask.long(), mask)

    guesses = NetworkGuesses(net, Component(Linear()), compact=False)
    front = make_front(guesses.component, sizes, how.pop("steps", 3), **how)
    return ContinuousBlockSampler(guesses, canvas, front)


# ---------------------------------------------------------------- steps and fronts


@pytest.mark.parametrize(
    "law, steps",
    [
        ("linear", (50, 39, 28, 16, 5)),
        ("cosine", (50, 43, 28, 12, 5)),
        ("two-stage", (50, 50, 5, 5, 5)),
    ],
)
def test_steps_are_annealed(law, steps):
    assert annealed_steps(50, 5, 5, law) == steps


def test_annealing_of_one_block_and_without_a_change():
    assert annealed_steps(9, 3, 1) == (9,) and annealed_steps(9, 9, 3) == (9, 9, 9)
    assert annealed_steps(9, None, 3) == (9, 9, 9)


@pytest.mark.parametrize(
    "asked, message",
    [
        ((5, 0, 2), r"last_steps must be in 1 \.\. 5, .* got 0"),
        ((3, 5, 2), r"last_steps must be in 1 \.\. 3, .* got 5"),
        ((0, None, 2), "steps must be at least 1, got 0"),
        ((5, 5, 0), "over at least 1 block, got 0"),
        ((5, 2, 2, "cosin"), "one of linear, cosine, two-stage, got 'cosin'.*mean 'cosine'"),
        ((5, None, 2, "cosine"), "goes down to last_steps, got 'cosine' without"),
    ],
)
def test_annealing_that_makes_no_sense_is_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        annealed_steps(*asked)


@pytest.mark.parametrize("lag", [0, 1, 4, 9])
@pytest.mark.parametrize("sizes", BLOCKS.values(), ids=BLOCKS)
def test_times_of_a_front_rise_along_the_row_and_fall_on_the_way(sizes, lag):
    front = make_front(COMPONENT, sizes, 4, lag=lag)
    assert (front.times.diff(dim=1) >= 0).all() and (front.times.diff(dim=0) <= 0).all()
    assert (front.times[0] == 1).all() and (front.times[-1] == 0).all()
    assert len(front.rows) == len(front.window) == sum(5 + lag * (n - 1) for n in sizes)


@pytest.mark.parametrize("sizes", BLOCKS.values(), ids=BLOCKS)
def test_only_the_block_at_work_moves(sizes):
    front = make_front(COMPONENT, sizes, 4, lag=1)
    still = torch.tensor([1.0] + [0.0] * (front.rows.shape[-1] - 1)).double()
    for k, (lo, hi) in enumerate(front.window):
        moves = (front.rows[k] != still).any(-1)
        assert moves[lo:hi].any() and not moves[:lo].any() and not moves[hi:].any()
        assert (front.times[k, :lo] == 0).all() and (front.times[k, hi:] == 1).all()


def test_every_item_has_all_rows_of_its_solver():
    front = make_front(COMPONENT, (2, 2), (4, 2), lag=3, solver="2m", eta=0.0)
    moves = (front.rows[..., 1:] != 0).any(-1)
    assert moves.sum(0).tolist() == [5, 5, 3, 3]
    assert moves[:, 1].nonzero()[0] == moves[:, 0].nonzero()[0] + 3


@pytest.mark.parametrize(
    "sizes, steps, lag", [((2, 2), (3,), 0), ((2, 0), 3, 0), ((4,), 3, -1), ((), 3, 0)]
)
def test_a_front_that_makes_no_sense_is_refused(sizes, steps, lag):
    with pytest.raises(ValueError, match="expected steps of each"):
        make_front(COMPONENT, sizes, steps, lag=lag)


# ---------------------------------------------------------------- the sampler

SAMPLERS = {
    "gaussian": block_sampler,
    "noisy": lambda: block_sampler((2, 2), eta=1.0, lag=2),
    "items": lambda: block_sampler((1, 1, 1, 1), annealed_steps(4, 2, 4), eta=0.0),
    "network": of_network,
    "head": lambda: of_network(2, (2, 2)),
    "asynchronous": lambda: of_network(0, (4,), lag=2),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_contract_is_kept(name):
    check_sampler(SAMPLERS[name]())


@pytest.mark.parametrize("name", ["network", "head"])
def test_a_step_is_one_graph(name):
    check_full_graph(SAMPLERS[name]())


@pytest.mark.parametrize("name", ["noisy", "network", "head"])
def test_rows_at_different_places_move_as_they_would_alone(name):
    sampler, states = SAMPLERS[name](), []
    x, tapes = sampler.init(3, seeded(0)), []
    for k in range(sampler.num_steps):
        tapes.append(Tape(seeded(1, k)))
        states.append(x)
        x = sampler.step(x, k, tapes[-1])
    states.append(x)
    places = torch.tensor([sampler.num_steps // 2, sampler.num_steps - 1, 0])
    mixed = Items.cat([states[k][torch.tensor([row])] for row, k in enumerate(places.tolist())])
    drawn = [tapes[k][torch.tensor([row])].draws for row, k in enumerate(places.tolist())]
    columns = zip(*drawn, strict=True)
    tape = Tape(seeded(0), [(c[0][0], torch.cat([d for _, d in c])) for c in columns])
    moved = sampler.step(mixed, places, tape)
    for row, k in enumerate(places.tolist()):
        assert torch.allclose(moved.features[row], states[k + 1].features[row], atol=1e-6)
        guess, expected = moved.guesses[0][0][row], states[k + 1].guesses[0][0][row]
        assert torch.allclose(guess, expected, atol=1e-6)


def test_what_is_finished_stays_and_what_is_behind_waits():
    sampler = block_sampler((2, 1, 1), 3, eta=1.0)
    x, start = sampler.init(5, seeded(0)), None
    start = x.features
    for k in range(sampler.num_steps):
        lo, hi = sampler.window[k]
        after = sampler.step(x, k, seeded(1, k))
        assert torch.equal(after.features[:, :lo], x.features[:, :lo])
        assert torch.equal(after.features[:, hi:], start[:, hi:])
        assert not torch.equal(after.features[:, lo:hi], x.features[:, lo:hi])
        x = after


def test_a_look_ahead_knows_the_past_guesses_the_present_and_nothing_more():
    sampler = block_sampler((2, 2), 3, eta=1.0)
    x = sampler.init(5, seeded(0))
    for k in range(5):
        x = sampler.step(x, k, seeded(1, k))
    seen = sampler.predict_clean(x, 5, seeded(0)).features
    assert torch.equal(seen[:, :2], x.features[:, :2])
    said = sampler.denoiser(x, sampler.times[5], 2, 4)
    assert torch.equal(seen[:, 2:], said)
    first = sampler.predict_clean(sampler.init(5, seeded(0)), 0, seeded(0)).features
    assert first[:, :2].any() and not first[:, 2:].any()


def test_a_look_ahead_at_different_places_leaves_what_has_ended():
    sampler = block_sampler((2, 2), 3)
    x = sampler.init(2, seeded(0))
    ended = sampler.predict_clean(x, torch.tensor([sampler.num_steps, 0]), seeded(0)).features
    assert torch.equal(ended[0], x.features[0]) and not torch.equal(ended[1], x.features[1])


@pytest.mark.parametrize("name", ["network", "head", "noisy"])
def test_noised_again_a_row_is_as_clean_as_the_place_and_goes_on(name):
    sampler = SAMPLERS[name]()
    clean = sample(sampler, 6, seeded(0))
    k = sampler.num_steps - 2
    x = sampler.renoise(clean, k, seeded(2))
    lo, hi = sampler.window[k]
    assert torch.equal(x.features[:, :lo], clean.features[:, :lo])
    assert not torch.equal(x.features[:, lo:hi], clean.features[:, lo:hi])
    if x.kept is not None:  # what a chain would have kept on its way
        walked = sampler.init(6, seeded(0))
        for j in range(k):
            walked = sampler.step(walked, j, seeded(1, j))
        again = sampler.renoise(replace(walked, features=clean.features), k, seeded(2))
        assert torch.equal(again.kept, x.kept) and x.kept[..., :lo, :].any()
    ended = sampler.step(sampler.step(x, k, seeded(3)), k + 1, seeded(4))
    assert not torch.equal(ended.features[:, lo:hi], clean.features[:, lo:hi])
    assert sampler.renoise(clean, sampler.num_steps, seeded(0)) is clean


def test_noised_again_in_the_middle_of_a_block_the_first_step_is_of_first_order():
    sampler = block_sampler((2, 2), 4, eta=1.0)
    x = sampler.renoise(sample(sampler, 3, seeded(0)), 7, seeded(1))
    (newest,), (before,) = x.guesses
    assert torch.equal(newest[:, 2:], before[:, 2:]) and newest[:, 2:].all()


def test_noised_again_what_is_finished_has_none_of_the_noise_left_at_zero():
    target = JointGaussian(*correlated(L), VE(0.1, 5.0))
    front = make_front(target.component, (2, 2), 3)
    sampler = ContinuousBlockSampler(target, target.canvas, front)
    clean = sample(sampler, 3, seeded(0))
    x = sampler.renoise(clean, 5, seeded(1))
    assert torch.equal(x.features[:, :2], clean.features[:, :2])


def test_items_that_arrived_before_the_others_are_what_they_are():
    target = JointGaussian(*correlated(L), VE(0.1, 5.0))  # some noise at t = 0: its guess is not x
    front = make_front(target.component, (4,), 3, lag=2)
    sampler = ContinuousBlockSampler(target, target.canvas, front)
    x = sampler.init(3, seeded(0))
    for k in range(6):
        x = sampler.step(x, k, seeded(1, k))
    arrived = (sampler.times[6] == 0).nonzero()[:, 0]
    seen = sampler.predict_clean(x, 6, seeded(0)).features
    assert len(arrived) == 2 and torch.equal(seen[:, arrived], x.features[:, arrived])


@pytest.mark.parametrize("head", [0, 1], ids=["whole", "head"])
@pytest.mark.parametrize("sizes", BLOCKS.values(), ids=BLOCKS)
def test_the_cache_changes_nothing(sizes, head):
    cached = of_network(head, sizes, eta=1.0)
    plain = of_network(head, sizes, eta=1.0)
    plain.denoiser = Recomputed(plain.denoiser, sizes)
    a, b = sample(cached, 4, seeded(7)), sample(plain, 4, seeded(7))
    assert torch.allclose(a.features, b.features, atol=1e-5)


class Recomputed:
    """Both copies of the whole row at every step."""

    def __init__(self, guesses, sizes):
        self.network, self.component = guesses.network, guesses.component
        self.blocks = block_of(sizes)

    def begin(self, x):
        return x

    def open(self, x, lo, hi):
        return x

    keep = open

    def __call__(self, x, t, lo, hi):
        a, sigma = levels(self.component, t, x.features)
        noisy = x.features / (a.square() + sigma.square()).sqrt()
        said = self.network(x, noisy, t.float().expand(len(x), -1), self.blocks)
        return clean_guess(said, x.features, a, sigma)[:, lo:hi]


def test_blocks_cost_what_is_asked():
    assert (
        block_sampler((4,), 3).evaluated == 4 * 4 and block_sampler((1,) * 4, 3).evaluated == 4 * 4
    )
    assert block_sampler((2, 2), (3, 1)).evaluated == 2 * 4 + 2 * 2
    assert block_sampler(even_blocks(4, 2), 3, lag=1).evaluated == 2 * 2 * 5


def test_rows_of_another_length_than_the_front_are_refused():
    target = JointGaussian(*correlated(3))
    sampler = ContinuousBlockSampler(target, target.canvas, make_front(COMPONENT, (4,), 3))
    with pytest.raises(ValueError, match="front is over 4 items, got rows of 3"):
        sampler.init(2, seeded(0))
