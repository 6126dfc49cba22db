"""Graphs in blocks: how large the next block is and of which degree, then its nodes and pairs by a
discrete process, given all that is there (Pard, Zhao et al. 2024, arXiv 2402.03687).

    p(G) = prod over blocks b of p(|b|, degree of b | blocks before) p(b | |b|, degree, before)

The process inside is one of discrete flow, of whatever noise and loss; with one block (hops = 0)
it is that process and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from scidiff.core import Rng, ScidiffError, uniform
from scidiff.data.graph_order import Blocks, at_positions, certain, in_block_order
from scidiff.data.tokens import PAD, TokenState
from scidiff.processes.discrete_flow import DiscreteFlowProcess
from scidiff.processes.flow_bounds import JumpBound, StepBound
from scidiff.processes.free_memory import free_bytes

Inner = DiscreteFlowProcess | JumpBound | StepBound
MODES = ("parallel", "sequential")


class TooMuchMemory(ScidiffError):
    """A batch whose training step would not fit."""


class NextBlockLaw(Protocol):
    """What the law of the next block is asked."""

    def state(self, x: Tensor, prefix: Tensor, last: Tensor) -> Tensor:
        """(B, K, D) of graphs with nodes `prefix` (B, K, N) bool and the `last` block (B, K,
        N)."""
        ...

    def log_size(self, state: Tensor, nodes: Tensor) -> Tensor:
        """log p(size) (.., S), 0 at the end, after `nodes` (..) nodes."""
        ...

    def log_degree(self, state: Tensor, size: Tensor) -> Tensor:
        """log p(degree | size) (.., S)."""
        ...


class BlockwiseGraphNetwork(Protocol):
    """What this process asks of a network."""

    @property
    def next(self) -> NextBlockLaw: ...

    def bidirectional(self, ids: Tensor, t: Tensor) -> Tensor: ...

    def log_probs(self, trunk: Tensor) -> Tensor: ...

    def last_block(
        self, ids: Tensor, blocks: Blocks, noisy: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, L, V) of rows that end with the block of the nodes `noisy` (B, N),
        certain of what is clean, and node features (B, N, D)."""
        ...

    def all_blocks(
        self, clean: Tensor, noisy: Tensor, blocks: Blocks, t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same of every block at once, and the features of clean nodes."""
        ...

    def training_bytes(self, rows: int, nodes: int, parallel: bool) -> int:
        """What one training step keeps in memory."""
        ...


@dataclass(frozen=True)
class GraphBlockProcess:
    """The loss of the process `inside` over all blocks, all at one time t a graph, plus
    `structure` times -log p of sizes and degrees.

    parallel: one pass over twice the nodes tells all blocks. sequential: one of each graph's
    blocks or its end, drawn uniformly and weighted by how many there are: the same mean, from
    smaller graphs. A loss that bounds -log p(the process inside) then bounds -log p(graph in block
    order | nodes of the first block), if structure is 1.

    bonded: ids of pairs that are joined. memory: bytes that a step may take, which `check` asks
    before training; None: what is free.
    """

    inside: Inner
    bonded: tuple[int, ...]
    hops: int = 3
    mode: Literal["parallel", "sequential"] = "parallel"
    structure: float = 1.0
    memory: int | None = None

    def __post_init__(self) -> None:
        self.check_settings(self.hops, self.mode, self.structure)

    @staticmethod
    def check_settings(hops: int, mode: str, structure: float) -> None:
        """Refuse what no process could be made of."""
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        if hops < 0 or not structure >= 0:
            raise ValueError(f"hops and structure must be 0 or more, got {hops} and {structure}")

    def noise(self, x0: TokenState, t: Tensor, rng: Rng) -> TokenState:
        """Replace each symbol by noise independently with probability t (B,)."""
        return self.inside.noise(x0, t, rng)

    def loss(self, network: BlockwiseGraphNetwork, x0: TokenState, rng: Rng) -> Tensor:
        """The loss (B,)."""
        if self.hops == 0:
            return self.inside.loss(network, x0, rng)
        ids, blocks = in_block_order(x0.ids, self.bonded, self.hops)
        every: EveryBlock | OneBlock
        if self.mode == "parallel":
            every = EveryBlock(network, ids, blocks)
        else:
            every = OneBlock.drawn(network, ids, blocks, rng)
        inside = self.inside.loss(every, TokenState(ids), rng)
        return every.weight * (inside + self.structure * every.structure())

    def check(
        self, network: BlockwiseGraphNetwork, rows: int, nodes: int, device: torch.device
    ) -> None:
        """Raise TooMuchMemory where a step of `rows` graphs of `nodes` nodes would not fit."""
        parallel = self.mode == "parallel" and self.hops > 0
        needed = network.training_bytes(rows, nodes, parallel)
        free = free_bytes(device) if self.memory is None else self.memory
        if needed > free:
            most = rows * free // max(1, needed)
            smaller = f"batch_size at most {most}" if most else "smaller graphs"
            how = "parallel" if parallel else "sequential"
            other = ", or mode = 'sequential'" if parallel else ""
            limit = "free" if self.memory is None else "allowed (blocks.memory_gb)"
            raise TooMuchMemory(
                f"{how} training of {rows} graphs of {nodes} nodes takes about "
                f"{needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are {limit}: {smaller}{other}"
            )


class EveryBlock:
    """A block network as the process inside sees it: all blocks noisy, each told from the clean
    ones before it."""

    def __init__(self, network: BlockwiseGraphNetwork, clean: Tensor, blocks: Blocks) -> None:
        self.network, self.clean, self.blocks, self.weight = network, clean, blocks, 1.0

    def bidirectional(self, noisy: Tensor, t: Tensor) -> Tensor:
        trunk, self.features = self.network.all_blocks(self.clean, noisy, self.blocks, t)
        return trunk

    def log_probs(self, trunk: Tensor) -> Tensor:
        return self.network.log_probs(trunk)

    def structure(self) -> Tensor:
        """-log p of all sizes and degrees but the first size (B,)."""
        most = int(self.blocks.count.max())
        size = F.pad(self.blocks.by_block(self.blocks.size, most), (0, 1))
        degree = F.pad(self.blocks.by_block(self.blocks.degree, most), (0, 1))
        after = torch.arange(-1, most, device=size.device)  # the block a graph so far ends with
        at, block = after[None, :, None], self.blocks.block[:, None]
        prefix = (block <= at) & (block >= 0)
        last = prefix & (block == at)
        told = next_block(self.network.next, self.features, prefix, last, size, degree)
        return (told * (after < self.blocks.count[:, None])).sum(1)


class OneBlock:
    """A block network as the process inside sees it where one block `at` (B,) of each row is
    noisy, or none at the end of the graph: all other tokens are certain and cost nothing."""

    def __init__(
        self, network: BlockwiseGraphNetwork, clean: Tensor, blocks: Blocks, at: Tensor
    ) -> None:
        self.network, self.clean, self.blocks, self.at = network, clean, blocks, at
        self.weight = (blocks.count + 1).to(torch.float32)
        self.here = blocks.block == at[:, None]

    @classmethod
    def drawn(
        cls, network: BlockwiseGraphNetwork, clean: Tensor, blocks: Blocks, rng: Rng
    ) -> OneBlock:
        """Draw the block, or the end."""
        u = uniform((len(clean),), rng).to(clean.device)
        choices = blocks.count + 1
        return cls(network, clean, blocks, (u * choices).long().clamp(max=choices - 1))

    def bidirectional(self, noisy: Tensor, t: Tensor) -> Tensor:
        block = torch.where(self.blocks.block > self.at[:, None], -1, self.blocks.block)
        written = at_positions(block, noisy.shape[1])
        here = written == self.at[:, None]
        ids = torch.where(here, noisy, torch.where(written >= 0, self.clean, PAD))
        shown = Blocks(block, self.blocks.degree * (block >= 0))
        trunk, self.features = self.network.last_block(ids, shown, self.here, t)
        return torch.where(here[..., None], trunk, certain(self.clean, trunk.shape[-1]))

    def log_probs(self, trunk: Tensor) -> Tensor:
        return self.network.log_probs(trunk)

    def structure(self) -> Tensor:
        """-log p of the block's size and degree (B,)."""
        at, block = self.at[:, None, None], self.blocks.block[:, None]
        size, degree = (
            (self.here * part).amax(1, keepdim=True)
            for part in (self.blocks.size, self.blocks.degree)
        )
        prefix = (block < at) & (block >= 0)
        last = prefix & (block == at - 1)
        return next_block(self.network.next, self.features, prefix, last, size, degree)[:, 0]


def next_block(
    law: NextBlockLaw, x: Tensor, prefix: Tensor, last: Tensor, size: Tensor, degree: Tensor
) -> Tensor:
    """-log p (B, K) of the `size` (B, K), 0 at the end, and `degree` (B, K) of the block behind
    each of K graphs so far: nodes `prefix` (B, K, N), its last block `last`, features x (B, N, D).
    The first size is given, so it costs nothing."""
    state, nodes = law.state(x, prefix, last), prefix.sum(-1)
    told_size = law.log_size(state, nodes).gather(-1, size[..., None])[..., 0]
    told_degree = law.log_degree(state, size).gather(-1, degree[..., None])[..., 0]
    return -(torch.where(nodes > 0, told_size, 0.0) + torch.where(size > 0, told_degree, 0.0))
