"""Molecules in space whose clean guess is known, and small networks of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scidiff.core import Tape, seeded
from scidiff.data.graphs import NodeCounts
from scidiff.data.points import PointCanvas, Points, PointState
from scidiff.networks.points import PointGuess, PointScoreNetwork, PointScoreNetworkConfig
from scidiff.processes.gaussian import per_row
from scidiff.processes.points import PointSystem
from scidiff.processes.schedules import alpha

K, E = 3, 4  # atom types, bond classes
SYSTEM = PointSystem()


def centring(n: int) -> Tensor:
    """I - 11^T / n (n, n) float64: what is left of n places without their mean."""
    return torch.eye(n, dtype=torch.float64) - 1 / n


def water() -> Points:
    positions = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]
    return Points.of([8, 1, 1], positions, bonds=[[0, 1, 1], [1, 0, 0], [1, 0, 0]])


def carbon_dioxide() -> Points:
    bonds = [[0, 2, 2], [2, 0, 0], [2, 0, 0]]
    return Points.of([6, 8, 8], [[0, 0, 0], [1.16, 0, 0], [-1.16, 0, 0]], bonds=bonds)


def ammonium() -> Points:
    positions = np.random.default_rng(0).normal(size=(5, 3))
    bonds = np.zeros((5, 5), int)
    bonds[0, 1:] = bonds[1:, 0] = 1
    return Points.of([7, 1, 1, 1, 1], positions, [1, 0, 0, 0, 0], bonds)


def helium() -> Points:
    return Points.of([2], [[0, 0, 0]], bonds=[[0]])


MOLECULES = [water(), helium(), carbon_dioxide(), ammonium(), water()]


class GaussianMolecules:
    """The exact clean guess of n atoms: places N(0, C) along each axis with C (n, n) of rank n - 1
    in the centred subspace, types and bonds N(0, v) on every free entry."""

    def __init__(self, C: Tensor, v: float = 0.25, system: PointSystem = SYSTEM) -> None:
        self.C, self.v, self.rows, self.system = C, v, 0, system
        self.components = system.components()

    @classmethod
    def of(cls, n: int, **options) -> GaussianMolecules:
        raw = torch.randn(n, n, generator=torch.Generator().manual_seed(n)).double()
        P = centring(n)
        return cls(P @ (raw @ raw.T / n + 0.1 * torch.eye(n)) @ P, **options)

    def __call__(self, x: PointState, t: Tensor):
        self.rows += len(x)
        t = t.expand(len(x))
        levels = [(alpha(c.schedule, t), c.schedule.sigma(t)) for c in self.components]
        (a, s), *others = levels
        seen = a[:, None, None] ** 2 * self.C + s[:, None, None] ** 2 * centring(len(self.C))
        gain = a[:, None, None] * self.C @ torch.linalg.pinv(seen)
        guess = [gain.to(x.positions) @ x.positions]
        for part, (a, s) in zip(x.parts[1:], others, strict=True):
            guess.append(per_row(a * self.v / (a**2 * self.v + s**2), part) * part)
        return tuple(guess)

    def canvas(self, n, rng) -> PointState:
        sizes = NodeCounts.fixed(len(self.C))
        return PointCanvas(sizes, K, self.system.num_bonds, torch.float64)(n, rng)


def units(sampler, atoms: int, component: int = 0) -> tuple[Tape, int]:
    """Noise of one unit a row, in every entry of `component` of every draw of a chain in turn, and
    the number of rows: what a linear chain makes of it is its matrix."""
    shapes = [(atoms, 3), (atoms, K), (atoms, atoms, E)]
    draws = sampler.num_steps * sampler.stochastic + 1
    size = shapes[component][0] * shapes[component][1]
    size *= shapes[component][2] if component == 2 else 1
    rows, out = draws * size, []
    for k in range(draws):
        for c, shape in enumerate(shapes):
            noise = torch.zeros(rows, *shape)
            if c == component:
                noise.flatten(1)[k * size : (k + 1) * size] = torch.eye(size)
            out.append(("normal", noise))
    return Tape(seeded(0), [("uniform", torch.zeros(rows)), *out]), rows


def finished(sampler, n: int, rng) -> PointState:
    """A whole chain under one source of noise."""
    x = sampler.init(n, rng)
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, rng)
    return x


def tiny_guess(system: PointSystem = SYSTEM, **config) -> PointGuess:
    """A small network whose every weight is random, so that nothing it says is zero."""
    torch.manual_seed(0)
    sizes = dict(features=K, edge_features=system.num_bonds, width=8, edge_width=8, depth=2,
                 heads=2, vectors=3, radial=4, cutoff=4.0)  # fmt: skip
    network = PointScoreNetwork(PointScoreNetworkConfig(**{**sizes, **config})).eval()
    for p in network.parameters():
        p.data = torch.randn_like(p) * (0.5 if p.ndim > 1 else 0.1)
    return network.denoiser(system)


SIZES = PointCanvas(NodeCounts(torch.tensor([0.0, 1, 0, 1, 1, 2])), K, E)  # 1, 3, 4 or 5 atoms
