"""Conditions: hidden as often as asked in training, bound to their rows in sampling."""

import pytest
import torch
from torch.nn import functional as F

from scidiff.core import seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import smc
from scidiff.processes.conditional import ConditionalProcess
from scidiff.processes.masked import MaskedProcess
from scidiff.samplers.compose import ClassifierFree, ConditionalDenoiser
from scidiff.samplers.masked import FixedCanvas, MaskedSampler

MASK = 5


class Echo:
    """Predicts the token that its condition names, or any of the symbols where it is hidden."""

    def __init__(self):
        self.condition = self.shown = None

    def given(self, condition, shown):
        bound = Echo()
        bound.condition, bound.shown = self.condition, self.shown = condition, shown
        return bound

    def bidirectional(self, ids, t=None):
        wanted = F.one_hot(self.condition[:, 0].long(), MASK + 1) * 3.0
        logits = torch.where(self.shown[:, None], wanted, 0.0)
        return logits[:, None].expand(*ids.shape, -1) + (0 if t is None else t[:, None, None])

    def log_probs(self, trunk):
        dead = torch.tensor([1, 1, 0, 0, 0, 1]).bool()
        return trunk.masked_fill(dead, float("-inf")).log_softmax(-1)


def rows(n):
    return TokenState(torch.full((n, 4), 3), condition=torch.full((n, 1), 3.0))


def test_conditions_are_hidden_as_often_as_asked():
    network, process = Echo(), ConditionalProcess(MaskedProcess(MASK), dropout=0.25)
    loss = process.loss(network, rows(20_000), seeded(0))
    hidden = (~network.shown).double().mean()
    assert abs(hidden - 0.25) < 4 * (0.1875 / 20_000) ** 0.5
    sure, free = 4 * -torch.tensor([3.0, 0, 0]).log_softmax(0)[0], 4 * torch.tensor(3.0).log()
    assert torch.allclose(loss, torch.where(network.shown, sure, free), atol=1e-5)


@pytest.mark.parametrize("dropout, shown", [(0.0, True), (1.0, False)])
def test_always_and_never(dropout, shown):
    network = Echo()
    ConditionalProcess(MaskedProcess(MASK), dropout).loss(network, rows(100), seeded(0))
    assert (network.shown == shown).all()


def test_noise_leaves_conditions_alone():
    process = ConditionalProcess(MaskedProcess(MASK))
    noisy = process.noise(rows(3), torch.ones(3), seeded(0))
    assert (noisy.ids == MASK).all() and torch.equal(noisy.condition, rows(3).condition)


def conditional(weight, condition, **options):
    network = Echo()
    denoiser = ClassifierFree(
        ConditionalDenoiser(network, MASK), ConditionalDenoiser(network, MASK, shown=False), weight
    )
    canvas = FixedCanvas.blank(4, MASK)
    return MaskedSampler(denoiser, canvas, condition=condition, **options)


def test_each_row_follows_its_own_condition_through_branching_and_resampling():
    sampler = conditional(8.0, torch.tensor([[2.0], [4.0]]))
    x = sample(sampler, 40, seeded(0))
    assert torch.equal(x.ids, x.condition.long().expand(40, 4))
    assert (x.condition[:20] == 2).all() and (x.condition[20:] == 4).all()

    def likes(state):
        return (state.condition[:, 0] == 4).double() * 3

    guided = guided_sample(sampler, likes, 40, seeded(1), select=smc(1.0), branch=2)
    assert torch.equal(guided.x.ids, guided.x.condition.long().expand(40, 4))
    assert (guided.x.condition == 4).double().mean() > 0.7


def test_the_weight_says_how_much():
    share = [
        (sample(conditional(w, torch.tensor([[2.0]])), 4_000, seeded(2)).ids == 2).double().mean()
        for w in (0.0, 1.0, 2.0)
    ]
    for seen, w in zip(share, (0.0, 1.0, 2.0), strict=True):
        p = float((torch.tensor([3.0, 0, 0]) * w).softmax(0)[0])
        assert abs(seen - p) < 4 * (p * (1 - p) / 16_000) ** 0.5


def test_timed_networks_read_the_time():
    denoiser = ConditionalDenoiser(Echo(), MASK, timed=True)
    told = denoiser(rows(2), torch.tensor(0.5))
    assert torch.allclose(told[..., 0], torch.tensor(0.5))


@pytest.mark.parametrize("make, message", [
    (lambda: ConditionalProcess(MaskedProcess(MASK), 1.5), r"dropout must be in \[0, 1\]"),
    (lambda: ConditionalProcess(MaskedProcess(MASK)).loss(
        Echo(), TokenState(torch.full((2, 4), 3)), seeded(0)), "rows with a condition"),
    (lambda: conditional(1.0, None).init(2, seeded(0)), "the state has no condition"),
    (lambda: TokenState(torch.full((2, 4), 3), condition=torch.zeros(3, 1)),
     "condition must have 2"),
])  # fmt: skip
def test_impossible_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
