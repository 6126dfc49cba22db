"""The transformer over blocks of features: who hears whom, and nothing is recomputed."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from scidiff.networks.block_guesses import NetworkGuesses
from scidiff.networks.continuous_blocks import (
    ContinuousBlocks,
    ContinuousBlocksConfig,
    two_copy_mask,
)
from scidiff.processes.continuous_blocks import Items, block_of, even_blocks
from scidiff.processes.gaussian import Component
from scidiff.processes.schedules import Linear

B, L = 3, 7
LENGTHS = torch.tensor([7, 5, 2])


def network(head=0, seed=0, max_length=8, **changes):
    torch.manual_seed(seed)
    sizes = {"width": 16, "heads": 2, "depth": 2, "token_depth": 1, "head_depth": head}
    net = ContinuousBlocks(ContinuousBlocksConfig(5, max_length, **{**sizes, **changes}))
    for p in net.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.2)
    return net.double().eval()


def rows(seed=1):
    g = torch.Generator().manual_seed(seed)
    mask = torch.arange(L) < LENGTHS[:, None]
    x = torch.randn(B, L, 3, generator=g, dtype=torch.float64) * mask[..., None]
    return Items(x, torch.randint(5, (B, L), generator=g), mask)


def asked(seed=2):
    """Noisy features and a time for every item."""
    g = torch.Generator().manual_seed(seed)
    noisy = torch.randn(B, L, 3, generator=g, dtype=torch.float64)
    return noisy, torch.rand(B, L, generator=g, dtype=torch.float64)


def test_the_two_copies_hear_what_they_may():
    assert two_copy_mask(block_of((1, 2))).int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [1, 0, 0, 0, 1, 1],
        [1, 0, 0, 0, 1, 1],
    ]


@pytest.mark.parametrize("head", [0, 2], ids=["whole", "head"])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_block_alone_is_told_what_both_copies_tell_it(size, head):
    net, x, (noisy, t) = network(head), rows(), asked()
    x.mask[0, 1] = False  # absent items may stand anywhere
    sizes = even_blocks(L, size)
    together = net(x, noisy, t, block_of(sizes))
    state, lo = replace(x, context=net.read(x), kept=net.room(x)), 0
    for n in sizes:
        hi = lo + n
        state = net.open(state, lo, hi)
        alone = net.guess(state, noisy[:, lo:hi], t[:, lo:hi], lo, hi)
        here = x.mask[:, lo:hi]
        assert torch.allclose(alone[here], together[:, lo:hi][here], atol=1e-10)
        state, lo = net.keep(state, lo, hi), hi


@pytest.mark.parametrize("head", [0, 2], ids=["whole", "head"])
def test_a_guess_depends_on_earlier_clean_blocks_and_its_own_noisy_one_alone(head):
    net, x, (noisy, t) = network(head), rows(), asked()
    blocks = block_of((2, 3, 2))
    noisy = noisy.requires_grad_()
    clean = x.features.clone().requires_grad_()
    said = net(replace(x, features=clean), noisy, t, blocks)
    said[0, 2:5].square().sum().backward()
    assert clean.grad[0, :2].all() and not clean.grad[0, 2:].any()
    assert noisy.grad[0, 2:5].all() and not noisy.grad[0, :2].any()
    assert not noisy.grad[0, 5:].any() and not clean.grad[1:].any()


def test_absent_items_and_other_rows_are_not_heard():
    net, x, (noisy, t) = network(), rows(), asked()
    blocks = block_of((3, 3, 1))
    said = net(x, noisy, t, blocks)
    alone = Items(x.features[1:2, :5], x.tokens[1:2, :5], x.mask[1:2, :5])
    cut = net(alone, noisy[1:2, :5], t[1:2, :5], blocks[:5])
    assert torch.allclose(cut, said[1:2, :5], atol=1e-12)


@pytest.mark.parametrize("head", [0, 2], ids=["whole", "head"])
def test_everything_that_is_told_is_heard(head):
    net, x, (noisy, t) = network(head), rows(), asked()
    blocks = block_of(even_blocks(L, 3))
    said = net(x, noisy, t, blocks)
    tokens = replace(x, tokens=(x.tokens + 1) % 5)
    features = replace(x, features=x.features + 1)
    assert not torch.allclose(net(tokens, noisy, t, blocks)[0], said[0])
    assert not torch.allclose(net(features, noisy, t, blocks)[0, 3:], said[0, 3:])
    assert not torch.allclose(net(x, noisy, t + 0.1, blocks)[0], said[0])


def test_the_transformer_runs_once_a_block_where_there_is_a_head():
    whole, head = (NetworkGuesses(network(d), Component(Linear()), False) for d in (0, 1))
    for guesses in (whole, head):
        x = guesses.open(guesses.begin(rows()), 0, 3)
        for _ in range(10):
            guesses(x, torch.linspace(0.1, 0.9, L, dtype=torch.float64), 0, 3)
        guesses.keep(x, 0, 3)
    assert whole.asked == B * 3 * 2 * (10 + 1) and head.asked == B * 3 * (2 + 10 + 2)


def test_what_is_kept_does_not_reach_the_parent():
    net, x = network(), rows()
    state = replace(x, context=net.read(x), kept=net.room(x))
    child = net.keep(state, 0, 3)
    assert not state.kept.any() and child.kept[..., :3, :].any()
    assert not child.kept[..., 3:, :].any()


def test_a_fresh_network_guesses_the_skip():
    net = ContinuousBlocks(ContinuousBlocksConfig(5, 8, width=16, heads=2)).double()
    guesses = NetworkGuesses(net, Component(Linear()))
    x = guesses.begin(rows())
    t = torch.full((L,), 0.5, dtype=torch.float64)
    found = guesses(x, t, 0, L)
    assert torch.allclose(found, x.features, atol=1e-12)  # .5 x / (.5^2 + .5^2)


@pytest.mark.parametrize(
    "wrong", [{"tokens": 0}, {"width": 12, "heads": 4}, {"depth": 0}], ids=["tokens", "width", "0"]
)
def test_a_config_that_cannot_be_built_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        ContinuousBlocksConfig(**{"tokens": 5, "max_length": 8, **wrong})


def test_rows_that_are_too_long_or_not_begun_are_refused():
    with pytest.raises(ValueError, match="reads at most 4"):
        network(max_length=4).read(rows())
    with pytest.raises(ValueError, match="begin"):
        network().keep(rows(), 0, 3)


# ---------------------------------------------------------------- hidden states and places


def told(x, width=6, seed=3):
    g = torch.Generator().manual_seed(seed)
    return replace(x, told=torch.randn(B, L, width, generator=g, dtype=torch.float64))


def test_hidden_states_are_heard_by_all_and_must_be_told():
    net, x, (noisy, t) = network(hidden=6), rows(), asked()
    blocks = block_of(even_blocks(L, 3))
    said, other = (net(told(x, seed=seed), noisy, t, blocks) for seed in (3, 4))
    assert (said[0] != other[0]).all()
    with pytest.raises(ValueError, match="hidden states of width 6, got none"):
        net(x, noisy, t, blocks)
    with pytest.raises(ValueError, match=r"width 0, got \(3, 7, 6\)"):
        network()(told(x), noisy, t, blocks)


@pytest.mark.parametrize("head", [0, 2], ids=["whole", "head"])
def test_where_items_are_turns_attention_alike_alone_and_together(head):
    net, x, (noisy, t) = network(head, width=32, spatial=2), rows(), asked()
    blocks = block_of(even_blocks(L, 3))
    together = net(x, noisy, t, blocks)
    net.waves.mul_(0)
    assert not torch.allclose(net(x, noisy, t, blocks)[0], together[0])
    net = network(head, width=32, spatial=2)
    state, lo = replace(x, context=net.read(x), kept=net.room(x)), 0
    for n in even_blocks(L, 3):
        hi = lo + n
        state = net.open(state, lo, hi)
        alone = net.guess(state, noisy[:, lo:hi], t[:, lo:hi], lo, hi)
        here = x.mask[:, lo:hi]
        assert torch.allclose(alone[here], together[:, lo:hi][here], atol=1e-10)
        state, lo = net.keep(state, lo, hi), hi


@pytest.mark.parametrize("head", [0, 1], ids=["whole", "head"])
def test_items_that_are_not_there_are_left_out_and_cost_nothing(head):
    net, x = network(head), rows()
    every, few = (NetworkGuesses(net, Component(Linear()), c) for c in (False, True))
    t = torch.linspace(0.1, 0.9, L, dtype=torch.float64)
    states = [g.open(g.keep(g.begin(x), 0, 3), 3, 7) for g in (every, few)]
    said = [g(s, t, 3, 7) for g, s in zip((every, few), states, strict=True)]
    here = x.mask[:, 3:]
    assert torch.allclose(said[0][here], said[1][here], atol=1e-12)
    assert not said[1][2].any()  # the third row has two items, and is not asked
    assert every.rows == 3 and few.rows == 2


@pytest.mark.parametrize("wrong", [{"spatial": -1}, {"hidden": -1}, {"spatial": 2, "width": 16}])
def test_sizes_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        ContinuousBlocksConfig(**{"tokens": 5, "max_length": 8, "heads": 2, "width": 16, **wrong})
