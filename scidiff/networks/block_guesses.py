"""A network over continuous blocks as the block sampler sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from scidiff.networks.continuous_blocks import ContinuousBlocks
from scidiff.processes.continuous_blocks import Items, clean_guess, levels
from scidiff.processes.gaussian import Component

ITEMS_A_CALL = 2048  # that fit the cache of a processor


class NetworkGuesses:
    """The guesses of a network under a noise, as the block sampler asks for them.

    Nothing is recomputed: tokens are read once, clean blocks once, and with a head the
    transformer runs once a block. On the CPU (`compact`) items that are not there are left out,
    rows of one size evaluated together; elsewhere the whole batch runs as it is, so nothing waits
    for the device. `rows` counts rows of network calls, `asked` items times layers.
    """

    def __init__(
        self, network: ContinuousBlocks, component: Component, compact: bool | None = None
    ) -> None:
        self.network, self.component = network, component
        on_cpu = network.out.weight.device.type == "cpu"
        self.compact = on_cpu if compact is None else compact
        self.rows, self.asked = 0, 0

    @torch.no_grad()
    def begin(self, x: Items) -> Items:
        """Read the tokens and make room."""
        context = self.network.read(x)
        trunk = torch.zeros_like(context) if self.network.head_blocks else None
        return replace(x, context=context, kept=self.network.room(x), trunk=trunk)

    @torch.no_grad()
    def __call__(self, x: Items, t: Tensor, lo: int, hi: int) -> Tensor:
        """Clean guesses of the items lo .. hi (B, hi - lo, F); of rows that have none of them,
        if `compact`, zero."""
        if not self.compact:
            return self._guess(x, t, lo, hi)
        out = torch.zeros_like(x.features[:, lo:hi])
        x = replace(x, guesses=(), told=None)
        for rows, end in self._chunks(x.mask, lo, hi):
            out[rows, : end - lo] = self._guess(x[rows], t, lo, end)
        return out

    @torch.no_grad()
    def open(self, x: Items, lo: int, hi: int) -> Items:
        """Get ready for the items lo .. hi."""
        self._count(x, hi - lo, len(self.network.blocks) if self.network.head_blocks else 0)
        return self.network.open(x, lo, hi)

    @torch.no_grad()
    def keep(self, x: Items, lo: int, hi: int) -> Items:
        """Take the clean items lo .. hi for the blocks behind them."""
        self._count(x, hi - lo, len(self.network.blocks))
        return self.network.keep(x, lo, hi)

    def _guess(self, x: Items, t: Tensor, lo: int, hi: int) -> Tensor:
        self.rows += len(x)
        self._count(x, hi - lo, len(self.network.head_blocks) or len(self.network.blocks))
        own, here = x.features[:, lo:hi], t[lo:hi]
        a, sigma = levels(self.component, here, own)
        scale = (a.square() + sigma.square()).sqrt()
        times = here.to(own).expand(len(x), -1)
        return clean_guess(self.network.guess(x, own / scale, times, lo, hi), own, a, sigma)

    def _chunks(self, mask: Tensor, lo: int, hi: int) -> Iterator[tuple[Tensor, int]]:
        """Rows of mask (B, L) that are evaluated together, those with most items first, and behind
        which item they end."""
        place = torch.arange(1, hi - lo + 1, device=mask.device)
        last = (mask[:, lo:hi] * place).amax(1)
        rows = last.argsort(descending=True, stable=True)
        rows = rows[: int((last > 0).sum())]
        while len(rows):
            width = int(last[rows[0]])
            size = max(1, ITEMS_A_CALL // width)
            yield rows[:size], lo + width
            rows = rows[size:]

    def _count(self, x: Items, items: int, layers: int) -> None:
        self.asked += len(x) * items * layers
