"""Coordinates block by block: stability and cost against block size, on QM9.

    scidiff data get qm9_3d
    python benchmarks/point_blocks.py --seconds 900 [--head 2] [--annealed]

One network is trained for every block size at once (a size is drawn for each batch), elements
given and atoms in the data set's own order, in the frame of their first atoms. Then it writes the
atoms of held-out molecules in blocks of each size. Bonds by EDM's table of lengths; the first line
is the held-out molecules themselves. Seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scidiff.chem.bond_lengths import bonded_orders, stable
from scidiff.core import seeded
from scidiff.data.points import PackedPoints
from scidiff.data.structures import load_points
from scidiff.networks.block_guesses import NetworkGuesses
from scidiff.networks.continuous_blocks import (
    ContinuousBlocks,
    ContinuousBlocksConfig,
)
from scidiff.processes.continuous_blocks import BlockwiseGaussian, Items, even_blocks, own_frame
from scidiff.processes.gaussian import Component
from scidiff.processes.schedules import Linear
from scidiff.samplers.continuous_blocks import ContinuousBlockSampler, make_front
from scidiff.samplers.step_annealing import annealed_steps

SIZES = (1, 2, 4, 8, 29)
NOISE = Component(Linear())


@dataclass(frozen=True)
class Molecules:
    """All of them, padded; features of mean 0 and spread 1 are (x - mean) / spread."""

    numbers: Tensor  # (B, N) atomic numbers, 0 where nothing is
    positions: Tensor  # (B, N, 3) angstrom, in the frame of their first atoms
    mask: Tensor  # (B, N)
    mean: Tensor  # (3,)
    spread: Tensor  # ()

    @classmethod
    def of(cls, packed: PackedPoints) -> Molecules:
        N = int(packed.counts.max())
        mask = torch.from_numpy(np.arange(N) < packed.counts[:, None])
        numbers = torch.zeros(mask.shape, dtype=torch.long)
        numbers[mask] = torch.from_numpy(packed.numbers.astype(np.int64))
        x = torch.zeros(*mask.shape, 3)
        x[mask] = torch.from_numpy(packed.positions)
        x = own_frame(x, mask)
        mean = x[mask].mean(0)
        return cls(numbers, x, mask, mean, (x[mask] - mean).square().mean().sqrt())

    def items(self, rows: Tensor) -> Items:
        """These rows, cut to the longest of them."""
        L = int(self.mask[rows].sum(1).max())
        mask = self.mask[rows, :L]
        x = (self.positions[rows, :L] - self.mean) / self.spread * mask[..., None]
        return Items(x, self.numbers[rows, :L], mask)


def train(data: Molecules, rows: Tensor, args: argparse.Namespace) -> ContinuousBlocks:
    torch.manual_seed(0)
    shape = {"width": args.width, "depth": 4, "token_depth": 1, "head_depth": args.head}
    net = ContinuousBlocks(ContinuousBlocksConfig(10, data.mask.shape[1], **shape))
    mean = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    rng, start, step = seeded(0), time.process_time(), 0
    while (done := (time.process_time() - start) / args.seconds) < 1:
        lr = 2.5e-3 * min(1.0, (step + 1) / 200) * math.cos(math.pi / 2 * done)
        optimizer.param_groups[0]["lr"] = lr
        drawn = rows[torch.randint(len(rows), (args.batch * 8,), generator=rng)]
        by_size = drawn[data.mask[drawn].sum(1).argsort()].view(8, -1)
        x0 = data.items(by_size[int(torch.randint(8, (), generator=rng))])
        size = SIZES[int(torch.randint(len(SIZES), (), generator=rng))]
        loss = BlockwiseGaussian(NOISE, size).loss(net, x0, rng).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        mean.update_parameters(net)
        step += 1
    print(f"{step} batches of {args.batch}, {sum(p.numel() for p in net.parameters()):,} weights")
    return mean.module.eval().requires_grad_(False)


def written(
    net: ContinuousBlocks, data: Molecules, rows: Tensor, size: int, steps: Sequence[int]
) -> tuple[list[Tensor], str]:
    """Positions of the rows, drawn in blocks of `size`, and what that cost."""
    guesses, found, calls, start = NetworkGuesses(net, NOISE), [], 0, time.process_time()
    for part in rows.split(64):
        x0 = data.items(part)
        sizes = even_blocks(x0.mask.shape[1], min(size, x0.mask.shape[1]))
        front = make_front(
            NOISE, sizes, annealed_steps(*steps, len(sizes)), solver="2m", eta=0.0, times="time"
        )
        sampler = ContinuousBlockSampler(guesses, lambda n, rng, x0=x0: x0, front)
        rng = seeded(0, int(part[0]))
        x = sampler.init(len(part), rng)
        for k in range(sampler.num_steps):
            x = sampler.step(x, k, rng)
        calls += sampler.num_steps * len(part)
        found += list(x.features * data.spread + data.mean)
    ms = 1e3 * (time.process_time() - start) / len(rows)
    cost = f"{calls / len(rows):5.0f} calls  {guesses.asked / len(rows):6.0f} layers x atoms"
    return found, f"{cost}  {ms:6.1f} ms a molecule"


def stability(data: Molecules, rows: Tensor, positions: Sequence[Tensor]) -> str:
    """Percent of atoms, and of molecules, whose bonds are those of their element."""
    each = []
    for row, x in zip(rows.tolist(), positions, strict=True):
        numbers = data.numbers[row][data.mask[row]].numpy()
        orders = bonded_orders(numbers, x[: len(numbers)].double().numpy())
        each.append(stable(numbers, orders))
    atoms, molecules = np.concatenate(each).mean(), np.mean([e.all() for e in each])
    return f"atoms {100 * atoms:5.1f} %  molecules {100 * molecules:5.1f} %"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--head", type=int, default=0, help="layers of the diffusion head")
    parser.add_argument("--steps", type=int, default=20, help="of each block")
    parser.add_argument("--annealed", action="store_true", help="down to a quarter of them")
    parser.add_argument("-n", type=int, default=256)
    parser.add_argument("--points", help="packed molecules (.npz) instead of qm9_3d")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    data = Molecules.of(PackedPoints.load(args.points) if args.points else load_points())
    shuffled = torch.randperm(len(data.mask), generator=torch.Generator().manual_seed(0))
    net, held = train(data, shuffled[: -args.n], args), shuffled[-args.n :]
    held = held[data.mask[held].sum(1).argsort()]
    print(f"held-out molecules  {stability(data, held, list(data.positions[held]))}")
    last = max(1, args.steps // 4) if args.annealed else args.steps
    for size in SIZES:
        found, cost = written(net, data, held, size, (args.steps, last))
        print(f"blocks of {size:2}        {stability(data, held, found)}  {cost}", flush=True)


if __name__ == "__main__":
    main()
