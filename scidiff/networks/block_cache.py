"""Keys and values of finished blocks, kept with the rows they belong to.

A block-causal network never reads a finished block anew, so what its layers said there is right
for good: keeping it is exact. What is kept lives in the state. Indexing moves indices alone, so
that candidates share the blocks of their parent, and nothing that was written is ever changed, so
that any state can be gone on from twice. Whether a kept block still belongs to its row is read
off the row itself: whoever changes tokens need not know of the cache.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scidiff.core import ScidiffError, Shared, Stacked
from scidiff.data.tokens import TokenState
from scidiff.networks.layers import Seen
from scidiff.networks.token_transformer import GivenTokens, TokenTransformer
from scidiff.processes.free_memory import free_bytes

LARGE = 2**30  # bytes from which on it is asked whether the memory is there


@dataclass(frozen=True)
class PrefixCache(Stacked):
    """What every layer said of the finished blocks of rows, block by block.

    A row takes 2 * depth * width numbers a position: 2.1 MB for 256 positions of a network with 4
    layers of 256 in float32, half of it in bfloat16; see `row_bytes`. Rows that share a parent
    share what it had.
    """

    ids: Tensor  # (B, L) int64 the tokens that were read there, MASK where nothing is kept
    pages: tuple[Shared, ...]  # a block each, values (R, depth, 2, H, b, head_dim); 0 is blank
    condition: Tensor | None = None  # (B, C) what the network was told

    @classmethod
    def blank(
        cls, network: TokenTransformer, x: TokenState, block_size: int, dtype: torch.dtype
    ) -> PrefixCache:
        """Nothing kept of the rows of x. Raises ScidiffError where it would not fit in memory."""
        c, (B, L), device = network.config, x.ids.shape, x.ids.device
        check_memory(B, row_bytes(network, L, dtype), device)
        shape = (1, c.depth, 2, c.heads, block_size, c.width // c.heads)
        page = torch.zeros((), dtype=dtype, device=device).expand(shape)
        none = torch.zeros(B, dtype=torch.int64, device=device)
        pages = (Shared(page, none),) * (L // block_size)  # a short last block is never read again
        return cls(torch.full_like(x.ids, network.mask_id), pages, x.condition)

    @property
    def block_size(self) -> int:
        return self.pages[0].values.shape[4]

    def known(self, x: TokenState, mask_id: int) -> Tensor:
        """How many leading blocks (B,) of the rows of x are kept as they are there."""
        right = (x.ids == self.ids) & (x.ids != mask_id)
        if x.condition is not None and self.condition is not None:
            right = right & (x.condition == self.condition).all(1, keepdim=True)
        whole = right[:, : len(self.pages) * self.block_size].unflatten(1, (-1, self.block_size))
        return whole.all(-1).int().cumprod(1).sum(1)

    def keep(self, x: TokenState, written: Sequence[WrittenBlock], mask_id: int) -> PrefixCache:
        """The cache with what was written of rows of x; later blocks of those rows are
        forgotten."""
        ids, pages, b = self.ids.clone(), list(self.pages), self.block_size
        for at in sorted({w.block for w in written}):
            parts = [w for w in written if w.block == at]
            rows = torch.cat([w.rows for w in parts])
            ids[rows, at * b : (at + 1) * b] = x.ids[rows, at * b : (at + 1) * b]
            ids[rows, (at + 1) * b :] = mask_id
            pages[at] = entered(pages[at], rows, [w.keys for w in parts])
        return replace(self, ids=ids, pages=tuple(pages), condition=x.condition)


def _nothing() -> None:
    return None


class Scratch:
    """Where blocks are laid side by side: memory that is used again at every call, since fresh
    memory costs more than what is written, and left as it is where it holds what is asked for."""

    def __init__(self) -> None:
        self._flat: Tensor | None = None
        self._cache: Callable[[], PrefixCache | None] = _nothing
        self._rows = torch.empty(0, dtype=torch.int64)
        self._shape: tuple[int, ...] = ()

    def read(self, cache: PrefixCache, rows: Tensor, most: int, room: int) -> Tensor:
        """The first `most` blocks of `rows` (n,) of a batch, and `room` more positions that are
        not filled: (depth, 2, n, H, most * b + room, head_dim), good until the next call."""
        values = cache.pages[0].values
        _, depth, _, H, b, head_dim = values.shape
        shape = (depth, 2, len(rows), H, most * b + room, head_dim)
        same = self._cache() is cache and shape == self._shape and torch.equal(rows, self._rows)
        out = self._room(shape, values)
        if not same:
            self._cache = _nothing  # until all is there
            for j, page in enumerate(cache.pages[:most]):
                out[..., j * b : (j + 1) * b, :] = _entries(page[rows]).permute(1, 2, 0, 3, 4, 5)
            self._cache, self._rows, self._shape = weakref.ref(cache), rows, shape
        return out

    def _room(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        size, flat, asked = math.prod(shape), self._flat, (like.dtype, like.device)
        if flat is None or len(flat) < size or (flat.dtype, flat.device) != asked:
            flat = self._flat = like.new_empty(size)
        return flat[:size].view(shape)


@dataclass(frozen=True)
class WrittenBlock:
    """Keys and values of a block of some rows."""

    block: int
    rows: Tensor  # (n,) int64 of the batch
    keys: Tensor  # (n, depth, 2, H, b, head_dim)


def _entries(page: Shared) -> Tensor:
    """The entries of a table that its rows point to; not copied where they stand in line."""
    start = int(page.rows[0])
    line = torch.arange(start, start + len(page.rows), device=page.rows.device)
    if torch.equal(page.rows, line):
        return page.values[start : start + len(line)]
    return page.dense()


def entered(table: Shared, rows: Tensor, entries: Sequence[Tensor], slack: int = 2) -> Shared:
    """A table with new entries for `rows` (n,), of which 0 is blank; the old ones stay where they
    are while there are at most `slack` times as many as rows point to, and none is overwritten:
    other states may point there."""
    values, where = table.values, table.rows.index_fill(0, rows, 0)
    used, place = torch.cat([where.new_zeros(1), where]).unique(return_inverse=True)
    if len(values) > slack * len(used):
        values, where = values[used], place[1:]
    where[rows] = len(values) + torch.arange(len(rows), device=rows.device)
    return Shared(torch.cat([values, *entries]), where)


def look(
    network: TokenTransformer | GivenTokens,
    x: TokenState,
    kept: Tensor,
    first: Tensor,
    width: int,
    block_size: int,
) -> tuple[Tensor, Tensor]:
    """Evaluate `width` positions of every row of x behind its `first` (B,) blocks; `kept` (depth,
    2, B, H, most + W, head_dim) holds at least these, side by side, and room for the new ones.

    Returns the trunk's output (B, W, D) and the keys and values there (depth, 2, B, H, W,
    head_dim), which stand in that room. A position sees what is kept of its own row
    and, of the new positions, its own block and earlier ones: what `prefix` computes there.
    """
    most = kept.shape[4] - width
    alike = bool((first == first[0]).all())
    places = first[:, None] * block_size + torch.arange(width, device=first.device)
    own = kept[..., most:, :]

    def layer(i: int) -> Seen:
        def seen(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            own[i, 0], own[i, 1] = keys, values
            return kept[i, 0], kept[i, 1]

        return seen

    plain = alike and width <= block_size and most == int(first[0]) * block_size
    mask = None if plain else _visible(first, places, most, block_size)
    seen = [layer(i) for i in range(len(kept))]
    return network.behind(x.ids, places[:1] if alike else places, mask, seen), own


def finished(keys: Tensor, rows: Tensor, first: Tensor, block_size: int) -> list[WrittenBlock]:
    """The blocks in keys and values (depth, 2, B, H, W, head_dim) of batch `rows` (B,) behind
    their `first` (B,) ones."""
    found = []
    for m in range(keys.shape[4] // block_size):
        block = keys[..., m * block_size : (m + 1) * block_size, :]
        entries = block.permute(2, 0, 1, 3, 4, 5)
        for at in (first + m).unique().tolist():
            here = (first + m == at).nonzero()[:, 0]
            found.append(WrittenBlock(at, rows[here], entries[here]))
    return found


def _visible(first: Tensor, places: Tensor, most: int, b: int) -> Tensor:
    """Which keys each of `places` (B, W) may attend, (B, 1, W, most + W)."""
    block = places // b
    own = block[:, :, None] >= block[:, None, :]
    kept = torch.arange(most, device=first.device) < first[:, None] * b
    return torch.cat([kept[:, None].expand(-1, places.shape[1], -1), own], 2)[:, None]


def row_bytes(network: TokenTransformer, length: int, dtype: torch.dtype) -> int:
    """Memory that a row of `length` positions takes at most."""
    return 2 * network.config.depth * network.config.width * length * dtype.itemsize


def check_memory(rows: int, each: int, device: torch.device) -> None:
    """Raise ScidiffError where the keys and values of `rows` rows of `each` bytes cannot fit."""
    if rows * each < LARGE:
        return
    room = free_bytes(device)
    if rows * each > room:
        raise ScidiffError(
            f"keys and values of {rows:,} rows take up to {rows * each / 2**30:.1f} GiB "
            f"({each / 2**20:.1f} MiB a row), {room / 2**30:.1f} GiB are free: draw fewer rows "
            "at once, or say prefix_cache=False"
        )
