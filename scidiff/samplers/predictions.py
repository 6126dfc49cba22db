"""What token samplers ask of a network, and how its output is kept in the state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from scidiff.core import Rng, Shared
from scidiff.data.tokens import TokenState
from scidiff.processes.block_sizes import check_block_size
from scidiff.samplers.canvas import Canvas


class TokenPredictor(Protocol):
    """What the samplers of token rows ask of a network."""

    mask_id: int
    vocab_size: int
    block_size: int | None  # None: every position sees all; b: the blocks of b up to its own

    @property
    def rows(self) -> int:
        """Network rows evaluated so far."""
        ...

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """Trunk output (B, L, D) at x."""
        ...

    def log_probs(self, trunk: Tensor) -> Tensor:
        """(B, M, D) -> (B, M, V) normalised log-probabilities, MASK = -inf."""
        ...


@runtime_checkable
class BentPredictor(Protocol):
    """A TokenPredictor made of others: what it means to draw from is not normalised."""

    def log_weights(self, trunk: Tensor) -> Tensor:
        """(B, M, D) -> (B, M, V); `log_probs` is its softmax."""
        ...


@runtime_checkable
class CachingPredictor(Protocol):
    """A TokenPredictor that keeps in the state what it need not compute again."""

    def recall(self, x: TokenState, k: int | Tensor) -> tuple[Tensor, Any]:
        """Trunk output (B, L, D) at x, and what is to stand in `cache` from there on."""
        ...


def start(canvas: Canvas, condition: Tensor | None, n: int, rng: Rng) -> TokenState:
    """Draw n rows of the canvas, told `condition` (R, C)."""
    ids = canvas(n, rng)
    return TokenState(ids, condition=handed_out(condition, n, rng.device))


def handed_out(condition: Tensor | None, n: int, device: torch.device) -> Tensor | None:
    """The rows of `condition` (R, C), n / R times each: (n, C)."""
    if condition is None:
        return None
    if condition.ndim != 2 or n % len(condition):
        raise ValueError(
            f"condition must be (R, C) with R a divisor of the {n} rows, "
            f"got {tuple(condition.shape)}"
        )
    return condition.to(device).repeat_interleave(n // len(condition), 0)


def evaluate(
    denoiser: TokenPredictor, x: TokenState, k: int | Tensor, among: Tensor | None = None
) -> TokenState:
    """Store the network's output at x, reached before step k.

    Only the rows `among` (B,) are given to the network, the others keep what is stored: it is
    still right for rows in which nothing changed. Which those are the host has to know, so None
    (everyone) is the only choice inside a compiled step.
    """
    if among is None or x.trunk is None:
        trunk, cache = recalled(denoiser, replace(x, trunk=None), k)
        return replace(x, trunk=Shared(trunk), cache=cache)
    rows = among.nonzero()[:, 0]
    if not len(rows):
        return x
    told = denoiser(replace(x, trunk=None)[rows], k[rows] if isinstance(k, Tensor) else k)
    return replace(x, trunk=Shared(x.trunk.dense().index_copy(0, rows, told)))


def recalled(denoiser: TokenPredictor, x: TokenState, k: int | Tensor) -> tuple[Tensor, Any]:
    """Trunk output (B, L, D) at x, and what the denoiser keeps from there on, None if nothing."""
    if isinstance(denoiser, CachingPredictor):
        return denoiser.recall(x, k)
    return denoiser(x, k), None


def recalled_by(
    denoisers: Sequence[TokenPredictor], x: TokenState, k: int | Tensor
) -> tuple[list[Tensor], tuple[Any, ...]]:
    """The trunks of several denoisers at x, and what each of them keeps."""
    kept = x.cache if isinstance(x.cache, tuple) else (None,) * len(denoisers)
    told = [
        recalled(denoiser, replace(x, cache=cache), k)
        for denoiser, cache in zip(denoisers, kept, strict=True)
    ]
    return [trunk for trunk, _ in told], tuple(cache for _, cache in told)


def stored(x: TokenState) -> Shared:
    """The network's output at x; raise ValueError where the state has none."""
    if x.trunk is None:
        raise ValueError(
            "the state stores no prediction; make it with init, step or renoise of this sampler"
        )
    return x.trunk


def everywhere(denoiser: TokenPredictor, x: TokenState) -> Tensor:
    """Log-probabilities everywhere (B, L, V); the head runs once on what particles share."""
    trunk = stored(x)
    if len(trunk.values) < len(trunk):
        return denoiser.log_probs(trunk.values)[trunk.rows]
    return denoiser.log_probs(trunk.dense())


def in_block(
    denoiser: TokenPredictor, x: TokenState, hidden: Tensor, block_size: int
) -> Tensor:
    """Log-probabilities (B, L, V) in each row's first block that hides any of `hidden` (B, L), 0
    elsewhere; the head runs there alone."""
    L = hidden.shape[1]
    if block_size >= L:
        return everywhere(denoiser, x)
    start = hidden.int().argmax(1) // block_size * block_size
    within = torch.arange(block_size, device=hidden.device)
    there = (start[:, None] + within).clamp(max=L - 1)
    told = denoiser.log_probs(stored(x).gather(there))
    out = told.new_zeros(len(hidden), L, told.shape[-1])
    return out.scatter(1, there[..., None].expand_as(told), told)


def column(k: int | Tensor) -> int | Tensor:
    """A step, or one a row (B,), as it stands beside (B, L)."""
    return k[:, None] if isinstance(k, Tensor) else k


def remembering(x: TokenState, generated: Tensor, *more: Tensor | Shared) -> TokenState:
    """Keep which positions (B, L) each row generates, and what else its sampler needs."""
    return replace(x, memory=(generated, *more))


def known(x: TokenState, which: int = 0) -> Tensor:
    """What is kept of each row, at 0 which positions (B, L) it generates; raise ValueError where
    nothing is."""
    found = x.memory[which] if x.memory is not None and len(x.memory) > which else None
    if not isinstance(found, Tensor):
        raise ValueError(
            "the state does not say what it generates; make it with init or renoise of this "
            "sampler"
        )
    return found


def check_block(denoiser: TokenPredictor, block_size: int | None) -> None:
    """Refuse a block that a network has not been trained for; raises ValueError."""
    if block_size is not None:
        check_block_size(block_size)
    seen = denoiser.block_size
    if seen is not None and (block_size is None or seen % block_size):
        raise ValueError(
            f"block_size must divide the network's block_size {seen}, got {block_size}"
        )
