"""Molecules in space as one system of three components: positions R, atom types X and bonds A.

R is in units of `positions.scale` angstrom and has its mean over the atoms taken away, as has its
noise (Hoogeboom et al. 2022, arXiv 2203.17003). X and A are one-hot vectors times their scale
under free Gaussian noise (ibid. sec. 3.3; joint with bonds as in MiDi, Vignac et al. 2023, arXiv
2302.09048). A larger scale is a component that is decided earlier on the way to the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor

from scidiff.core import Rng, normal
from scidiff.data.points import BOND_CLASSES, PointState
from scidiff.processes.gaussian import (
    Component,
    ContinuousDenoiser,
    GaussianProcess,
    Parts,
    centred,
    iid,
)
from scidiff.processes.schedules import VP, Linear, Schedule, alpha

_FORBID = {"extra": "forbid"}  # an unknown key of a recipe is an error
_SCHEDULES: dict[str, type[Linear] | type[VP]] = {"linear": Linear, "vp": VP}


def symmetric_pairs(z: Tensor, mask: Tensor | None) -> Tensor:
    """Noise of pairs (B, N, N, E): symmetric, with a zero diagonal, n (n - 1) / 2 E free normals
    of variance 1."""
    N = z.shape[1]
    upper = torch.ones(N, N, dtype=torch.bool, device=z.device).triu(1)
    z = z * upper[..., None]
    z = z + z.transpose(1, 2)
    return z if mask is None else z * (mask[:, :, None] & mask[:, None, :])[..., None]


# ---------------------------------------------------------------- as recipes and configs give it


@dataclass(frozen=True)
class PointNoise:
    """The noise of one component, and what its loss counts."""

    kind: Literal["linear", "vp"] = "linear"
    scale: float = 1.0  # of positions: angstrom that are 1; of one-hot vectors: what stands for 1
    weight: float = 1.0

    __pydantic_config__ = _FORBID

    def __post_init__(self) -> None:
        if self.kind not in _SCHEDULES:
            raise ValueError(f"noise must be one of {', '.join(_SCHEDULES)}, got {self.kind!r}")
        if not (self.scale > 0 and self.weight >= 0):
            raise ValueError(
                "scale must be positive and weight 0 or more, got "
                f"{self.scale} and {self.weight}"
            )

    def schedule(self) -> Schedule:
        return _SCHEDULES[self.kind]()


@dataclass(frozen=True)
class PointSystem:
    """The system (R, X, A) of a recipe or a model's config.

    Times of training are t = 1 / (1 + exp(-(mean + spread z))), z ~ N(0, 1) (Esser et al. 2024,
    arXiv 2403.03206, sec. 3.1): negative means look more at places near the data.
    """

    positions: PointNoise = PointNoise(scale=1.4)
    types: PointNoise = PointNoise()
    bonds: PointNoise | Literal[False] = PointNoise()  # False: not modelled
    mean: float = -0.9
    spread: float = 1.4

    __pydantic_config__ = _FORBID

    def __post_init__(self) -> None:
        if not self.spread > 0:
            raise ValueError(f"spread must be positive, got {self.spread}")

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Self:
        """Read the record that a config holds."""
        R, X, A = (table[name] for name in ("positions", "types", "bonds"))
        bonds: PointNoise | Literal[False] = PointNoise(**A) if A else False
        return cls(PointNoise(**R), PointNoise(**X), bonds, table["mean"], table["spread"])

    @property
    def noises(self) -> tuple[PointNoise, ...]:
        """Of positions, types and, where they are modelled, bonds."""
        found = (self.positions, self.types)
        return (*found, self.bonds) if self.bonds else found

    @property
    def num_bonds(self) -> int:
        """Bond classes of a pair; 0 where bonds are not modelled."""
        return BOND_CLASSES if self.bonds else 0

    def components(self) -> tuple[Component, ...]:
        """Components of (R, X, A): centred, free and symmetric noise."""
        projections = (centred, iid, symmetric_pairs)
        return tuple(
            Component(noise.schedule(), project)
            for noise, project in zip(self.noises, projections, strict=False)
        )

    def inward(self, x: PointState) -> PointState:
        """Molecules in angstrom and one-hot vectors as a chain has them: centred and scaled."""
        R = centred(x.positions, x.mask) / self.positions.scale
        if not self.bonds:
            return x.moved((R, x.types * self.types.scale))
        if x.bonds is None:
            raise ValueError("this system has bonds, but those of the molecules are not known")
        return x.moved((R, x.types * self.types.scale, x.bonds * self.bonds.scale))

    def outward(self, x: PointState) -> PointState:
        """Invert `inward`, but for the place of the centre."""
        parts = (
            x.positions * self.positions.scale,
            *(p / n.scale for p, n in zip(x.parts[1:], self.noises[1:], strict=True)),
        )
        return x.moved(parts)


# ---------------------------------------------------------------- the process


class PointDenoiser(ContinuousDenoiser[PointState], Protocol):
    """The clean guess of a system, which also says it as probabilities."""

    def said(self, x: PointState, t: Tensor) -> Parts:
        """Clean positions (B, N, 3), log p of types (B, N, K), log p of bonds (B, N, N, E)."""
        ...

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_in, c_skip and c_out of the positions, float64."""
        ...


