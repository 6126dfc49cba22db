"""Molecules in space as training of sequence-then-structure has them: rows of atoms in a fixed
order, with their places."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from scidiff.core import ScidiffError
from scidiff.data.tokens import FIRST_SYMBOL
from scidiff.processes.continuous_blocks import Items
from scidiff.processes.point_blocks import PointBlockProcess, PointBlocks
from scidiff.training.plan import Stage
from scidiff.training.points import MoleculeBatches, Molecules


class ItemBatches(MoleculeBatches):
    """Batches of molecules as rows of tokens and places."""

    def rows(self, which: np.ndarray) -> Items:
        """Molecules `which` (B,), padded to the largest of them."""
        counts, starts = self.points.counts[which], self.points.starts[which]
        mask = np.arange(int(counts.max())) < counts[:, None]
        atoms = (starts[:, None] + np.arange(mask.shape[1]))[mask]
        places = np.zeros((*mask.shape, 3), np.float32)
        tokens = np.zeros(mask.shape, np.int64)
        places[mask], tokens[mask] = self.points.positions[atoms], self.species[atoms]
        tokens[mask] += FIRST_SYMBOL
        x, ids, here = (torch.from_numpy(v) for v in (places, tokens, mask))
        return Items(x, ids, here)


@dataclass(frozen=True)
class PreparedItems(Molecules):
    """The molecules of a recipe in the order in which they are written: the `stages.Rows` of
    sequence-then-structure."""

    conditions: None = None

    @property
    def digest(self) -> str:
        """SHA-256 of vocabulary and molecules: what a run must find again to be the same run."""
        found = hashlib.sha256(repr((self.vocabulary, len(self.train))).encode())
        for table, kinds in zip((self.train, self.validation), self.species, strict=True):
            for rows in (table.counts, kinds, table.positions):
                found.update(rows.tobytes())
        return found.hexdigest()

    def batches(self, size: int, seed: int, held: bool = False) -> ItemBatches:
        """Batches of `size` training molecules, or of those held out."""
        table = self.validation if held else self.train
        return ItemBatches(table, self.species[held], size, seed)

    def process(self, stage: Stage) -> PointBlockProcess:
        """The process of a stage. Raises ScidiffError for any other."""
        if stage.process != "point_blocks":
            raise ScidiffError(
                "a network of sequence and structure is trained by process = 'point_blocks', "
                f"got {stage.process!r}"
            )
        return PointBlockProcess(stage.point_blocks or PointBlocks())
