"""Models that write the atoms of a molecule and then place them block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from scidiff.api.point_blocks_intake import as_written
from scidiff.api.settings import choose, chosen
from scidiff.api.spatial import Spatial
from scidiff.core import Rng
from scidiff.data.points import PackedPoints
from scidiff.data.tokens import Vocabulary, encode_rows
from scidiff.domains.molecule_3d import Molecule3DDomain, embedded
from scidiff.networks.block_guesses import NetworkGuesses
from scidiff.networks.point_blocks import PointBlockNetwork
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.processes.continuous_blocks import Items, even_blocks, own_frame
from scidiff.processes.point_blocks import PointBlocks
from scidiff.rewards.registry import nearest
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.continuous_blocks import ContinuousBlockSampler, Front, make_front
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.point_blocks import SequenceThenBlocks, WrittenPoints
from scidiff.samplers.solvers import SOLVERS
from scidiff.samplers.step_annealing import ANNEALING, annealed_steps
from scidiff.training.checkpoint import CheckpointError


@dataclass(frozen=True)
class PointBlockSettings:
    """How a model that places atoms block by block is sampled."""

    block_size: int | None = None  # atoms placed together; None: all of them
    steps: int = 30  # of the first block
    last_steps: int | None = None  # of the last one, fewer: annealed in between; None: as many
    annealing: str = "linear"  # or cosine, two-stage
    lag: int = 0  # steps by which an atom of a block sets out behind the one before it
    solver: str = "2m"
    eta: float = 1.0  # 0 the flow, 1 the reverse SDE, above 1 more noise, taken out again
    rho: float = 1.0  # temperature of the noise
    grid: str = "time"  # where the steps lie: time, lambda or edm
    temperature: float = 1.0  # of the atoms; 1 is the model's own law

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.last_steps is not None and not 1 <= self.last_steps <= self.steps:
            raise ValueError(
                f"last_steps must be in 1 .. {self.steps}, the steps of the first block, got "
                f"{self.last_steps}"
            )
        for name, known in (("annealing", ANNEALING), ("solver", SOLVERS)):
            if (asked := getattr(self, name)) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {asked!r}"
                    f"{nearest(asked, known)}"
                )
        for name in ("lag", "eta", "rho", "temperature"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class SequenceRequest:
    """What is asked of every molecule that is drawn."""

    sequence: str | None = None  # its atoms, such as OHH, in the order in which they are placed


@dataclass(frozen=True)
class PointBlocksEngine(Spatial):
    """A network of sequence and structure with its config: makes samplers."""

    network: PointBlockNetwork
    vocabulary: Vocabulary
    config: Mapping[str, Any]
    dtype: torch.dtype = torch.float32

    unit = "atoms"
    can = "sequence=, block_size=, sample and design"
    block_causal = True  # its guess of the end stops at the block that is being written

    def __post_init__(self) -> None:
        if self.dtype != torch.float32:
            raise ValueError(f"models of molecules in space run in float32, got {self.dtype}")
        if "point_blocks" not in self.config["process"]:
            raise CheckpointError("config.json of atoms in blocks lacks process.point_blocks")

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def process(self) -> PointBlocks:
        """How the network was trained."""
        spec = self.config["process"]["point_blocks"]
        return PointBlocks(**{**spec, "sizes": tuple(spec["sizes"])})

    @property
    def most(self) -> int:
        """Atoms of the largest molecule that it can write."""
        return self.network.config.max_atoms

    @cached_property
    def domain(self) -> Molecule3DDomain:
        return Molecule3DDomain(self.vocabulary, **self.config.get("domain_options", {}))

    # ---- samplers

    def settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The settings, the config's with the user's on top, and what is asked beyond them."""
        s, request = self._chosen(overrides)
        return {**vars(s), **chosen(request)}

    def _chosen(
        self, overrides: Mapping[str, Any]
    ) -> tuple[PointBlockSettings, SequenceRequest]:
        given = {**self.config.get("sampling", {}), **overrides}
        s, request = choose((PointBlockSettings, SequenceRequest), given)
        return s, request

    def sampler(self, **overrides: Any) -> SequenceThenBlocks:
        """Build the sampler of the config's settings, with any of them overridden. Raises
        ValueError for a block size that is not in 1 .. the most atoms."""
        s, request = self._chosen(overrides)
        network = self.network.eval()
        denoiser = TokenDenoiser(network.sequence, 1, prefix_cache=False)
        canvas = self._canvas(request.sequence)
        atoms = MaskedSampler(denoiser, canvas, block_size=1, temperature=s.temperature)
        guesses = NetworkGuesses(network.structure, self.process.component)
        places = ContinuousBlockSampler(guesses, _written, self._front(s), self.device)
        return SequenceThenBlocks(atoms, places, self._read, len(self.vocabulary.symbols))

    def _front(self, s: PointBlockSettings) -> Front:
        sizes = even_blocks(self.most, self.most if s.block_size is None else s.block_size)
        last = s.steps if s.last_steps is None else s.last_steps
        steps = annealed_steps(s.steps, last, len(sizes), s.annealing)
        return make_front(
            self.process.component, sizes, steps, lag=s.lag, solver=s.solver, eta=s.eta,
            rho=s.rho, times=s.grid,
        )  # fmt: skip

    def _canvas(self, sequence: str | None) -> FixedCanvas:
        """Nothing written, or all of it."""
        if sequence is None:
            return FixedCanvas.blank(self.most, self.vocabulary.mask_id)
        if not sequence:
            raise ValueError("sequence must have at least 1 atom, got none")
        ids = encode_rows(self.vocabulary, [sequence], self.most + 1)[:, : self.most]
        return FixedCanvas(ids, self.vocabulary.mask_id)

    @torch.no_grad()
    def _read(self, ids: Tensor) -> Tensor:
        return self.network.read(ids)

    def typical_steps(self, sampler: SequenceThenBlocks) -> int:
        """Steps of every row."""
        return sampler.num_steps

    # ---- structures of objects

    def encode(self, texts: Sequence[str]) -> WrittenPoints:
        """Structures of SMILES as they would be written, with room for the largest molecule."""
        molecules = [as_written(embedded(text)) for text in texts]
        for number, one in enumerate(molecules, start=1):
            if len(one) > self.most:
                raise ValueError(
                    f"row {number} has {len(one)} atoms, the model takes at most {self.most}"
                )
        x = self.domain.state(PackedPoints.of(molecules)).widened(self.most)
        unit = self.domain.angstrom
        places = own_frame(x.positions * unit, x.mask) / unit
        return WrittenPoints(places, x.types).to(self.device)

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """Atoms of each molecule."""
        return [int(n) for n in self.encode(texts).mask.sum(1)]

    def length_log_prob(self, texts: Sequence[str]) -> Tensor:
        """0: the end is a part of what is written."""
        return torch.zeros(len(texts), dtype=torch.float64)


def _written(n: int, rng: Rng) -> Items:
    """No rows of their own: places follow a sequence."""
    raise ValueError("places are drawn where atoms are written: use the whole sampler")