class PointNetwork(Protocol):
    """A network that guesses clean molecules under any system."""

    def denoiser(self, system: PointSystem) -> PointDenoiser: ...


@dataclass(frozen=True)
class PointProcess:
    """Denoising of molecules whose state is in angstrom and one-hot vectors.

    The loss of a row, at t by `PointSystem`, is
        w_R sum_i |D_i - r_i|^2 / c_out(t)^2 - w_X sum_i log p(x_i) - w_A sum_{i<j} log p(a_ij),
    with p the network's law of each class given everything noisy. The first term is the error of
    the network's own output, of equal variance at every t (Karras et al. 2022, eq. 8); the mean
    of a one-hot vector is its law, so the others train the same clean guess as a squared error
    would (Dieleman et al. 2022, arXiv 2211.15089), with the gradient of a classifier.
    """

    system: PointSystem = PointSystem()

    def noise(self, x0: PointState, t: Tensor, rng: Rng) -> PointState:
        """Draw x_t given x0 in angstrom at times t (B,), in the units of the chain."""
        process = GaussianProcess(self.system.components())
        return process.noise(self.system.inward(x0), t, rng)

    def times(self, rows: int, rng: Rng) -> Tensor:
        """Times of training (B,)."""
        return torch.sigmoid(self.system.mean + self.system.spread * normal((rows,), rng))

    def loss(self, network: PointNetwork, x0: PointState, rng: Rng) -> Tensor:
        """Unreduced loss (B,)."""
        t = self.times(len(x0), rng).to(x0.positions.device)
        return torch.stack(self.losses(network.denoiser(self.system), x0, t, rng)).sum(0)

    def losses(self, denoiser: PointDenoiser, x0: PointState, t: Tensor, rng: Rng) -> Parts:
        """Weighted loss (B,) of each component at times t (B,)."""
        clean = self.system.inward(x0)
        guess, *laws = denoiser.said(self.noise(x0, t, rng), t)
        c_out = denoiser.scales(t)[2].to(guess)
        error = (guess - clean.positions).square().flatten(1).sum(1) / c_out**2
        weights = [noise.weight for noise in self.system.noises]
        nats = [-(x0.types * laws[0]).flatten(1).sum(1)]
        if x0.bonds is not None and len(laws) > 1:
            nats.append(-(x0.bonds * laws[1]).flatten(1).sum(1) / 2)
        return tuple(w * part for w, part in zip(weights, (error, *nats), strict=True))


def signal(schedule: Schedule, t: Tensor) -> Tensor:
    """alpha / sigma^2 of t: what log p of a class gains for every unit of its noisy entry."""
    return alpha(schedule, t) / schedule.sigma(t) ** 2

