"""Rows of numbers with a joint Gaussian law, whose block guesses are known in closed form."""

from dataclasses import replace

import torch

from scidiff.core import Tape, seeded
from scidiff.processes.continuous_blocks import Items
from scidiff.processes.gaussian import Component
from scidiff.processes.schedules import VP, alpha
from scidiff.samplers.continuous_blocks import ContinuousBlockSampler, make_front


class JointGaussian:
    """x0 ~ N(mean, cov) over L items of one feature: E[x0_w | x0_before, x_w] for a window w."""

    def __init__(self, mean, cov, schedule=None):
        self.mean, self.cov = (torch.as_tensor(v, dtype=torch.float64) for v in (mean, cov))
        self.component = Component(schedule or VP(0.1, 20.0))
        self.seen = []  # windows and times asked

    def canvas(self, n, rng):
        L = len(self.mean)
        here = torch.ones(n, L, dtype=torch.bool)
        return Items(torch.zeros(n, L, 1, dtype=torch.float64), here.long(), here)

    def begin(self, x):
        return x

    def open(self, x, lo, hi):
        return x

    def keep(self, x, lo, hi):
        return x

    def __call__(self, x, t, lo, hi):
        self.seen.append((lo, hi, t))
        schedule, S = self.component.schedule, self.cov
        a, sigma = alpha(schedule, t[lo:hi]), schedule.sigma(t[lo:hi])
        told = torch.cat([torch.ones(lo, dtype=torch.float64), a])  # clean before the window
        noise = torch.cat([torch.zeros(lo, dtype=torch.float64), sigma**2])
        seen = told[:, None] * S[:hi, :hi] * told + noise.diag()
        gain = torch.linalg.solve(seen, (S[lo:hi, :hi] * told).mT).mT  # (w, hi)
        error = x.features[:, :hi, 0] - told * self.mean[:hi]
        return (self.mean[lo:hi] + error @ gain.mT)[..., None]


def correlated(L=4):
    """A mean and a covariance without symmetries."""
    g = torch.Generator().manual_seed(2)
    half = torch.randn(L, L, generator=g, dtype=torch.float64)
    return torch.linspace(
        -0.5, 0.5, L, dtype=torch.float64
    ), 0.3 * half @ half.mT + 0.1 * torch.eye(L)


def end_law(sampler, L):
    """Exact mean and covariance of the finished rows: every step is affine in all that is drawn,
    so push the zero draw and each unit draw through the sampler."""
    tape = Tape(seeded(0))
    sample(sampler, 1, tape)  # learns the shapes
    kinds = [(kind, tuple(d.shape[1:])) for kind, d in tape.draws]
    total = sum(torch.Size(shape).numel() for _, shape in kinds)
    unit = torch.cat([torch.zeros(1, total), torch.eye(total)])  # row 0 draws nothing
    parts = unit.split([torch.Size(shape).numel() for _, shape in kinds], 1)
    draws = [(k, p.reshape(-1, *s)) for (k, s), p in zip(kinds, parts, strict=True)]
    ends = sample(sampler, total + 1, Tape(seeded(0), draws)).features[..., 0]
    moves = ends[1:] - ends[0]
    return ends[0], moves.mT @ moves


def block_sampler(sizes=(3, 1), steps=3, **how):
    """Blocks of four correlated items."""
    target = JointGaussian(*correlated(sum(sizes)))
    front = make_front(target.component, sizes, steps, **how)
    return ContinuousBlockSampler(target, target.canvas, front)


def sample(sampler, n, rng):
    x = sampler.init(n, rng)
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, rng)
    return replace(x, guesses=())
