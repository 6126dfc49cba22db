"""Token rows cut into batches of similar length; batch i of a run is a function of (seed, i)
alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from scidiff.data.tokens import PAD, TokenState


class Batches(Protocol):
    """What the training loop asks of its data."""

    def __len__(self) -> int:
        """Rows in all."""
        ...

    def __call__(self, step: int, rank: int = 0, world: int = 1) -> Any:
        """Clean state of batch `step`, the part of process `rank` of `world`."""
        ...

    def once(self) -> Iterator[Any]:
        """All rows once, in stored order (validation)."""
        ...

    def units(self, x0: Any) -> Tensor:
        """How many units () the loss of `x0` is divided by: tokens, atoms."""
        ...


class DealtBatches(ABC):
    """Shuffled batches of rows of about one size; batch i is a function of (seed, i) alone.

    Each epoch is a fresh permutation (`dealt`), so padding is rare and every row is seen once an
    epoch; its last incomplete batch is left out.
    """

    batch_size: int
    seed: int
    pool: int
    _epoch = -1
    _order = np.zeros((0, 0), dtype=np.int64)

    @property
    @abstractmethod
    def sizes(self) -> np.ndarray:
        """How large each row is (N,)."""

    @abstractmethod
    def rows(self, which: np.ndarray) -> Any:
        """Rows `which` (B,) as a clean state."""

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def per_epoch(self) -> int:
        return len(self) // self.batch_size

    def __call__(self, step: int, rank: int = 0, world: int = 1) -> Any:
        """Batch `step`; with several processes each takes every world-th row of it."""
        if world > self.batch_size:
            raise ValueError(
                f"a batch of {self.batch_size} rows cannot be shared by {world} processes: "
                "give each at least one row"
            )
        epoch, i = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = dealt(self.sizes, self.batch_size, self.pool, [self.seed, epoch])
        return self.rows(self._order[i][rank::world])

    def once(self) -> Iterator[Any]:
        """All rows once, in stored order (validation)."""
        for i in range(0, len(self), self.batch_size):
            yield self.rows(np.arange(i, min(i + self.batch_size, len(self))))


@dataclass
class TokenBatches(DealtBatches):
    """Batches of token rows of about one length."""

    ids: np.ndarray  # (N, L) uint8 or int16, PAD behind EOS
    batch_size: int
    seed: int = 0
    pool: int = 64
    conditions: np.ndarray | None = None  # (N, C) float32

    def __post_init__(self) -> None:
        if len(self.ids) == 0:
            raise ValueError("there is nothing to train on: 0 rows")
        self.batch_size = min(self.batch_size, len(self.ids))
        self.lengths = (self.ids != PAD).sum(1)

    @property
    def sizes(self) -> np.ndarray:
        return self.lengths

    def rows(self, which: np.ndarray) -> TokenState:
        """Rows `which` (B,), cut behind the longest of them."""
        width = int(self.lengths[which].max())
        ids = torch.from_numpy(self.ids[which, :width].astype(np.int64))
        if self.conditions is None:
            return TokenState(ids)
        return TokenState(ids, condition=torch.from_numpy(self.conditions[which]))

    def units(self, x0: TokenState) -> Tensor:
        """Tokens with EOS, ()."""
        return (x0.ids != PAD).sum()


def dealt(sizes: np.ndarray, batch_size: int, pool: int, seed: list[int]) -> np.ndarray:
    """A fresh order of rows of these `sizes` (N,) as batches (N // batch_size, batch_size): pools
    of `pool` batches are sorted by size and dealt out in random order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sizes))[: len(sizes) // batch_size * batch_size]
    size = pool * batch_size
    pools = [order[i : i + size] for i in range(0, len(order), size)]
    rows = np.concatenate([p[np.argsort(sizes[p], kind="stable")] for p in pools])
    return rng.permutation(rows.reshape(-1, batch_size))
