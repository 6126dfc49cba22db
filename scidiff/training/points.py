"""Molecules in space as training has them: rows that are kept and held out, in batches of about
one size."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scidiff.core import ScidiffError
from scidiff.data.conditions import Conditions
from scidiff.data.points import PackedPoints, PointState, ToldSizes
from scidiff.data.tokens import Vocabulary
from scidiff.processes.continuous_blocks import Items
from scidiff.processes.points import PointProcess, PointSystem
from scidiff.training.batches import DealtBatches
from scidiff.training.plan import Stage


@dataclass
class MoleculeBatches(DealtBatches):
    """Batches of molecules of about one number of atoms, in angstrom; `species` (M,) is the type
    of every atom of `points`."""

    points: PackedPoints
    species: np.ndarray
    batch_size: int
    seed: int = 0
    pool: int = 64

    def __post_init__(self) -> None:
        if len(self.points) == 0:
            raise ValueError("there is nothing to train on: 0 molecules")
        self.batch_size = min(self.batch_size, len(self.points))

    @property
    def sizes(self) -> np.ndarray:
        return self.points.counts

    def units(self, x0: PointState | Items) -> Tensor:
        """Atoms, ()."""
        return x0.mask.sum()


@dataclass
class PointBatches(MoleculeBatches):
    """Batches of molecules as states of one-hot types, of `num_types` in all."""

    num_types: int = field(kw_only=True)
    conditions: np.ndarray | None = None  # (N, C) float32

    def rows(self, which: np.ndarray) -> PointState:
        """Molecules `which` (B,), padded to the largest of them."""
        x0 = self.points.padded(which, self.species, self.num_types)
        if self.conditions is None:
            return x0
        return replace(x0, condition=torch.from_numpy(self.conditions[which]))


@dataclass(frozen=True)
class Molecules:
    """The molecules of a recipe in space, trained on and held out."""

    vocabulary: Vocabulary  # symbols of atom types
    train: PackedPoints
    validation: PackedPoints
    species: tuple[NDArray[np.int64], NDArray[np.int64]]  # (M,) of train and of validation
    strings: Sequence[str]  # SMILES of the training molecules, for the novelty filter

    @property
    def longest(self) -> int:
        """Atoms of the largest molecule."""
        return int(self.train.counts.max())

    @property
    def length_counts(self) -> list[int]:
        """How many training molecules have n atoms, n = 0, 1, ..."""
        return np.bincount(self.train.counts).tolist()


@dataclass(frozen=True)
class PreparedPoints(Molecules):
    """The molecules of a recipe and what is known of them: the `stages.Rows` of points."""

    conditions: Conditions | None = None  # what molecules are told besides
    told: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None  # (N, C) of both

    @property
    def told_sizes(self) -> dict[str, list[list[float]]] | None:
        """What molecules of each size are told, as a model's config holds it."""
        if self.told is None:
            return None
        law = ToldSizes.fit(self.train.counts, self.told[0])
        return {"mean": law.mean.tolist(), "spread": law.spread.tolist()}

    @property
    def digest(self) -> str:
        """SHA-256 of vocabulary and molecules: what a run must find again to be the same run."""
        found = hashlib.sha256(repr((self.vocabulary, len(self.train))).encode())
        for table in (self.train, self.validation):
            for name in ("counts", "numbers", "positions", "charges", "pairs", "orders"):
                rows = getattr(table, name)
                found.update(b"" if rows is None else rows.tobytes())
        for told in self.told or ():
            found.update(told.tobytes())
        return found.hexdigest()

    def batches(self, size: int, seed: int, held: bool = False) -> PointBatches:
        """Batches of `size` training molecules, or of those held out."""
        return PointBatches(
            self.validation if held else self.train,
            self.species[held],
            size,
            seed,
            num_types=len(self.vocabulary.symbols),
            conditions=None if self.told is None else self.told[held],
        )

    def process(self, stage: Stage) -> PointProcess:
        """The process of a stage on these molecules. Raises ScidiffError for one of tokens, and
        for bonds that are not known."""
        if stage.process != "points":
            raise ScidiffError(
                f"molecules in space are trained by process = 'points', got {stage.process!r}"
            )
        system = stage.points or PointSystem()
        if system.bonds and self.train.bond_counts is None:
            raise ScidiffError(
                "the bonds of these molecules are not known: set points.bonds = false and "
                "network.bonds = false"
            )
        return PointProcess(system)


def prepare_points(
    points: PackedPoints,
    strings: Sequence[str],
    vocabulary: Vocabulary,
    species: NDArray[np.int64],
    validation: int,
    seed: int,
    told: Mapping[str, Sequence[Any]] | None = None,
    conditions: Conditions | None = None,
) -> PreparedPoints:
    """Shuffle molecules by `seed` and hold out `validation` of them.

    species: the type (M,) of every atom. told: by name, what each molecule is told besides, as
    `conditions` (those of the model that is continued, else fitted) write it.
    """
    if validation >= len(points):
        raise ScidiffError(
            f"data.validation must be below the number of rows ({len(points)}), got {validation}"
        )
    order = np.random.default_rng(seed).permutation(len(points))
    held, kept = order[:validation], order[validation:]
    tables = (points.take(kept), points.take(held))
    of_atom = np.split(species, points.starts[1:-1])
    types = tuple(_joined([of_atom[i] for i in rows]) for rows in (kept, held))
    texts = [strings[i] for i in kept]
    if not told:
        return PreparedPoints(vocabulary, *tables, types, texts)  # type: ignore[arg-type]
    conditions = conditions or Conditions.fit(told)
    rows = conditions.encode(told, len(points))
    return PreparedPoints(
        vocabulary, *tables, types, texts, conditions, (rows[kept], rows[held])  # type: ignore[arg-type]
    )


def _joined(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
