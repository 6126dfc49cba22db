"""How many steps each block gets: fewer where more is known."""

from __future__ import annotations

import math
from collections.abc import Callable

ANNEALING: dict[str, Callable[[float], float]] = {
    "linear": lambda u: u,
    "cosine": lambda u: (1 - math.cos(math.pi * u)) / 2,
    "two-stage": lambda u: float(u >= 0.5),
}


def annealed_steps(first: int, last: int, blocks: int, law: str = "linear") -> tuple[int, ...]:
    """Steps of every block, from `first` down to `last`: a block that is told more has less left
    to decide (Zhao et al. 2025, DiSA, arXiv 2505.20297).

    Fits wherever a block is denoised in steps. law: "linear", "cosine" or "two-stage". Raises
    ValueError for less than one step, more at the end than at the start, or an unknown law.
    """
    if law not in ANNEALING:
        raise ValueError(f"law must be one of {', '.join(ANNEALING)}, got {law!r}")
    if not 1 <= last <= first or blocks < 1:
        raise ValueError(
            f"steps must satisfy 1 <= last <= first over at least 1 block, got first={first}, "
            f"last={last}, blocks={blocks}"
        )
    share = [ANNEALING[law](b / max(blocks - 1, 1)) for b in range(blocks)]
    return tuple(round(first + (last - first) * u) for u in share)
