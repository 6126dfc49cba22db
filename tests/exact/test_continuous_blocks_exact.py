"""Blocks of a joint Gaussian: whatever the blocks, the law at the end is that of the data."""

import pytest
import torch
from joint_gaussian import JointGaussian, correlated, end_law, sample

from scidiff.core import seeded
from scidiff.processes.continuous_blocks import even_blocks
from scidiff.processes.schedules import VP, Linear
from scidiff.samplers.continuous_blocks import ContinuousBlockSampler, make_front
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.step_annealing import annealed_steps

L = 4


def law(steps, size, schedule=None, **how):
    """Exact mean (1, L) and covariance (L, L) of the finished rows, one above the other."""
    target = JointGaussian(*correlated(L), schedule or VP(0.1, 40.0))
    front = make_front(target.component, even_blocks(L, size), steps, **how)
    mean, cov = end_law(ContinuousBlockSampler(target, target.canvas, front), L)
    return torch.cat([mean[None], cov])


def order(laws):
    """log2 of how the error falls from one law to the next, and the error of the law that they
    extrapolate to at the order nearest to it."""
    mean, cov = correlated(L)
    truth = torch.cat([mean[None], cov])
    coarse, fine = (law - truth for law in laws)
    slope = (coarse.norm() / fine.norm()).log2().item()
    power = 2 ** round(slope)
    left = (power * fine - coarse) / (power - 1)
    return slope, left.abs().max().item()


@pytest.mark.parametrize("eta", [0.0, 1.0], ids=["ode", "sde"])
@pytest.mark.parametrize("size", [1, 3, 4])
def test_the_law_at_the_end_is_that_of_the_data_to_second_order(size, eta):
    slope, left = order(law(steps, size, solver="2m", eta=eta) for steps in (40, 80))
    assert 1.9 < slope < 2.2 and left < 6e-3


def test_fewer_steps_for_later_blocks_leave_the_law():
    laws = (law(annealed_steps(s, s // 2, 2), 2, solver="2m", eta=0.0) for s in (80, 160))
    slope, left = order(laws)
    assert 1.9 < slope < 2.2 and left < 6e-3


@pytest.mark.parametrize("share", [0.0, 0.1, 1.5])
def test_items_that_set_out_one_after_another_leave_the_law(share):
    laws = (law(s, L, lag=round(share * s), solver="exp1", eta=0.0) for s in (40, 80))
    slope, left = order(laws)
    assert 0.85 < slope < 1.1 and left < 3e-2


def test_the_straight_path_ends_on_the_same_law():
    slope, left = order(law(s, 2, Linear(), solver="2m", eta=0.0) for s in (40, 80))
    assert 1.8 < slope < 2.3 and left < 6e-3


@pytest.mark.parametrize("solver, eta", [("2m", 0.0), ("2m", 1.0), ("exp1", 1.5), ("heun", 0.0)])
def test_one_block_is_the_plain_sampler_under_the_same_seed(solver, eta):
    target = JointGaussian(*correlated(L))
    front = make_front(target.component, (L,), 7, solver=solver, eta=eta)
    ours = sample(ContinuousBlockSampler(target, target.canvas, front), 5, seeded(3))
    plain = GaussianSampler(Plain(target), target.canvas, steps=7, solver=solver, eta=eta)
    theirs = sample(plain, 5, seeded(3))
    assert torch.equal(ours.features, theirs.features)


class Plain:
    """The same guesses, as the plain engine asks for them."""

    rows = 0

    def __init__(self, target):
        self.target, self.components = target, (target.component,)

    def __call__(self, x, t):
        return (self.target(x, t.expand(L), 0, L),)
