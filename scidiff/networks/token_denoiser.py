"""A token network as a sampler sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from scidiff.core import ScidiffError
from scidiff.data.tokens import PAD, TokenState
from scidiff.networks.block_cache import PrefixCache, Scratch, WrittenBlock, finished, look
from scidiff.networks.token_transformer import GivenTokens, TokenTransformer
from scidiff.processes.block_sizes import check_block_size

TOKENS_A_CALL = 1024  # that fit the cache of a processor
KEYS_A_CALL = 16_384  # positions whose keys and values are laid side by side at once


class TokenDenoiser:
    """A TokenTransformer as the sampler sees it: evaluate a state, read log-probabilities where
    needed. Conditions of the state are told to the network unless `shown` is False.

    On the CPU only unfinished rows and columns up to the last block in use are evaluated, in
    micro-batches of about 1,000 tokens that fit the cache; on a GPU the whole batch runs as it
    is, so nothing waits for the device. `micro_batch` bounds the rows of one network call.

    With `prefix_cache`, `recall` keeps the keys and values of finished blocks in the state and
    evaluates what is new alone: the same output up to rounding, for as much memory as
    `PrefixCache` states. The host has to look at how far rows are, so None means: where it may
    (`compact`). It takes a network that writes in blocks.
    """

    def __init__(
        self,
        network: TokenTransformer,
        block_size: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        micro_batch: int | None = None,
        compact: bool | None = None,
        shown: bool = True,
        prefix_cache: bool | None = None,
    ) -> None:
        if block_size is not None:
            length = network.config.max_length
            check_block_size(block_size, length, why="the model's length", error=ScidiffError)
        self.network, self.block_size, self.dtype = network.eval(), block_size, dtype
        self.micro_batch, self.shown, self.rows = micro_batch, shown, 0
        self.mask_id, self.vocab_size = network.mask_id, network.config.vocab_size
        on_cpu = next(network.parameters()).device.type == "cpu"
        self.compact = on_cpu if compact is None else compact
        if prefix_cache and block_size is None:
            raise ScidiffError(
                "prefix_cache=True needs a network that writes in blocks: here every position "
                "sees all others, so each token that is written changes what was said of every "
                "position; leave prefix_cache out"
            )
        blocks = block_size is not None and block_size < network.config.max_length
        self.prefix_cache = blocks and (self.compact if prefix_cache is None else prefix_cache)
        self._scratch = Scratch()

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """Trunk output (B, L, D) at x; zero where `compact` found nothing left to say."""
        if self.compact:
            return self._compacted(x)
        if self.micro_batch is None:
            return self._evaluate(x)
        rows = torch.arange(len(x), device=x.ids.device).split(self.micro_batch)
        return torch.cat([self._evaluate(x[r]) for r in rows])

    @torch.no_grad()
    def recall(self, x: TokenState, k: int | Tensor) -> tuple[Tensor, PrefixCache | None]:
        """Trunk output (B, L, D) at x, zero but in each row's current block, and what is kept from
        there on; without `prefix_cache` the output of a plain call."""
        if not self.prefix_cache or self.block_size is None or self.block_size >= x.ids.shape[1]:
            return self(x, k), None
        cache = x.cache
        if not isinstance(cache, PrefixCache) or cache.block_size != self.block_size:
            cache = PrefixCache.blank(self.network, x, self.block_size, self.dtype)
        first, end = cache.known(x, self.mask_id), self._columns(x.ids)
        out = untouched(*x.ids.shape, self.network.trunk_width, device=x.ids.device)
        written: list[WrittenBlock] = []
        for rows, width in self._windows(first, end):
            part = x[rows]
            kept = self._scratch.read(cache, rows, int(first[rows].max()), width)
            with self.asked(part) as network:
                trunk, keys = look(network, part, kept, first[rows], width, self.block_size)
            last = (width - 1) % self.block_size + 1  # positions of the current block
            here = end[rows, None] - last + torch.arange(last, device=rows.device)
            out[rows[:, None], here] = trunk[:, -last:].float()
            written += finished(keys[..., :-last, :], rows, first[rows], self.block_size)
        return out, cache.keep(x, written, self.mask_id) if written else cache

    def _windows(self, first: Tensor, end: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Rows (n,) whose `first` (B,) blocks are kept and that are read up to column `end` (B,),
        together where they lack as many columns: micro-batches and that number."""
        width = (end - first * (self.block_size or 1)).masked_fill(end == 0, 0)
        order = first.argsort(stable=True)
        for size in width.unique().tolist():
            if size:
                rows = order[width[order] == size]
                most = KEYS_A_CALL // int(end[rows].max())
                chunk = max(1, min(self.chunk(size), most))
                yield from ((part, size) for part in rows.split(chunk))

    @torch.no_grad()
    def log_probs(self, trunk: Tensor) -> Tensor:
        """(B, M, D) -> (B, M, V) float32, normalised, MASK = -inf."""
        return self.network.log_probs(trunk)

    @torch.no_grad()
    def _evaluate(self, x: TokenState) -> Tensor:
        with self.asked(x) as network:
            if self.block_size is None:
                return network.bidirectional(x.ids).float()
            return network.prefix(x.ids, self.block_size).float()

    @contextmanager
    def asked(self, x: TokenState) -> Iterator[TokenTransformer | GivenTokens]:
        """The network in its precision, told what the rows of x are asked to be like."""
        self.rows += len(x)
        low = self.dtype == torch.bfloat16
        with torch.autocast(x.ids.device.type, torch.bfloat16, enabled=low):
            if not self.shown or x.condition is None:
                yield self.network
            else:
                everyone = torch.ones(len(x), dtype=torch.bool, device=x.ids.device)
                yield self.network.given(x.condition, everyone)

    def _compacted(self, x: TokenState) -> Tensor:
        """Evaluate unfinished rows only, each micro-batch cut to the columns it needs."""
        ids, x = x.ids, replace(x, trunk=None)
        out = untouched(*ids.shape, self.network.trunk_width, device=ids.device)
        for rows, width in self.chunks(ids):
            part = x[rows]
            out[rows, :width] = self._evaluate(replace(part, ids=part.ids[:, :width]))
        return out

    def chunks(self, ids: Tensor, among: Tensor | None = None) -> Iterator[tuple[Tensor, int]]:
        """Rows of ids (B, L), of those `among` (B,) bool, that are evaluated together, and up to
        which column: where it is `compact` unfinished ones alone, longest first."""
        needed = self._columns(ids) if self.compact else torch.full_like(ids[:, 0], ids.shape[1])
        if among is not None:
            needed = needed.masked_fill(~among, 0)
        rows = torch.argsort(needed, stable=True)
        rows = rows[needed[rows] > 0]
        while len(rows):
            widest = int(needed[rows[-1]])
            size = self.chunk(widest)
            yield rows[-size:], widest
            rows = rows[:-size]

    def _columns(self, ids: Tensor) -> Tensor:
        """How many columns each row needs: up to its end, or to the end of its first block with a
        MASK; 0 if finished."""
        hidden = ids == self.mask_id
        if self.block_size is None:
            behind = (ids != PAD).flip(1).int().argmax(1)  # PADs may also stand inside a row
            return torch.where(hidden.any(1), ids.shape[1] - behind, 0)
        end = (hidden.int().argmax(1) // self.block_size + 1) * self.block_size
        return torch.where(hidden.any(1), end.clamp(max=ids.shape[1]), 0)

    def chunk(self, width: int) -> int:
        """How many rows of `width` positions are evaluated at once."""
        return min(max(1, TOKENS_A_CALL // width), self.micro_batch or TOKENS_A_CALL)


def untouched(*shape: int, device: torch.device) -> Tensor:
    """Zeros, whose memory on a CPU is not written before somebody does: most of what a trunk has
    room for stays as it is, and filling it costs more than a call of a small network."""
    if device.type != "cpu":
        return torch.zeros(shape, device=device)
    return torch.from_numpy(np.zeros(shape, dtype=np.float32))
