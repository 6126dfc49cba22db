"""Samplers whose step is several steps of another one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scidiff.core import Rng, Sampler, Shared
from scidiff.data.tokens import PAD, TokenState
from scidiff.samplers.around import Around
from scidiff.samplers.blocks import blocks_left
from scidiff.samplers.masked import MaskedSampler


class StridedSampler:
    """Take `stride` steps of `inner` as one; the law of the result is inner's own.

    Candidates that branch from a parent then differ by a whole stretch of text or time before they
    are compared: for a chain that writes one token a step, a look-ahead tells stretches apart far
    better than single tokens (look-ahead at block ends). A `log_ratio` that the inner steps report
    is summed over the stretch.
    """

    def __init__(self, inner: Sampler[Any], stride: int) -> None:
        if stride < 1:
            raise ValueError(f"stride must be at least 1, got {stride}")
        self.inner, self.stride = inner, stride
        self.num_steps, self.stochastic = -(-inner.num_steps // stride), inner.stochastic
        self.denoiser = getattr(inner, "denoiser", None)

    def init(self, n: int, rng: Rng) -> Any:
        return self.inner.init(n, rng)

    def step(self, x: Any, k: int | Tensor, rng: Rng) -> Any:
        """Steps k * stride .. (k + 1) * stride of the inner sampler, or up to its end."""
        ratios = []
        for j in range(self.stride):
            place = k * self.stride + j
            if isinstance(place, int) and place >= self.inner.num_steps:
                break
            x = self.inner.step(x, place, rng)
            ratios.append(getattr(x, "log_ratio", None))
        told = [ratio for ratio in ratios if ratio is not None]
        return replace(x, log_ratio=torch.stack(told).sum(0)) if told else x

    def predict_clean(self, x: Any, k: int | Tensor, rng: Rng) -> Any:
        return self.inner.predict_clean(x, self.place(k), rng)

    def renoise(self, clean: Any, k: int, rng: Rng) -> Any:
        return self.inner.renoise(clean, self.place(k), rng)  # type: ignore[attr-defined]

    def place(self, k: int | Tensor) -> int | Tensor:
        """The inner step that k stands for."""
        if isinstance(k, int):
            return min(k * self.stride, self.inner.num_steps)
        return (k * self.stride).clamp(max=self.inner.num_steps)


class BlockStridedSampler:
    """Write `blocks` blocks of every row as one step, on average where that is no whole number;
    the law of the result is inner's own.

    Rows that take a different number of steps for a block are all looked at where one ends: a row
    that has arrived waits while the others go on, and costs no network row where finished rows
    cost none. Random numbers belong to places in the batch, whoever waits. With all rows at one
    pace this is a `StridedSampler` of as many steps.
    """

    def __init__(self, inner: Any, blocks: float = 1) -> None:
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {blocks}")
        rows: MaskedSampler = inner if isinstance(inner, MaskedSampler) else inner.inner
        most = min(-(-rows.canvas.length // rows.block_size), rows.canvas.max_masked)
        self.inner, self.block_size = inner, rows.block_size
        self.num_steps, self.stochastic = math.ceil(most / blocks - 1e-9), inner.stochastic
        ends = (math.ceil(k * blocks - 1e-9) for k in range(self.num_steps + 1))
        self._ends = torch.tensor([min(end, most) for end in ends])
        grain = rows.sizes.sizes[0] if rows.sizes else rows.block_size
        parts, each = -(-rows.block_size // grain), torch.full((most,), grain)
        steps = parts * rows.pace.longest(each, torch.arange(most))
        self._begins = F.pad(steps.cumsum(0), (1, 0))  # of each block, the slowest row's step
        self.denoiser = inner.denoiser
        self._blank = rows.canvas.max_masked == rows.canvas.length

    def init(self, n: int, rng: Rng) -> TokenState:
        x: TokenState = self.inner.init(n, rng)
        return x

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Inner steps until every row has finished `blocks` more of its blocks, or itself."""
        left, more = self._left(x), self._end(k + 1) - self._end(k)
        goal = (left - more).clamp(min=0)
        waits = torch.zeros_like(goal, dtype=torch.bool)
        parked, told = [], []
        # where rows hide more or less, no number of steps is known to be the last
        for place in self._places(k if self._blank else torch.zeros_like(goal) + k, more):
            x = self.inner.step(x, place, rng)
            if x.log_ratio is not None:
                told.append(x.log_ratio.masked_fill(waits, 0.0))
            left = self._left(x)
            if bool((left <= goal).all()):
                break
            arrived = (left > 0) & (left <= goal)
            if bool(arrived.any()):
                parked.append(_parked(x, arrived))
                waits, x = waits | arrived, self._hidden_nowhere(x, arrived)
        x = _rejoined(x, parked)
        return replace(x, log_ratio=torch.stack(told).sum(0)) if told else x

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        guess: TokenState = self.inner.predict_clean(x, self.place(k), rng)
        return guess

    def renoise(self, clean: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        noisy: TokenState = self.inner.renoise(clean, self.place(k), rng)
        return noisy

    def _left(self, x: TokenState) -> Tensor:
        return blocks_left(x.ids == self.denoiser.mask_id, self.block_size)

    def _hidden_nowhere(self, x: TokenState, rows: Tensor) -> TokenState:
        """Let `rows` (B,) look finished, so that steps pass them by."""
        waiting = rows[:, None] & (x.ids == self.denoiser.mask_id)
        return replace(x, ids=x.ids.masked_fill(waiting, PAD))

    def _end(self, k: int | Tensor) -> int | Tensor:
        """Blocks that are written at k."""
        return _entry(self._ends, k)

    def place(self, k: int | Tensor) -> int | Tensor:
        """The inner step at which the slowest row stands at k."""
        return _up_to(self.inner.num_steps, _entry(self._begins, self._end(k)))

    def _places(self, k: int | Tensor, blocks: int | Tensor) -> Iterator[int | Tensor]:
        """The inner steps from k on in which the slowest row writes so many blocks."""
        last, done = self.inner.num_steps - 1, self._end(k)
        begin, end = _entry(self._begins, done), _entry(self._begins, done + blocks)
        for j in range(int(torch.as_tensor(end - begin).max())):
            place = begin + j
            if isinstance(place, int) and place > last:
                return
            yield _up_to(last, place)


def _entry(table: Tensor, k: int | Tensor) -> int | Tensor:
    """The entry at k, or at each (B,); the last one behind the end."""
    if isinstance(k, int):
        return int(table[min(k, len(table) - 1)])
    return table.to(k.device)[k.clamp(max=len(table) - 1)]


def _up_to(most: int, k: int | Tensor) -> int | Tensor:
    return min(k, most) if isinstance(k, int) else k.clamp(max=most)


def _parked(x: TokenState, rows: Tensor) -> tuple[Tensor, TokenState]:
    """Which `rows` (B,) arrived, and what steps of the others would change of them."""
    at = rows.nonzero()[:, 0]
    part = replace(x, cache=None, log_ratio=None)[at]
    return at, replace(part, trunk=None if part.trunk is None else Shared(part.trunk.dense()))


def _rejoined(x: TokenState, parked: Sequence[tuple[Tensor, TokenState]]) -> TokenState:
    """The rows that went on beside those that waited."""
    if not parked:
        return x
    at, part = torch.cat([rows for rows, _ in parked]), TokenState.cat([p for _, p in parked])
    trunk = None
    if x.trunk is not None and part.trunk is not None:
        trunk = Shared(x.trunk.dense().index_copy(0, at, part.trunk.dense()))
    memory = x.memory and tuple(
        now.index_copy(0, at, then)
        if isinstance(now, Tensor) and isinstance(then, Tensor)
        else now
        for now, then in zip(x.memory, part.memory or (), strict=True)
    )
    return replace(x, ids=x.ids.index_copy(0, at, part.ids), trunk=trunk, memory=memory)


def short_blocks(sampler: Any) -> int | None:
    """The block size of a sampler that writes rows in four or more blocks of several tokens."""
    inner = sampler.inner if isinstance(sampler, Around) else sampler
    if not isinstance(inner, MaskedSampler):
        return None
    return inner.block_size if 1 < inner.block_size <= inner.canvas.length // 4 else None


def finished(sampler: Sampler[Any], x: Any) -> Tensor:
    """Rows (B,) that no step changes any more, as far as this is known: those of a masked sampler
    that hide nothing."""
    inner: Any = sampler
    while isinstance(inner, StridedSampler | BlockStridedSampler | Around) or getattr(
        inner, "same_ends", False
    ):
        inner = inner.inner
    if not isinstance(inner, MaskedSampler):
        return torch.zeros(len(x), dtype=torch.bool)
    return (x.ids != inner.denoiser.mask_id).all(1)


@torch.no_grad()
def steps_until(sampler: Any, share: float, n: int, rng: Rng) -> int:
    """Steps of a masked sampler after which this `share` of about n draws is finished."""
    condition, given = sampler.condition, getattr(sampler.canvas, "ids", None)
    sources = math.lcm(*(len(rows) for rows in (condition, given) if rows is not None))
    x = sampler.init(-(-n // sources) * sources, rng)
    for k in range(sampler.num_steps):
        if int(finished(sampler, x).sum()) >= share * len(x):
            return k
        x = sampler.step(x, k, rng)
    return int(sampler.num_steps)
