"""Models that write the atoms of a molecule and then place them block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from scidiff.api.point_blocks_intake import as_written
from scidiff.api.settings import PointBlockSettings, SequenceRequest, choose, chosen
from scidiff.api.spatial import Spatial
from scidiff.core import Rng
from scidiff.data.points import PackedPoints, Points
from scidiff.data.tokens import Vocabulary, encode_rows
from scidiff.domains.molecule_3d import Molecule3DDomain, placed
from scidiff.networks.block_guesses import NetworkGuesses
from scidiff.networks.point_blocks import PointBlockNetwork
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.processes.continuous_blocks import Items, even_blocks, own_frame
from scidiff.processes.point_blocks import PointBlocks
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.continuous_blocks import ContinuousBlockSampler, Front, make_front
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.point_blocks import SequenceThenBlocks, WrittenPoints
from scidiff.samplers.step_annealing import annealed_steps
from scidiff.training.checkpoint import CheckpointError


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
        steps = annealed_steps(s.steps, s.last_steps, len(sizes), s.annealing)
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

    def encode(self, texts: Sequence[str | Points]) -> WrittenPoints:
        """Structures, or those of SMILES, as they would be written, with room for the largest
        molecule; one whose bonds nobody told stands as it is."""
        given = [placed(text) for text in texts]
        molecules = [one if one.bonds is None else as_written(one) for one in given]
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
