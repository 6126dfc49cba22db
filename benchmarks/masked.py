"""Exact and parallel sampling of masked diffusion against the ancestral sampler, with one network.

    python benchmarks/masked.py            V 40, L 64, B 64, 4 layers of 256: minutes on one core
    python benchmarks/masked.py --quick    a small network, seconds

Samplers take turns in one run, and times are those of this thread on the CPU (of the device on
CUDA), so that the ratios hold on a busy machine. The network is untrained: only cost is compared.
`overhead` is what a sampler spends outside the network. Needs torch and numpy only.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

import torch

from scidiff.core import seeded
from scidiff.guidance.particles import sample
from scidiff.networks.token_transformer import (
    TokenDenoiser,
    TokenTransformer,
    TokenTransformerConfig,
)
from scidiff.samplers.masked import AncestralSampler, FixedCanvas, MaskedSampler

TARGETS = {"exact, 1 token a step": 4.0, "4 tokens a step": 15.0}
MOST_OVERHEAD = 0.03


@dataclass(frozen=True)
class Size:
    vocabulary: int
    length: int
    batch: int
    width: int
    depth: int


FULL, QUICK = Size(40, 64, 64, 256, 4), Size(40, 64, 8, 64, 2)


def clock(device: str) -> float:
    """Seconds this thread has worked; on CUDA, of the wall after the device has finished."""
    if device == "cpu":
        return time.thread_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Timed:
    """A denoiser that adds up the time spent inside the network and its head."""

    def __init__(self, inner: TokenDenoiser, device: str) -> None:
        self.inner, self.device, self.seconds, self.calls = inner, device, 0.0, 0
        self.mask_id, self.vocab_size = inner.mask_id, inner.vocab_size
        self.block_size = inner.block_size

    @property
    def rows(self) -> int:
        return self.inner.rows

    def __call__(self, x, k):
        self.calls += 1
        return self._timed(lambda: self.inner(x, k))

    def log_probs(self, trunk):
        return self._timed(lambda: self.inner.log_probs(trunk))

    def _timed(self, work):
        start = clock(self.device)
        result = work()
        self.seconds += clock(self.device) - start
        return result


def samplers(size: Size, device: str, dtype: torch.dtype) -> dict:
    """Each sampler with its own timed view of the same network; no row is skipped for anyone."""
    torch.manual_seed(0)
    config = TokenTransformerConfig(size.vocabulary, size.length, size.width, size.depth, 8)
    network = TokenTransformer(config).to(device)
    micro = max(1, 1024 // size.length) if device == "cpu" else None
    canvas = FixedCanvas.blank(size.length, network.mask_id)

    def timed(block_size=None):
        return Timed(TokenDenoiser(network, block_size, dtype=dtype, micro_batch=micro,
                                   compact=False), device)  # fmt: skip

    return {
        "ancestral, 256 steps": AncestralSampler(timed(), canvas, steps=256),
        "exact, 1 token a step": MaskedSampler(timed(), canvas),
        "2 tokens a step": MaskedSampler(timed(), canvas, tokens_per_step=2),
        "4 tokens a step": MaskedSampler(timed(), canvas, tokens_per_step=4),
    }


def measure(sampler, batch: int, device: str, seed: int) -> dict[str, float]:
    """Draw one batch; return seconds in all, the share outside the network, and its calls."""
    net = sampler.denoiser
    net.seconds, net.calls = 0.0, 0
    start = clock(device)
    ids = sample(sampler, batch, seeded(seed, device=device)).ids
    seconds = clock(device) - start
    assert not (ids == net.mask_id).any()
    return {"seconds": seconds, "overhead": 1 - net.seconds / seconds, "calls": net.calls}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small network and batch")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="run the trunk in bfloat16")
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    size = QUICK if args.quick else FULL
    chosen = samplers(size, args.device, torch.bfloat16 if args.bf16 else torch.float32)
    measure(chosen["4 tokens a step"], size.batch, args.device, seed=0)  # warm up
    runs = {name: [] for name in chosen}
    for repeat in range(args.repeats):
        for name, sampler in chosen.items():
            runs[name].append(measure(sampler, size.batch, args.device, seed=1 + repeat))
    middle = {name: {key: statistics.median(r[key] for r in rows) for key in rows[0]}
              for name, rows in runs.items()}  # fmt: skip
    report(middle, size, args.device)


def report(middle: dict, size: Size, device: str) -> None:
    print(f"V {size.vocabulary}, L {size.length}, B {size.batch}, {size.depth} layers of", end=" ")
    print(f"{size.width}, {device}, {'thread CPU' if device == 'cpu' else 'device'} seconds")
    columns = (("calls", 7), ("seconds", 10), ("rows/s", 9), ("faster", 9), ("target", 9))
    print(f"{'sampler':24}" + "".join(f"{c:>{w}}" for c, w in columns) + f"{'overhead':>10}")
    base = middle["ancestral, 256 steps"]["seconds"]
    for name, m in middle.items():
        target = f">= {TARGETS[name]:g}" if name in TARGETS else ""
        print(f"{name:24}{m['calls']:7.0f}{m['seconds']:10.2f}{size.batch / m['seconds']:9.1f}"
              f"{base / m['seconds']:8.2f}x{target:>9}{m['overhead']:9.1%}")  # fmt: skip
    print(f"overhead target <= {MOST_OVERHEAD:.0%}; the ancestral sampler draws at every position")


if __name__ == "__main__":
    main()
