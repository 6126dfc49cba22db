"""Molecules in space as a sequence of atoms and then, block by block, their places."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor
from torch.nn import functional as F

from scidiff.core import Rng, uniform
from scidiff.data.tokens import EOS, PAD
from scidiff.processes.continuous_blocks import (
    TIMES,
    BlockwiseGaussian,
    BlockwiseItemNetwork,
    Items,
    own_frame,
)
from scidiff.processes.gaussian import Component
from scidiff.processes.masked import cross_entropy
from scidiff.processes.schedules import Linear


class SequenceThenStructure(Protocol):
    """A network of both parts."""

    @property
    def sequence(self) -> Any:
        """What says of hidden states which atom is next (`processes.masked.TokenNetwork`)."""
        ...

    @property
    def structure(self) -> BlockwiseItemNetwork:
        """What is asked where atoms are."""
        ...

    def read(self, ids: Tensor) -> Tensor:
        """Hidden states (B, L, D): state i has read i of ids (B, L)."""
        ...


@dataclass(frozen=True)
class PointBlocks:
    """How places are trained, of a recipe or a model's config.

    sizes: block sizes, of which each batch is given one; all of them can be sampled. scale: what 1
    in a state is, in angstrom, about the spread of places in the frame of a molecule's first
    atoms. times: "block", one noise level a block, or "rising", levels that do not decrease within
    a block (what a `lag` in sampling asks for). structure: weight of the error of places beside
    the nats of atoms.
    """

    sizes: tuple[int, ...] = (1, 2, 4, 8, 29)
    scale: float = 1.9
    times: str = "block"
    structure: float = 1.0

    __pydantic_config__ = {"extra": "forbid"}  # an unknown key of a recipe is an error

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(
                f"point_blocks.sizes must be at least one block size of 1 or more, got "
                f"{list(self.sizes)}"
            )
        for name in ("scale", "structure"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"point_blocks.{name} must be positive, got {getattr(self, name)}"
                )
        if self.times not in TIMES:
            raise ValueError(
                f"point_blocks.times must be one of {', '.join(TIMES)}, got {self.times!r}"
            )

    @property
    def component(self) -> Component:
        """The noise of places: the straight path."""
        return Component(Linear())

    def inward(self, x0: Items) -> Items:
        """Molecules in angstrom, placed anyhow, in their own frame and the units of a state."""
        return replace(x0, features=own_frame(x0.features, x0.mask) / self.scale)


def with_end(x0: Items) -> Tensor:
    """The sequence that atoms are: ids (B, L + 1), EOS behind the last atom and PAD behind it."""
    ids = F.pad(x0.tokens.masked_fill(~x0.mask, PAD), (0, 1), value=PAD)
    return ids.scatter(1, x0.mask.sum(1, keepdim=True), EOS)


@dataclass(frozen=True)
class PointBlockProcess:
    """Autoregression over atoms, and diffusion of the places of every block told the atoms, their
    hidden states and the clean blocks before it.

    The loss of a molecule of n atoms is -log p(atoms and their end) in nats, exact, plus
    structure * n times that of `BlockwiseGaussian`.
    """

    settings: PointBlocks

    def noise(self, x0: Items, t: Tensor, rng: Rng) -> Items:
        """Draw every place at its own time, t (B, L); the atoms are kept."""
        return self._blocks(self.settings.sizes[0]).noise(self.settings.inward(x0), t, rng)

    def loss(self, network: SequenceThenStructure, x0: Items, rng: Rng) -> Tensor:
        """Unreduced loss (B,) of molecules in angstrom."""
        sizes = self.settings.sizes
        size = sizes[min(int(uniform((), rng) * len(sizes)), len(sizes) - 1)]
        ids = with_end(x0)
        said = network.read(ids)
        nats = (cross_entropy(network.sequence, said, ids) * (ids != PAD)).sum(1)
        told = replace(self.settings.inward(x0), told=said[:, 1:])
        placed = self._blocks(size).loss(network.structure, told, rng)
        return nats + self.settings.structure * x0.mask.sum(1) * placed

    def _blocks(self, size: int) -> BlockwiseGaussian:
        return BlockwiseGaussian(self.settings.component, size, self.settings.times)
