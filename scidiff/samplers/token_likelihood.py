"""Bounds on log p of token rows with their standard errors, by whatever process a network is read
with.

The noise of a row depends on the seed and on the row alone: its value is the same in any company
and at any place.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from scidiff.core import seeded, uniform
from scidiff.data.tokens import PAD, TokenState
from scidiff.processes.flow_bounds import symbols_only
from scidiff.processes.masked import Hidden, MaskedProcess

TOKENS_A_CALL = 8192
ROWS = 1000  # held with their draws at once


class Bound(Protocol):
    """A process whose loss bounds -log p: draw noise, then price it."""

    def corrupt(self, x0: TokenState, rng: Any) -> Any:
        """What the loss reads, a `Stacked` record of len(x0) rows."""
        ...

    def cost(self, network: Any, x: Any) -> Tensor:
        """The loss (B,) of what was drawn."""
        ...


class SymbolsOnly:
    """A network for rows whose end is given: p(token | neither EOS nor PAD), as samplers draw."""

    def __init__(self, network: Any) -> None:
        self.network = network

    @property
    def max_length(self) -> int:
        return self.network.max_length

    def given(self, condition: Tensor, shown: Tensor) -> SymbolsOnly:
        """The network for rows with conditions."""
        return SymbolsOnly(self.network.given(condition, shown))

    def bidirectional(self, ids: Tensor) -> Tensor:
        """The pass of the network inside."""
        return self.network.bidirectional(ids)

    def log_probs(self, trunk: Tensor) -> Tensor:
        """(..., D) -> (..., V), normalised over the symbols."""
        return symbols_only(self.network.log_probs(trunk)).log_softmax(-1)


def log_likelihood(
    network: Any, process: Bound, x0: TokenState, draws: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Lower bound on log p of every row of x0, in nats, and its standard error, each (B,) float64.

    A row's draws come in groups that are stratified inside, as a batch is in training, so that the
    error falls faster than 1 / sqrt(draws); it is estimated from the spread of the groups, of
    which there are 8 or more from 8 draws on. At most `draws` are made.
    """
    if draws < 2:
        raise ValueError(f"draws must be at least 2 to give a standard error, got {draws}")
    size = max(1, draws // 8)
    groups = draws // size

    def corrupted(row: Tensor) -> Iterator[Any]:
        many, rng = TokenState(row.expand(size, -1)), _stream(row, seed)
        return (process.corrupt(many, rng) for _ in range(groups))

    means = -_costs(network, process, x0, corrupted) / size
    return means.mean(1), means.std(1) / math.sqrt(groups)


def exact_log_likelihood(network: Any, process: Bound, x0: TokenState) -> tuple[Tensor, Tensor]:
    """log p of every row by a process that draws no noise (blocks of one token), and zeros."""
    value = -_costs(
        network, process, x0, lambda row: [process.corrupt(TokenState(row[None]), seeded(0))]
    )[:, 0]
    return value, torch.zeros_like(value)


def order_log_likelihood(
    network: Any, process: MaskedProcess, x0: TokenState, orders: int, seed: int
) -> tuple[Tensor, Tensor]:
    """The mean over random orders of sum_i log p(x at o_i | x at o_1 .. o_i-1), and its standard
    error, each (B,) float64: n network rows an order (any-order autoregression; Uria et al. 2014,
    arXiv 1310.1757). Each order's value is the exact log p of writing in that order.

    orders = 0: from left to right alone, the exact log p of a sampler with that order, error 0.
    """
    if orders == 1 or orders < 0:
        raise ValueError(f"orders must be 0 or at least 2, got {orders}")

    def chains(row: Tensor) -> Iterator[Any]:
        rng, in_turn = _stream(row, seed), torch.arange(len(row), device=row.device)
        keys = (uniform(row.shape, rng).to(row.device) for _ in range(orders))
        return (_chain(process, row, k) for k in (keys if orders else [in_turn]))

    values = -_costs(network, process, x0, chains)
    if not orders:
        return values[:, 0], torch.zeros_like(values[:, 0])
    return values.mean(1), values.std(1) / math.sqrt(orders)


# ---------------------------------------------------------------- draws, a row at a time


def _stream(row: Tensor, seed: int) -> torch.Generator:
    """The noise of a row: of its tokens, wherever it stands and however it is padded."""
    text = row[row != PAD].cpu().numpy().tobytes()
    name = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    return seeded(seed, name)


def _chain(process: MaskedProcess, row: Tensor, keys: Tensor) -> Hidden:
    """The row before each of its n tokens is written, lowest key first; that token alone counts.
    Where it has none, the row itself."""
    open_here = process.eligible(row[None])
    rank = keys.double().masked_fill(~open_here[0], float("inf")).argsort().argsort()
    step = torch.arange(max(1, int(open_here.sum())), device=row.device)[:, None]
    noisy = torch.where(open_here & (rank >= step), process.mask_id, row)
    return Hidden(row.expand_as(noisy), noisy, (open_here & (rank == step)).float())


# ---------------------------------------------------------------- network calls


def _costs(
    network: Any, process: Bound, x0: TokenState, draw: Callable[[Tensor], Iterable[Any]]
) -> Tensor:
    """The summed cost of each record that `draw` makes of a row, as many of every row: (B, R)
    float64."""
    return torch.cat(
        [_slab(network, process, x0[rows], draw) for rows in torch.arange(len(x0)).split(ROWS)]
    )


@torch.no_grad()
def _slab(
    network: Any, process: Bound, x0: TokenState, draw: Callable[[Tensor], Iterable[Any]]
) -> Tensor:
    """`_costs` of rows that are held at once: the network sees those of like size together, and no
    more columns than they need."""
    drawn = [list(draw(row)) for row in x0.ids]
    records = [record for of_row in drawn for record in of_row]
    device, counts = x0.ids.device, torch.tensor([len(r) for r in records])
    number = torch.arange(len(records)).repeat_interleave(counts).to(device)
    owner = number // len(drawn[0])
    x = type(records[0]).cat(records)
    block = getattr(process, "block_size", 1)
    needed = (-(-(x0.ids != PAD).sum(1) // block) * block).clamp(max=x0.ids.shape[1])
    order, sums = needed[owner].argsort(stable=True), torch.zeros(len(records)).double().to(device)
    while len(order):
        width = int(needed[owner[order[-1]]])
        take = max(1, TOKENS_A_CALL // width)
        rows, order = order[-take:], order[:-take]
        cost = process.cost(_told(network, x0, owner[rows]), x[rows].cut(width))
        sums.index_add_(0, number[rows], cost.double())
    return sums.view(len(x0), -1).cpu()


def _told(network: Any, x0: TokenState, rows: Tensor) -> Any:
    """The network as it is asked for these rows."""
    if x0.condition is None:
        return network
    return network.given(x0.condition[rows], torch.ones_like(rows, dtype=torch.bool))
