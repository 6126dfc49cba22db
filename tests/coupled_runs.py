"""Chains of the coupled mixture from common places, and how far from the exact flow they end."""

from functools import cache

import numpy as np
import torch
from coupled_mixture import CoupledMixture
from gaussian_targets import Points

from scidiff.core import seeded
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.grids import uniform_lambdas
from scidiff.samplers.probability_flow import Flow
from scidiff.samplers.rewritten import Rewritten

MIXTURE, T_END = CoupledMixture(), 1e-2
SCHEDULES = [c.schedule for c in MIXTURE.components]
START = Points(  # at t = 1
    tuple(
        sd * torch.randn(64, size, generator=seeded(1, size), dtype=torch.float64)
        for sd, size in zip((1.0, 5.0), MIXTURE.sizes, strict=True)
    )
)


def nodes(steps, schedules=SCHEDULES[:1]):
    return uniform_lambdas(schedules, steps, T_END)


def plain(scheme, denoiser=MIXTURE):
    return GaussianSampler(denoiser, MIXTURE.canvas, scheme=scheme, denoise=False)


def finish(sampler, start=START, seed=0):
    """Run a chain from given places, through the sampler's own beginning."""
    inner = getattr(sampler, "sampler", sampler)
    x = inner.arrive(start.moved(start.parts), 0)
    if isinstance(sampler, Rewritten):
        x = x.moved(x.parts, sampler.rule.begin(inner, x, 0))
    rng = seeded(seed)
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, rng)
    return x.parts


@cache
def exact():
    return Flow(MIXTURE, START).follow(START, torch.tensor([1.0, T_END]), tol=1e-10)[-1]


def error(sampler):
    gaps = [a - b for a, b in zip(finish(sampler), exact(), strict=True)]
    return float(torch.cat(gaps, 1).norm(dim=1).median())


def slopes(make, steps=(20, 40, 80)):
    errors = np.array([error(make(n)) for n in steps])
    return np.log2(errors[:-1] / errors[1:])


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(finish(a), finish(b), strict=True))


FEW = Points(tuple(torch.roll(part, 1, 1)[:16] for part in START.parts))  # other places, to fit on
