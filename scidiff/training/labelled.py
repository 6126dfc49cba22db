"""Labelled rows of letters cut into batches; batch i of a run is a function of (seed, i) alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scidiff.processes.supervised import LabelledRows


@dataclass(frozen=True)
class LabelledBatches:
    """Shuffled batches, each epoch a fresh permutation; the last incomplete one is left out."""

    letters: NDArray[np.int8]  # (N, L), -1 behind the end
    target: NDArray[np.generic]  # (N,) int64 class, or (N, C) float32
    batch_size: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not len(self.letters) or len(self.letters) != len(self.target):
            raise ValueError(f"there must be as many targets as rows and at least one, got "
                             f"{len(self.target)} for {len(self.letters)}")

    def __len__(self) -> int:
        return len(self.letters)

    def __call__(self, step: int, rank: int = 0, world: int = 1) -> LabelledRows:
        """Batch `step`, every world-th row of it."""
        size = min(self.batch_size, len(self))
        epoch, i = divmod(step, len(self) // size)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self))
        return self.rows(order[i * size:(i + 1) * size][rank::world])

    def rows(self, which: NDArray[np.int64]) -> LabelledRows:
        """Rows `which` (B,), cut behind the longest of them."""
        letters = self.letters[which]
        width = max(int((letters >= 0).sum(1).max()), 1)
        return LabelledRows(torch.from_numpy(letters[:, :width].astype(np.int64)),
                            torch.from_numpy(self.target[which]))

    def units(self, x0: LabelledRows) -> Tensor:
        """Rows, ()."""
        return torch.tensor(len(x0))

    def once(self) -> Iterator[LabelledRows]:
        """All rows once, in stored order (validation)."""
        for i in range(0, len(self), self.batch_size):
            yield self.rows(np.arange(i, min(i + self.batch_size, len(self))))
