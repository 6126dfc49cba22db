"""How many steps each block gets: fewer where more is known."""

from __future__ import annotations

import math
from collections.abc import Callable

from scidiff.messages import nearest

ANNEALING: dict[str, Callable[[float], float]] = {
    "linear": lambda u: u,
    "cosine": lambda u: (1 - math.cos(math.pi * u)) / 2,
    "two-stage": lambda u: float(u >= 0.5),
}


def annealed_steps(
    first: int, last: int | None, blocks: int, law: str = "linear"
) -> tuple[int, ...]:
    """Steps of every block, from `first` down to `last`: a block that is told more has less left
    to decide (Zhao et al. 2025, DiSA, arXiv 2505.20297). Without a `last` all blocks have `first`.

    Fits wherever a block is denoised in steps: coordinates, tokens, graphs. law: "linear",
    "cosine" or "two-stage". Raises ValueError as `check_annealing` does, or for no block.
    """
    check_annealing(first, last, law)
    if blocks < 1:
        raise ValueError(f"steps are annealed over at least 1 block, got {blocks}")
    share = [ANNEALING[law](b / max(blocks - 1, 1)) for b in range(blocks)]
    return tuple(round(first + ((last or first) - first) * u) for u in share)


def check_annealing(steps: int, last_steps: int | None, annealing: str) -> None:
    """Refuse, by the names of the settings, less than one step, more at the end than at the
    start, and an unknown law or one that nothing follows."""
    if annealing not in ANNEALING:
        raise ValueError(
            f"annealing must be one of {', '.join(ANNEALING)}, got {annealing!r}"
            f"{nearest(annealing, ANNEALING)}"
        )
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if last_steps is not None and not 1 <= last_steps <= steps:
        raise ValueError(
            f"last_steps must be in 1 .. {steps}, the steps of the first block, got {last_steps}"
        )
    if last_steps is None and annealing != "linear":
        raise ValueError(f"annealing goes down to last_steps, got {annealing!r} without them")
