"""Cut a large run into chunks that can be drawn anywhere, in any order, again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

from scidiff.core import seeded

Piece = TypeVar("Piece")


def in_chunks(
    n: int,
    chunk: int,
    seed: int,
    fn: Callable[[int, torch.Generator], Piece],
    *,
    device: torch.device | str = "cpu",
    denoiser: Any = None,
    first: int = 0,
) -> Iterator[Piece]:
    """Cut n into chunks of `chunk` and yield fn(size, rng) of each, chunk j seeded by (seed, j).

    What is drawn depends on (n, chunk, seed) alone, not on workers, resuming (`first` is the chunk
    to start at) or micro-batches. Where a chunk runs out of memory, the `micro_batch` of
    `denoiser` (rows of one network call, None for all) is halved once, with a warning, and the
    chunk drawn again from its seed; the second time the error goes through.
    """
    if n < 1 or chunk < 1:
        raise ValueError(f"n and chunk must be at least 1, got n={n} and chunk={chunk}")
    may_halve = hasattr(denoiser, "micro_batch")
    for j in range(first, -(-n // chunk)):
        size = min(chunk, n - j * chunk)
        try:
            piece = fn(size, seeded(seed, j, device))
        except torch.OutOfMemoryError:
            if not may_halve:
                raise
            may_halve = False
            halved = max(1, (denoiser.micro_batch or size) // 2)
            warnings.warn(f"out of memory: now {halved} rows a network call", stacklevel=2)
        else:
            yield piece
            continue
        denoiser.micro_batch = halved
        yield fn(size, seeded(seed, j, device))  # outside the handler, which holds on to memory
