"""Keys and values of written tokens, kept although they should change: an approximation.

In a network whose positions all see each other a token that is written changes what its layers
say everywhere, so nothing can be kept exactly, as `block_cache` keeps finished blocks. What they
say of tokens that stand for some time changes little, though, and may be read again only now and
then (dKV-Cache, Ma et al. 2025, arXiv 2505.15781; dLLM-Cache, Liu et al. 2025, arXiv 2506.06295).
A row then reads what it hides and what is new in it, not all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from scidiff.core import ScidiffError, Shared, Stacked
from scidiff.data.tokens import PAD, TokenState
from scidiff.networks.block_cache import check_memory, entered
from scidiff.networks.layers import Seen
from scidiff.networks.token_denoiser import KEYS_A_CALL, TokenDenoiser
from scidiff.networks.token_transformer import TokenTransformer

FORGOTTEN = -1  # the age of a row of which nothing is kept


@dataclass(frozen=True)
class Refresh:
    """Which tokens are read again.

    delayed: a token is read once more at the first reading that shows it, and kept from then on;
    kept at once it would be what was said of its MASK. Else (periodic) it is kept from the next
    reading of the whole row. every: how often the whole row is read, each reading of it counted;
    None is never again, 1 always, which is exact.
    """

    delayed: bool
    every: int | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"a row must be read every 1 or more readings, got {self.every}")
        if self.every is None and not self.delayed:
            raise ValueError("a periodic refresh needs its period, got none")

    @classmethod
    def read(cls, text: str) -> Self:
        """From "delayed", "delayed:R" or "periodic:R". Raises ValueError for anything else."""
        found = re.fullmatch(r"(delayed)(?::([1-9]\d*))?|(periodic):([1-9]\d*)", text)
        if found is None:
            raise ValueError(
                "approximate_cache must be delayed, delayed:R or periodic:R, the whole row read "
                f"every R >= 1 readings, got {text!r}"
            )
        every = found[2] or found[4]
        return cls(found[1] is not None, None if every is None else int(every))


@dataclass(frozen=True)
class KeptTokens(Stacked):
    """What every layer last said of the tokens of rows.

    A row takes (2 * depth + 1) * width numbers a position: 0.9 MB for 200 positions of a network
    with 4 layers of 128 in float32.
    """

    ids: Tensor  # (B, L) int64 the tokens that keys and values are of
    last: Tensor  # (B, L) int64 the row when it was last read
    age: Tensor  # (B,) int64 readings since the whole row was read, or FORGOTTEN
    keys: Shared  # values (R, depth, 2, H, L + 1, head_dim); the 0 is blank, position L too
    trunk: Shared  # values (R, L, D) what was last said
    condition: Tensor | None = None  # (B, C) what the network was told

    @classmethod
    def blank(cls, network: TokenTransformer, x: TokenState, dtype: torch.dtype) -> Self:
        """Nothing kept of the rows of x. Raises ScidiffError where it would not fit in memory."""
        c, (B, L), device = network.config, x.ids.shape, x.ids.device
        each = 2 * c.depth * c.width * (L + 1) * dtype.itemsize
        check_memory(B, each, device)
        keys = torch.zeros((), dtype=dtype, device=device)
        keys = keys.expand(1, c.depth, 2, c.heads, L + 1, c.width // c.heads)
        trunk = torch.zeros((), device=device).expand(1, L, network.trunk_width)
        none = torch.zeros(B, dtype=torch.int64, device=device)
        age = torch.full_like(none, FORGOTTEN)
        return cls(x.ids, x.ids, age, Shared(keys, none), Shared(trunk, none), x.condition)

    def changed(self, x: TokenState) -> tuple[Tensor, Tensor]:
        """Which rows (B,) of x are not as they were last read, and of which of them nothing that
        is kept is right."""
        new = self.age == FORGOTTEN
        if x.condition is not None and self.condition is not None:
            new = new | (x.condition != self.condition).any(1)
        return new | (x.ids != self.last).any(1), new


class ApproximateDenoiser:
    """A `TokenDenoiser` that reads of a row what it hides and what `refresh` asks for.

    The prediction is approximate: a kept token is what it was said to be among other neighbours.
    A row in which nothing has changed is not read. `rows` counts network rows, whole or not,
    `positions` the tokens read. What is kept travels in the state with its particle. The host has
    to look at what has changed, so a step is not one graph.
    """

    block_size: int | None = None

    def __init__(self, inner: TokenDenoiser, refresh: Refresh) -> None:
        check_keeps(inner)
        self.inner, self.refresh, self.positions = inner, refresh, 0
        self.mask_id, self.vocab_size = inner.mask_id, inner.vocab_size

    @property
    def rows(self) -> int:
        return self.inner.rows

    @property
    def micro_batch(self) -> int | None:
        return self.inner.micro_batch

    @micro_batch.setter
    def micro_batch(self, rows: int | None) -> None:
        self.inner.micro_batch = rows

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """Trunk output (B, L, D) at x of whole rows, exact."""
        return self.inner(x, k)

    def log_probs(self, trunk: Tensor) -> Tensor:
        """(B, M, D) -> (B, M, V) float32, normalised, MASK = -inf."""
        return self.inner.log_probs(trunk)

    @torch.no_grad()
    def recall(self, x: TokenState, k: int | Tensor) -> tuple[Tensor, KeptTokens]:
        """Trunk output (B, L, D) at x, at tokens that are not read what was last said of them;
        and what is kept from there on."""
        cache = x.cache
        if not isinstance(cache, KeptTokens) or cache.ids.shape != x.ids.shape:
            cache = KeptTokens.blank(self.inner.network, x, self.inner.dtype)
        changed, new = cache.changed(x)
        open_ = (x.ids == self.mask_id).any(1)
        due, every = changed & open_, self.refresh.every
        whole = due if every == 1 else due & (new | (cache.age + 1 == every))
        out, written = cache.trunk.dense(), []
        for rows, width in self.inner.chunks(x.ids, whole):
            told, keys = self._whole(x[rows], width)
            out[rows] = told
            written.append((rows, keys))
        for rows, width in self._parts(self._news(x, cache), due & ~whole):
            told, keys = self._part(x[rows], cache[rows], width)
            out[rows] = told
            written += [(rows, keys)] if self.refresh.delayed else []
        return out, self._kept(x, cache, out, open_, due, whole, written)

    def _news(self, x: TokenState, cache: KeptTokens) -> Tensor:
        """Positions (B, L) whose keys and values are not those of their token."""
        return ((x.ids != cache.ids) | (x.ids == self.mask_id)) & (x.ids != PAD)

    def _parts(self, news: Tensor, due: Tensor) -> Iterator[tuple[Tensor, int]]:
        """The rows that are `due` (B,), together where about as much of them is new: micro-batches
        and the most positions that are."""
        count = news.sum(1)
        rows = count.argsort(descending=True)
        rows = rows[due[rows]]
        while len(rows):
            width = int(count[rows[0]])
            size = max(1, min(self.inner.chunk(width), KEYS_A_CALL // news.shape[1]))
            part, rows = rows.tensor_split([size])
            yield part, width

    def _whole(self, x: TokenState, width: int) -> tuple[Tensor, Tensor]:
        """Read rows up to column `width`: what `bidirectional` computes there."""
        net, L = self.inner.network.config, x.ids.shape[1]
        cut = replace(x, ids=x.ids[:, :width], trunk=None, cache=None)
        self.positions += int((cut.ids != PAD).sum())
        kept = torch.zeros(
            len(x), net.depth, 2, net.heads, L + 1, net.width // net.heads,
            dtype=self.inner.dtype, device=x.ids.device,
        )  # fmt: skip

        def layer(i: int) -> Seen:
            def seen(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
                kept[:, i, 0, :, :width], kept[:, i, 1, :, :width] = keys, values
                return keys, values

            return seen

        places = torch.arange(width, device=x.ids.device)[None]
        mask = (cut.ids != PAD)[:, None, None, :]
        with self.inner.asked(cut) as network:
            told = network.behind(cut.ids, places, mask, [layer(i) for i in range(net.depth)])
        gone = x.ids == PAD  # of which a row alone would not have read as many
        kept.masked_fill_(F.pad(gone, (0, 1))[:, None, None, None, :, None], 0.0)
        return F.pad(told.float(), (0, 0, 0, L - width)).masked_fill(gone[..., None], 0.0), kept

    def _part(self, x: TokenState, cache: KeptTokens, width: int) -> tuple[Tensor, Tensor]:
        """Read what is new in rows, at most `width` positions of each, beside what is kept."""
        L, news = x.ids.shape[1], self._news(x, cache)
        self.positions += int(news.sum())
        kept, heads = cache.keys.dense(), self.inner.network.config.heads  # a copy
        places = news.int().argsort(dim=1, descending=True, stable=True)[:, :width]
        to = places.masked_fill(~news.gather(1, places), L)  # rows with less new lose the rest
        index = to[:, None, :, None].expand(-1, heads, -1, kept.shape[-1])

        def layer(i: int) -> Seen:
            def seen(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
                for side, new in enumerate((keys, values)):
                    kept[:, i, side].scatter_(2, index, new.to(kept.dtype))
                return kept[:, i, 0].to(keys.dtype), kept[:, i, 1].to(values.dtype)

            return seen

        mask = F.pad(x.ids != PAD, (0, 1))[:, None, None, :]
        with self.inner.asked(replace(x, trunk=None, cache=None)) as network:
            layers = [layer(i) for i in range(kept.shape[1])]
            told = network.behind(x.ids, places, mask, layers).float()
        kept[..., L, :] = 0.0
        out = F.pad(cache.trunk.dense(), (0, 0, 0, 1))
        return out.scatter(1, to[..., None].expand_as(told), told)[:, :L], kept

    def _kept(
        self, x: TokenState, cache: KeptTokens, out: Tensor, open_: Tensor, due: Tensor,
        whole: Tensor, written: Sequence[tuple[Tensor, Tensor]],
    ) -> KeptTokens:  # fmt: skip
        """What is kept of rows that are `open_`, (B,) bool as are `due` and `whole`."""
        anew = due if self.refresh.delayed else whole
        keys = Shared(cache.keys.values, cache.keys.rows.masked_fill(~open_, 0))
        if written:
            rows = torch.cat([at for at, _ in written])
            keys = entered(keys, rows, [told for _, told in written], slack=1)
        age = torch.where(whole, 0, cache.age + due.long())
        return KeptTokens(
            torch.where(anew[:, None], x.ids, cache.ids),
            torch.where(due[:, None], x.ids, cache.last),
            torch.where(open_, age, FORGOTTEN),
            keys,
            Shared(out),
            x.condition,
        )


def check_keeps(denoiser: TokenDenoiser) -> None:
    """Raise ScidiffError for a network that has nothing to be kept approximately."""
    if denoiser.block_size is not None:
        raise ScidiffError(
            "approximate_cache is for networks whose positions all see each other: this one "
            "writes in blocks, and what it said of finished ones is kept exactly "
            "(prefix_cache=True); leave approximate_cache out"
        )
    if not isinstance(denoiser.network, TokenTransformer):
        raise ScidiffError(
            "approximate_cache keeps keys and values of tokens, which "
            f"{type(denoiser.network).__name__} has none of: leave it out"
        )
