"""Targets with a closed-form clean guess, as states and denoisers of the continuous engine."""

from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scidiff.core import Stacked
from scidiff.networks.gdss import EdgeScore, GDSSConfig, GraphDenoiser, NodeScore
from scidiff.processes.gaussian import Component
from scidiff.processes.schedules import VE, VP, alpha
from scidiff.testing import GaussianMixture


@dataclass(frozen=True)
class Points(Stacked):
    """Any number of vectors (B, d), one a component."""

    parts: tuple[Tensor, ...]
    guesses: tuple[tuple[Tensor, ...], ...] = ()

    @property
    def mask(self):
        return None

    def moved(self, parts, guesses=()):
        return replace(self, parts=parts, guesses=guesses)


def moved(target, device):
    """The same mixture on `device`."""
    if device == "cpu":
        return target
    there = copy(target)
    for name in ("weights", "means", "variances"):
        setattr(there, name, getattr(target, name).to(device))
    return there


class Oracle:
    """The exact clean guess of independent mixtures, one a component."""

    def __init__(self, targets, schedules, device="cpu"):
        self.targets, self.rows = [moved(target, device) for target in targets], 0
        self.components = tuple(Component(s) for s in schedules)

    def __call__(self, x, t):
        self.rows += len(x)
        levels = ((alpha(c.schedule, t), c.schedule.sigma(t)) for c in self.components)
        return tuple(
            target.denoised(part, *level)
            for target, part, level in zip(self.targets, x.parts, levels, strict=True)
        )

    def canvas(self, n, rng):
        return Points(tuple(g.means.new_zeros(n, g.means.shape[1]) for g in self.targets))


def gaussian(mean=0.3, sd=0.5, schedule=None, device="cpu"):
    """One Gaussian in one dimension."""
    target = GaussianMixture([1.0], [[mean]], [[sd]])
    return Oracle([target], [schedule or VP(0.1, 20.0)], device)


def chain_law(oracle, sampler):
    """Exact mean and variance of the finished chain for one Gaussian: its steps are affine in
    (1, z_0 .. z_K), so push those coefficients through the sampler's own rows."""
    schedule, target = oracle.components[0].schedule, oracle.targets[0]
    mean0, v = float(target.means), float(target.variances)
    steps, times = sampler.num_steps, sampler.times[:-1].cpu()
    level, sigma = alpha(schedule, times), schedule.sigma(times)
    gain = level * v / (level**2 * v + sigma**2)
    shift = mean0 * (1 - gain * level)  # D = gain x + shift
    x = torch.zeros(steps + 2, dtype=torch.float64)  # coefficients of (1, z_0 .. z_K)
    x[1] = schedule.prior_std
    one = torch.eye(steps + 2, dtype=torch.float64)
    rows = sampler.tables[0][:steps].cpu()
    guesses = [gain[0] * x + shift[0] * one[0]] * (rows.shape[1] - 2)  # the newest first
    for k, (a, *w, b) in enumerate(rows):
        guesses = [gain[k] * x + shift[k] * one[0], *guesses[: len(w) - 1]] if k else guesses
        x = a * x + sum(v * g for v, g in zip(w, guesses, strict=True)) + b * one[k + 2]
    end = gain[-1] * x + shift[-1] * one[0]
    return float(end[0]), float(end[1:].square().sum())


MIXED = (VP(0.1, 1.0), VE(0.2, 1.0))  # X and A of ZINC250k


def tiny_graph_denoiser(attention=False, schedules=None, features=3):
    """Small random score networks on X (VP) and A (VE)."""
    torch.manual_seed(0)
    sizes = dict(features=features, hidden=8, depth=2, c_hidden=4, attention_dim=8, heads=2)
    network_x = NodeScore(GDSSConfig(attention=attention, **sizes))
    return GraphDenoiser(network_x, EdgeScore(GDSSConfig(**sizes)), *schedules or MIXED).eval()
