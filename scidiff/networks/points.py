"""Networks on points as clean guesses: preconditioned positions, and classes by Bayes' rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from scidiff.data.buckets import Bucket, buckets, unbucket
from scidiff.data.points import PointState, pair_mask
from scidiff.networks.conditioning import Standard
from scidiff.networks.equivariant import PointNetConfig, point_network
from scidiff.processes.gaussian import Component, Parts, per_row
from scidiff.processes.points import PointSystem, signal
from scidiff.processes.schedules import alpha

PointScoreNetworkConfig = PointNetConfig
CELLS = 8000  # pairs in a group on a CPU: 24 molecules of 18 atoms; more leave the cache
Said = tuple[Tensor, Tensor, Tensor | None]


class PointScoreNetwork(nn.Module):
    """A network of `equivariant` that reads noisy molecules under any system."""

    def __init__(self, config: PointNetConfig) -> None:
        super().__init__()
        self.config = config
        self.inner = point_network(config)

    @property
    def blocks(self) -> nn.ModuleList:
        """What the trainer compiles."""
        return cast(nn.ModuleList, self.inner.blocks)

    def forward(
        self,
        positions: Tensor,
        features: Tensor,
        mask: Tensor,
        t: Tensor,
        edges: Tensor | None = None,
        condition: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Said:
        """What the network inside says of a batch as it is."""
        return self.inner(positions, features, mask, t, edges, condition, shown)

    def denoiser(self, system: PointSystem) -> PointGuess:
        """The clean guesses of this network under a system, of rows as they are told."""
        return PointGuess(self, system)

    def given(self, condition: Tensor, shown: Tensor) -> GivenPoints:
        """The network for rows with conditions (B, C) in their own units, hidden where not
        `shown` (B,) bool."""
        if not self.config.conditions:
            raise ValueError("this network was made without conditions and is given some")
        return GivenPoints(self, condition, shown)

    def told(self, conditions: Standard) -> PointScoreNetwork:
        """A copy that takes conditions, of mean and spread each, and does not heed them yet: what
        it says is what this network says. ValueError where this one takes some itself."""
        if self.config.conditions:
            raise ValueError("this network takes conditions already")
        other = PointScoreNetwork(replace(self.config, conditions=conditions))
        fresh = {k: torch.zeros_like(v) for k, v in other.state_dict().items()}  # silu(0) is 0
        other.load_state_dict({**fresh, **self.state_dict()})
        return other.train(self.training)


@dataclass(frozen=True)
class GivenPoints:
    """A network on points bound to the conditions of its rows."""

    network: PointScoreNetwork
    condition: Tensor  # (B, C)
    shown: Tensor  # (B,) bool

    def denoiser(self, system: PointSystem) -> PointGuess:
        """The clean guesses of these rows."""
        return PointGuess(self.network, system, (self.condition, self.shown))


def in_groups(
    network: PointScoreNetwork,
    positions: Tensor,
    features: Tensor,
    mask: Tensor,
    t: Tensor,
    edges: Tensor | None,
    condition: Tensor | None,
    shown: Tensor | None = None,
) -> Said:
    """Run a network on groups of molecules of one size, cut to it; rows come back in order.

    A molecule gets the output that it has alone, up to rounding. In training, on other devices
    than the CPU, and while a step is compiled, the batch runs whole.
    """
    if network.training or positions.device.type != "cpu" or torch.compiler.is_compiling():
        return network(positions, features, mask, t, edges, condition, shown)
    groups = [part for group in buckets(mask, width=1) for part in _cut(group)]
    said = [
        network(
            g.cut(positions, 1), g.cut(features, 1), g.cut(mask, 1), t[g.rows],
            None if edges is None else g.cut(edges, 2),
            *(None if told is None else told[g.rows] for told in (condition, shown)),
        )
        for g in groups
    ]  # fmt: skip
    N = mask.shape[1]
    bonds = [e for _, _, e in said if e is not None]
    return (
        unbucket([x for x, _, _ in said], groups, N, 1),
        unbucket([h for _, h, _ in said], groups, N, 1),
        unbucket(bonds, groups, N, 2) if bonds else None,
    )


def _cut(group: Bucket) -> list[Bucket]:
    most = max(1, CELLS // group.nodes**2)
    return [Bucket(rows, group.nodes) for rows in group.rows.split(most)]


class PointGuess:
    """D of every component at (x, t), from one evaluation of the network.

    Positions: D = c_skip x + c_out F(c_in x, ..), with v = alpha^2 + sigma^2 (the data has spread
    1 in its units): c_in = 1 / sqrt(v), c_skip = alpha / v, c_out = sigma / sqrt(v) (Karras et al.
    2022, table 1).
    Classes: the noise of an entry is free, so log p(class k | all) = log p(class k | the others)
    + scale alpha x_k / sigma^2 + const by Bayes' rule. The last is known; the network says the
    first, and reads each entry as its law under that evidence alone, which lies in [0, 1] at
    every noise.
    A state's condition is told to the network where `told` is True and hidden where it is False;
    (condition (B, C), shown (B,)) is told instead.
    """

    def __init__(
        self,
        network: PointScoreNetwork,
        system: PointSystem,
        told: bool | tuple[Tensor, Tensor] = True,
    ) -> None:
        self.network, self.system, self.told, self.rows = network, system, told, 0
        self.components: tuple[Component, ...] = system.components()

    def __call__(self, x: PointState, t: Tensor) -> Parts:
        """Clean guesses at time t, () or (B,), in the units of the chain; zero where nothing
        is."""
        positions, *laws = self.said(x, t)
        present = (x.mask[..., None], pair_mask(x.mask)[..., None])
        means = (
            noise.scale * law.exp() * there
            for noise, law, there in zip(self.system.noises[1:], laws, present, strict=False)
        )
        return positions, *means

    def said(self, x: PointState, t: Tensor) -> Parts:
        """Clean positions (B, N, 3), log p of types (B, N, K), log p of bonds (B, N, N, E)."""
        self.rows += len(x)
        t = t.expand(len(x))
        c_in, skip, out = (per_row(c, x.positions) for c in self.scales(t))
        evidence = [self._evidence(c, part, t) for c, part in enumerate(x.parts[1:], 1)]
        read = [e.softmax(-1).to(x.positions) for e in evidence]
        bonds = read[1] * pair_mask(x.mask)[..., None] if len(read) > 1 else None
        moved, *laws = in_groups(
            self.network, c_in * x.positions, read[0] * x.mask[..., None], x.mask, t, bonds,
            *self._condition(x),
        )  # fmt: skip
        guess = skip * x.positions + out * moved.to(x.positions)
        told = (
            (law.to(e) + e).log_softmax(-1).to(x.positions)
            for law, e in zip(laws, evidence, strict=False)
            if law is not None
        )
        return guess, *told

    def _condition(self, x: PointState) -> tuple[Tensor | None, Tensor | None]:
        if isinstance(self.told, tuple):
            return self.told
        return (x.condition if self.told else None), None

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_in, c_skip and c_out of the positions, float64."""
        schedule = self.components[0].schedule
        level, sigma = alpha(schedule, t), schedule.sigma(t)
        v = level**2 + sigma**2
        return v.rsqrt(), level / v, sigma * v.rsqrt()

    def _evidence(self, c: int, part: Tensor, t: Tensor) -> Tensor:
        """What a component's own noisy entries say of their classes, up to a constant."""
        gain = self.system.noises[c].scale * signal(self.components[c].schedule, t)
        return per_row(gain, part) * part


__all__ = ["PointGuess", "PointScoreNetwork", "PointScoreNetworkConfig"]
