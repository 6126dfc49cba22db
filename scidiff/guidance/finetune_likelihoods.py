"""How likely a network finds clean rows, with a gradient: what fine-tuning moves.

A likelihood is called as likelihood(network, x0, rng) -> log p (B,) in nats, exact or an estimate
of a bound. What it draws, it draws once for all rows: rows are compared at one noise level and
under the same noise, and so are a network and its reference, called with equal generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from scidiff.core import Process, Rng, Tape, seeded, uniform
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.processes.block import BlockProcess
from scidiff.processes.masked import TokenNetwork, cross_entropy
from scidiff.samplers.token_likelihood import SymbolsOnly


class Likelihood(Protocol):
    """Scores clean states under a network."""

    @property
    def exact(self) -> bool:
        """Whether it is log p itself and draws nothing."""
        ...

    def __call__(self, network: Any, x0: Any, rng: torch.Generator) -> Tensor:
        """log p (B,), with the gradient of the network."""
        ...


class Bound(Protocol):
    """A process on token rows whose loss bounds -log p: draw noise, then price it."""

    def corrupt(self, x0: TokenState, rng: Rng) -> Any: ...

    def cost(self, network: Any, x: Any) -> Tensor: ...


@dataclass(frozen=True)
class Causal:
    """log p of a row in one causal pass: sum_i log p(x_i | x_<i), up to EOS.

    It is the law of blocks of one token while the network's own() embedding is zero, as it is
    after autoregressive training; `check` refuses another network.
    """

    exact = True

    def __call__(self, network: Any, x0: TokenState, rng: torch.Generator) -> Tensor:
        told = asked(network, x0.condition)
        log_p = -cross_entropy(told, told.causal(x0.ids), x0.ids)
        return torch.where(x0.ids != PAD, log_p, 0.0).sum(1)

    def check(self, network: nn.Module) -> None:
        """Raise ValueError for a network whose causal pass is not the law it draws from."""
        own = getattr(network, "own", None)
        if not isinstance(own, nn.Embedding) or bool(own.weight.any()):
            raise ValueError(
                "a causal pass is exact for networks trained autoregressively alone (own() = 0); "
                "use Sequential, or a copy made by `as_causal`"
            )


@dataclass(frozen=True)
class Sequential:
    """log p of writing blocks of `block_size` tokens from left to right, one token a step: what a
    sampler of order `sequential` draws from,

        log p(x) = sum over blocks b and o < block_size of log p(x_b,o | x_<b, x_b,<o).

    Token o is read where the tokens from o on are hidden, so a row costs block_size passes over
    two copies of it. With `offsets` m only m of the o are read, the same of every block, drawn
    without replacement and counted block_size / m times: an unbiased estimate at m passes.
    """

    mask_id: int
    block_size: int = 1
    offsets: int | None = None

    def __post_init__(self) -> None:
        if self.offsets is not None and not 1 <= self.offsets <= self.block_size:
            raise ValueError(
                f"offsets must be in 1..{self.block_size} (the block size), got {self.offsets}"
            )

    @property
    def exact(self) -> bool:
        return self.offsets in (None, self.block_size)

    def __call__(self, network: Any, x0: TokenState, rng: torch.Generator) -> Tensor:
        blocks, told = BlockProcess(self.mask_id, self.block_size), asked(network, x0.condition)
        ids = blocks.padded(x0.ids, network.max_length)
        within = torch.arange(ids.shape[1], device=ids.device) % self.block_size
        unended = ~(ids == EOS).any(1, keepdim=True)  # a row that reached its greatest length
        read = blocks.eligible(ids) | unended
        chosen = self._chosen(rng)
        parts = [self._at(told, ids, within, read, int(o)) for o in chosen]
        return torch.stack(parts).sum(0) * (self.block_size / len(parts))

    def _chosen(self, rng: torch.Generator) -> Sequence[int]:
        if self.exact:
            return range(self.block_size)
        return uniform((self.block_size,), rng).argsort()[: self.offsets].tolist()

    def _at(
        self, network: TokenNetwork, ids: Tensor, within: Tensor, read: Tensor, o: int
    ) -> Tensor:
        """log p (B,) of the o-th tokens of all blocks."""
        noisy = ids.masked_fill(within >= o, self.mask_id)
        log_p = -cross_entropy(network, network.two_copy(noisy, ids, self.block_size), ids)
        return torch.where(read & (within == o), log_p, 0.0).sum(1)


@dataclass(frozen=True)
class Bounded:
    """Minus the loss of a process on token rows, a lower bound on log p, over `draws` draws of
    noise that are the same for every row: at one noise level, and hidden where a row's own
    positions say. `symbols`: the network is asked for symbols alone, as samplers of rows whose end
    is given do."""

    process: Bound
    draws: int = 1
    symbols: bool = False
    exact = False

    def __call__(self, network: Any, x0: TokenState, rng: torch.Generator) -> Tensor:
        told = asked(network, x0.condition, self.symbols)
        return -torch.stack(
            [self.process.cost(told, self._corrupted(x0.ids, seed)) for seed in _seeds(self, rng)]
        ).mean(0)

    def _corrupted(self, ids: Tensor, seed: int) -> Any:
        """Each row alone with the same seed: processes stratify what they draw of a batch."""
        rows = [
            self.process.corrupt(TokenState(row[None]), seeded(seed, 0, ids.device)) for row in ids
        ]
        return type(rows[0]).cat(rows)


@dataclass(frozen=True)
class Implicit:
    """Minus the loss of any process, over `draws` draws of noise that are the same for every row.

    The difference of two networks is the implicit reward of diffusion models without a likelihood
    (Wallace et al. 2023, arXiv 2311.12908, eq. 14, up to the weight of the noise level). `alone`:
    the process stratifies what it draws of a batch, so that rows are given to it one by one.
    """

    process: Process[Any]
    draws: int = 1
    alone: bool = False
    exact = False

    def __call__(self, network: Any, x0: Any, rng: torch.Generator) -> Tensor:
        size = 1 if self.alone else len(x0)
        parts = torch.arange(len(x0), device=rng.device).split(size)
        losses = [
            torch.cat([self.process.loss(network, x0[p], OneForAll(seed, rng)) for p in parts])
            for seed in _seeds(self, rng)
        ]
        return -torch.stack(losses).mean(0)


class OneForAll(Tape):
    """Noise that is drawn for one row and handed to every row."""

    def __init__(self, seed: int, like: torch.Generator) -> None:
        super().__init__(seeded(seed, 0, like.device))

    def next(self, kind: str, shape: tuple[int, ...]) -> Tensor:
        return super().next(kind, (1, *shape[1:])).expand(shape)


def in_parts(
    likelihood: Likelihood, network: Any, x0: Any, rng: torch.Generator, rows: int
) -> Tensor:
    """log p (B,) of at most `rows` rows a pass, token rows of like length together and cut behind
    the longest; the generator stands where it would after one pass, and every part sees the same
    noise."""
    start, order = rng.get_state(), _by_size(x0)
    found = []
    for part in order.split(rows):
        rng.set_state(start)
        found.append(likelihood(network, _cut(x0[part]), rng))
    return torch.cat(found)[order.argsort()]


def as_causal(network: Any) -> Any:
    """Set own() to zero in place, so that one causal pass is the exact log p of writing token by
    token (block_size 1); for networks that were trained autoregressively at first."""
    with torch.no_grad():
        network.own.weight.zero_()
    return network


def _seeds(likelihood: Bounded | Implicit, rng: torch.Generator) -> list[int]:
    """One seed a draw."""
    drawn = uniform((likelihood.draws,), rng).double() * 2**24  # uniform has 24 bits
    return [int(seed) for seed in drawn.tolist()]


def asked(network: Any, condition: Tensor | None, symbols: bool = False) -> Any:
    """The network as it is asked for rows with a condition (B, C), or without."""
    if condition is not None:
        everyone = torch.ones(len(condition), dtype=torch.bool, device=condition.device)
        network = network.given(condition, everyone)
    return SymbolsOnly(network) if symbols else network


def _by_size(x0: Any) -> Tensor:
    """Order of rows, the shortest first."""
    if not isinstance(x0, TokenState):
        return torch.arange(len(x0))
    return (x0.ids != PAD).sum(1).argsort(stable=True)


def _cut(x0: Any) -> Any:
    """Token rows without the columns that are PAD in all of them."""
    if not isinstance(x0, TokenState):
        return x0
    used = (x0.ids != PAD).any(0).nonzero()
    return TokenState(x0.ids[:, : int(used.max()) + 1], condition=x0.condition)
