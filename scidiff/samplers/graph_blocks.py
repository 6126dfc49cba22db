"""The reverse chain of graphs in blocks: sizes and degrees one after the other, inside a block the
chain of discrete flow (Pard, Zhao et al. 2024, arXiv 2402.03687, with either kernel)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from scidiff.core import Rng, Shared, uniform
from scidiff.data.graph_order import Blocks, at_positions, certain, in_block_order, present
from scidiff.data.tokens import TokenState
from scidiff.processes.discrete_flow import TokenNoise, distorted
from scidiff.processes.flow_bounds import symbols_only
from scidiff.samplers.canvas import Canvas
from scidiff.samplers.discrete_flow import FlowRate, Kernel
from scidiff.samplers.graph_states import WrittenGraphs, appended, cut_behind, holding
from scidiff.samplers.orders import race
from scidiff.samplers.predictions import everywhere, start

PAIRS_A_CALL = 2**20  # pairs of nodes evaluated at once: a few GB of a network of 100 channels


class BlockPredictor(Protocol):
    """What the sampler asks of a network; rows that have ended are not to be evaluated."""

    mask_id: int
    vocab_size: int
    block_size: int | None  # of strings

    @property
    def rows(self) -> int:
        """Network rows evaluated so far."""
        ...

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """Trunk output (B, L, D) at rows whose last block is being written, at times k (B,)."""
        ...

    def log_probs(self, trunk: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, V) normalised log-probabilities."""
        ...

    def next_size(self, x: TokenState, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What is known of clean rows, of which only `rows` (B,) bool matter: a state (B, D) and
        log p(size of the next block) (B, S), 0 at the end."""
        ...

    def next_degree(self, state: Tensor, size: Tensor) -> Tensor:
        """log p(degree | size) (B, S) from such a state; size (B,)."""
        ...


class GraphBlockDenoiser:
    """A network as the sampler sees it: `GraphBlockNetwork`, evaluated where rows are live.

    One network call takes at most `micro_batch` rows, and no more large graphs than
    `PAIRS_A_CALL` allows.
    """

    block_size: int | None = None

    def __init__(self, network: Any, micro_batch: int | None = None) -> None:
        self.network, self.mask_id, self.rows = network, network.mask_id, 0
        self.vocab_size, self.micro_batch = network.mask_id + 1, micro_batch

    @torch.no_grad()
    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """Log-probabilities (B, L, V) at times k (B,); rows that have ended are certain."""
        told = certain(x.ids, self.vocab_size)
        at = WrittenGraphs.of(x).live.nonzero()[:, 0]
        if not len(at):
            return told
        here = WrittenGraphs.of(x[at])
        t = torch.as_tensor(k, dtype=torch.float32, device=at.device).expand(len(x))[at]
        return told.index_copy(0, at, self._told(x.ids[at], here.blocks, here.written, t)[0])

    def log_probs(self, trunk: Tensor) -> Tensor:
        return trunk

    @torch.no_grad()
    def next_size(self, x: TokenState, rows: Tensor) -> tuple[Tensor, Tensor]:
        law, at = self.network.next, rows.nonzero()[:, 0]
        state = torch.zeros(len(x), law.summary.out_features, device=x.ids.device)
        told = torch.zeros(len(x), law.max_nodes + 1, device=x.ids.device)
        if not len(at):
            return state, told
        here = WrittenGraphs.of(x[at])
        clean = torch.zeros_like(here.last)
        time = torch.zeros(len(at), device=at.device)
        features = self._told(x.ids[at], here.blocks, clean, time)[1]
        prefix = here.blocks.block >= 0
        found = law.state(features, prefix[:, None], here.last[:, None])[:, 0]
        sizes = law.log_size(found, prefix.sum(1))
        return state.index_copy(0, at, found), told.index_copy(0, at, sizes)

    @torch.no_grad()
    def next_degree(self, state: Tensor, size: Tensor) -> Tensor:
        return self.network.next.log_degree(state, size)

    def _told(
        self, ids: Tensor, blocks: Blocks, noisy: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the network tells of rows (B, L) in micro-batches."""
        self.rows += len(ids)
        largest = int((blocks.block >= 0).sum(1).max())
        fit = max(1, PAIRS_A_CALL // (largest + 4) ** 2)  # the network pads by up to 4
        return self.network.last_block(
            ids, blocks, noisy, t, most=min(fit, self.micro_batch or fit)
        )


class GraphBlockSampler:
    """Write at most `blocks` blocks, each in `steps` steps from t = 1 to t = 0; with several
    numbers each block in its own, later ones in the last (`step_annealing`).

    canvas: MASK for the first block, whose size is drawn there. law, kernel, distortion: those of
    `DiscreteFlowSampler`, which this is with hops = 0, draw for draw. A block that is finished is
    followed by a draw of the next one's size and degree; size 0 ends the row, which is then a
    fixed point. bonded: ids of pairs that are joined, by which `renoise` finds the blocks of a
    graph.

    `nodes` asks for graphs of so many nodes: sizes that cannot lead there are left out, and
    `log_ratio` tells how likely the others were, so weighted samples have the law of such graphs.
    """

    stochastic = True

    def __init__(
        self,
        denoiser: BlockPredictor,
        canvas: Canvas,
        law: TokenNoise,
        *,
        steps: int | Sequence[int],
        hops: int,
        blocks: int,
        bonded: Sequence[int],
        kernel: Kernel | None = None,
        distortion: str = "identity",
        nodes: int | None = None,
    ) -> None:
        each = (steps,) if isinstance(steps, int) else tuple(steps)
        least_steps = min(each, default=0)
        for name, value, least in (
            ("steps", least_steps, 1), ("blocks", blocks, 1), ("hops", hops, 0)
        ):  # fmt: skip
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if hops == 0 and blocks > 1:
            raise ValueError(f"hops = 0 is one block, got blocks = {blocks}")
        self.denoiser, self.canvas, self.law = denoiser, canvas, law
        self.hops, self.bonded, self.nodes = hops, tuple(bonded), nodes
        self.kernel: Kernel = FlowRate() if kernel is None else kernel
        self.steps = (*each, *[each[-1]] * blocks)[:blocks]  # of each block
        self.num_steps = sum(self.steps)
        self.begins = frozenset(accumulate(self.steps, initial=0))  # and the end
        grids = [distorted(distortion, torch.arange(s + 1).double() / s) for s in self.steps]
        end = torch.zeros(1, dtype=torch.float64)
        self.times = torch.cat([*(grid[:-1] for grid in grids), end])  # t of each step
        self.next_times = torch.cat([*(grid[1:] for grid in grids), end])
        many = torch.tensor(self.steps)
        self.block = F.pad(torch.arange(blocks).repeat_interleave(many), (0, 1), value=blocks)

    def init(self, n: int, rng: Rng) -> TokenState:
        """Draw the size of the first block, its noise and its degree; evaluate the network."""
        x = start(self.canvas, None, n, rng)
        hidden = x.ids == self.denoiser.mask_id
        ids = torch.where(hidden, self.law.draw(x.ids, rng), x.ids)
        block = present(ids).long() - 1
        degree, live = torch.zeros_like(block), torch.ones_like(block[:, 0], dtype=torch.bool)
        if self.hops:
            empty = WrittenGraphs(Blocks(torch.full_like(block, -1), degree), live)
            state, _ = self.denoiser.next_size(holding(x, torch.zeros_like(ids), empty), live)
            told = self.denoiser.next_degree(state, (block == 0).sum(1))
            degree = (block == 0) * race(told, rng)[:, None]
        return self.arrive(holding(x, ids, WrittenGraphs(Blocks(block, degree), live)), 0)

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw x0 from the stored prediction and x_s from the kernel; where that finishes a block,
        draw the next; then evaluate the network."""
        t, s = self.interval(k, x.ids)
        law = self.kernel(x.ids, self._clean(x, rng), t, s, self.law.at(x.ids))
        free = self.free(x) & (t > 0)[..., 0]
        x = replace(x, ids=torch.where(free, race(law.log(), rng), x.ids), log_ratio=None)
        return self.arrive(self._opened(x, k + 1, rng), k + 1)

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw every token of the current block independently from the stored prediction; the
        graph ends there, because nothing is said of later blocks."""
        if isinstance(k, int) and k >= self.num_steps:
            return x
        free = self.free(x) & (self.interval(k, x.ids)[0] > 0)[..., 0]
        return replace(x, ids=torch.where(free, self._clean(x, rng), x.ids), trunk=None)

    def renoise(self, clean: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Bring the nodes of finished graphs into block order and draw x_k: what follows the block
        of step k is taken away, the block itself is noisy. Graphs that have no such block stay."""
        ids, blocks = in_block_order(clean.ids, self.bonded, self.hops)
        step = self._step(k, ids)[:, None]
        at = self.block.to(ids.device)[step].masked_fill(step == self.num_steps, ids.shape[1])
        live = blocks.count[:, None] > at
        block = torch.where(live & (blocks.block > at), -1, blocks.block)
        kept = Blocks(block, blocks.degree * (block >= 0))
        x = holding(clean, cut_behind(ids, (block >= 0).sum(1)), WrittenGraphs(kept, live[:, 0]))
        t = self.interval(k, ids)[0][..., 0]
        noisy = self.free(x) & (uniform(ids.shape, rng) < t)
        return self.arrive(
            replace(x, ids=torch.where(noisy, self.law.draw(ids, rng), x.ids), log_ratio=None), k
        )

    def free(self, x: TokenState) -> Tensor:
        """Which positions (B, L) are being written."""
        return at_positions(WrittenGraphs.of(x).written.long(), x.ids.shape[1], 0) > 0

    def interval(self, k: int | Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The times t > s of step k, (B, 1, 1) each; 0 and 0 behind the last."""
        at, dtype = self._step(k, ids), self.law.laws.dtype
        t, s = (u.to(ids.device, dtype)[at] for u in (self.times, self.next_times))
        return t[:, None, None], s[:, None, None]

    def arrive(self, x: TokenState, k: int | Tensor) -> TokenState:
        """Store the network's output at x, at step k; at the end nobody would read it."""
        if isinstance(k, int) and k >= self.num_steps:
            return replace(x, trunk=None)
        t = self.interval(k, x.ids)[0][:, 0, 0]
        return replace(x, trunk=Shared(self.denoiser(replace(x, trunk=None), t)))

    def _step(self, k: int | Tensor, ids: Tensor) -> Tensor:
        return torch.as_tensor(k, device=ids.device).expand(len(ids)).clamp(max=self.num_steps)

    def _clean(self, x: TokenState, rng: Rng) -> Tensor:
        return race(symbols_only(everywhere(self.denoiser, x)), rng)

    def _opened(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw the next block of rows that have finished theirs at step k; behind the last step
        all rows have ended."""
        if isinstance(k, int) and k < self.num_steps and k not in self.begins:
            return x
        at, was = self._step(k, x.ids), WrittenGraphs.of(x)
        ended = replace(was, live=was.live & (at < self.num_steps))
        if isinstance(k, int) and k >= self.num_steps:
            return holding(x, x.ids, ended)
        block = self.block.to(at.device)
        asked = ended.live & (block[at] != block[(at - 1).clamp(min=0)])
        count = (was.blocks.block >= 0).sum(1)
        state, told = self.denoiser.next_size(x, asked)
        told, log_ratio = self._leading(told, count, asked)
        size = race(told, rng)
        degree = race(self.denoiser.next_degree(state, size), rng)
        size = torch.where(asked, size, 0)
        live = ended.live & (~asked | (size > 0))
        blocks = appended(was.blocks, size, degree)
        ids = torch.where((size > 0)[:, None], cut_behind(x.ids, count + size), x.ids)
        x = replace(holding(x, ids, WrittenGraphs(blocks, live)), log_ratio=log_ratio)
        new = at_positions((blocks.block > was.blocks.block).long(), ids.shape[1], 0) > 0
        return replace(x, ids=torch.where(new, self.law.draw(ids, rng), ids))

    def _leading(
        self, told: Tensor, count: Tensor, asked: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Keep of log p(size) (B, S) what can lead to the asked number of nodes from `count` (B,),
        and log of how likely that was."""
        if self.nodes is None:
            return told, None
        size = torch.arange(told.shape[1], device=told.device)
        after = count[:, None] + size
        fits = (after <= self.nodes) & ((size > 0) | (after == self.nodes))
        kept = told.masked_fill(~fits & asked[:, None], float("-inf"))
        return kept, torch.where(asked, kept.logsumexp(1), 0.0)
