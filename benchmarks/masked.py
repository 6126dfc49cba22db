"""Exact and parallel sampling of masked diffusion against the ancestral sampler, with one network.

    python benchmarks/masked.py            V 40, L 64, B 64, 4 layers of 256: minutes on one core
    python benchmarks/masked.py --quick    a small network, seconds

Samplers take turns in one run, and times are those of this thread on the CPU (of the device on
CUDA), so that the ratios hold on a busy machine. The network is untrained: only cost is compared.
`overhead` is what a sampler spends outside the network. bfloat16 is that of the trunk, gains need
a processor with instructions for it; steps captured as CUDA graphs need a GPU. Needs torch and
numpy only.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from scidiff.core import Shared, Tape, seeded
from scidiff.guidance.particles import sample
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
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

    def __init__(self, inner: TokenDenoiser) -> None:
        self.inner, self.seconds = inner, 0.0
        self.mask_id, self.vocab_size = inner.mask_id, inner.vocab_size
        self.block_size = inner.block_size

    @property
    def rows(self) -> int:
        return self.inner.rows

    def __call__(self, x, k):
        return self._timed(lambda: self.inner(x, k))

    def log_probs(self, trunk):
        return self._timed(lambda: self.inner.log_probs(trunk))

    def _timed(self, work):
        start = time.thread_time()
        result = work()
        self.seconds += time.thread_time() - start
        return result


BASE, COMPACT = "ancestral, 256 steps", "the same, compacted"
NUMBERS = ("seconds", "overhead", "rows")


def samplers(size: Size, device: str) -> dict:
    """Each sampler with its own view of the same network; only `compact` skips rows."""
    torch.manual_seed(0)
    config = TokenTransformerConfig(size.vocabulary, size.length, size.width, size.depth, 8)
    network = TokenTransformer(config).to(device)
    micro = max(1, 1024 // size.length) if device == "cpu" else None
    canvas = FixedCanvas.blank(size.length, network.mask_id)

    def view(dtype=torch.float32):
        net = TokenDenoiser(network, None, dtype=dtype, micro_batch=micro, compact=False)
        return Timed(net) if device == "cpu" else net

    low = torch.bfloat16
    found = {
        BASE: AncestralSampler(view(), canvas, steps=256),
        COMPACT: AncestralSampler(view(), canvas, steps=256, compact=True),
        "exact, 1 token a step": MaskedSampler(view(), canvas),
        "2 tokens a step": MaskedSampler(view(), canvas, tokens_per_step=2),
        "4 tokens a step": MaskedSampler(view(), canvas, tokens_per_step=4),
        "exact, bfloat16": MaskedSampler(view(low), canvas),
        "4 tokens, bfloat16": MaskedSampler(view(low), canvas, tokens_per_step=4),
    }
    if device == "cuda":
        for name, dtype in (("exact, graph", torch.float32), ("exact, bfloat16, graph", low)):
            found[name] = Captured(MaskedSampler(view(dtype), canvas), size.batch)
    return found


class Captured:
    """A masked sampler of blank rows whose step is replayed as one CUDA graph."""

    def __init__(self, inner: MaskedSampler, batch: int) -> None:
        self.inner, self.denoiser, self.num_steps = inner, inner.denoiser, inner.num_steps
        self.init, tape = inner.init, Tape(seeded(0, device="cuda"))
        self.x = inner.init(batch, seeded(1, device="cuda"))
        self.x = replace(self.x, trunk=Shared(self.x.trunk.dense().clone()))
        inner.step(self.x, 0, tape)  # tells which noise a step draws
        self.draws = tape.draws
        side = torch.cuda.Stream()  # a capture wants its libraries warm, and on another stream
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                inner.step(self.x, 0, tape.rewind())
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.after = inner.step(self.x, 0, tape.rewind())

    def step(self, x, k, rng):
        """Copy the state and fresh noise to where the graph reads, replay, copy what it wrote."""
        self.x.ids.copy_(x.ids)
        self.x.trunk.values.copy_(x.trunk.dense())
        for _, noise in self.draws:
            noise.uniform_(generator=rng)
        self.graph.replay()
        return replace(x, ids=self.after.ids.clone(),
                       trunk=Shared(self.after.trunk.dense().clone()))  # fmt: skip


def measure(sampler, batch: int, device: str, seed: int) -> dict:
    """Draw one batch; return seconds in all, the share outside the network, rows a sample, and
    what was drawn."""
    net, timed = sampler.denoiser, device == "cpu"
    rows, before = net.rows, net.seconds if timed else math.nan
    start = clock(device)
    ids = sample(sampler, batch, seeded(seed, device=device)).ids
    seconds = clock(device) - start
    assert not (ids == net.mask_id).any()
    inside = net.seconds - before if timed else math.nan
    return {"seconds": seconds, "overhead": 1 - inside / seconds,
            "rows": (net.rows - rows) / batch, "ids": ids.cpu()}  # fmt: skip


def compare(size: Size, device: str = "cpu", repeats: int = 1) -> None:
    """Let every sampler draw a batch in turn, and print what each took."""
    chosen = samplers(size, device)
    measure(chosen["4 tokens a step"], size.batch, device, seed=0)  # warm up
    runs = {name: [] for name in chosen}
    for repeat in range(repeats):
        for name, sampler in chosen.items():
            runs[name].append(measure(sampler, size.batch, device, seed=1 + repeat))
    middle = {name: {key: statistics.median(r[key] for r in rows) for key in NUMBERS}
              for name, rows in runs.items()}  # fmt: skip
    report(middle, size, device)
    same_law(runs[BASE][0]["ids"], runs[COMPACT][0]["ids"])
    other = measure(chosen[COMPACT], size.batch, device, seed=1 + repeats)
    same_law(runs[BASE][0]["ids"], other["ids"], "another seed")
    if device != "cuda":
        print("no GPU here: bfloat16 is that of " + low_precision())
        print("skipped: the step as a CUDA graph")


def same_law(plain: torch.Tensor, compacted: torch.Tensor, seed: str = "the same seed") -> None:
    """Print how many rows are equal, and z of the mean token of a row."""
    a, b = (rows.double().mean(1) for rows in (plain, compacted))
    z = float((a.mean() - b.mean()) / ((a.var() + b.var()) / len(a)).sqrt())
    equal = int((plain == compacted).all(1).sum())
    print(f"compacted and not, {seed}: {equal} of {len(a)} rows equal, mean token z = {z:.2f}")


def low_precision() -> str:
    """Whether the processor computes in bfloat16."""
    file = Path("/proc/cpuinfo")
    flags = file.read_text().split() if file.is_file() else []
    known = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    return f"a processor with {' and '.join(known)}" if known else "a processor without it"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small network and batch")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    size = QUICK if args.quick else FULL
    compare(replace(size, batch=args.batch or size.batch), args.device, args.repeats)


def report(middle: dict, size: Size, device: str) -> None:
    print(f"V {size.vocabulary}, L {size.length}, B {size.batch}, {size.depth} layers of", end=" ")
    print(f"{size.width}, {device}, {'thread CPU' if device == 'cpu' else 'device'} seconds")
    columns = (("rows", 7), ("seconds", 10), ("rows/s", 9), ("faster", 9), ("target", 9))
    print(f"{'sampler':24}" + "".join(f"{c:>{w}}" for c, w in columns) + f"{'overhead':>10}")
    base = middle[BASE]["seconds"]
    for name, m in middle.items():
        target = f">= {TARGETS[name]:g}" if name in TARGETS else ""
        overhead = "" if math.isnan(m["overhead"]) else f"{m['overhead']:.1%}"
        print(f"{name:24}{m['rows']:7.1f}{m['seconds']:10.2f}{size.batch / m['seconds']:9.1f}"
              f"{base / m['seconds']:8.2f}x{target:>9}{overhead:>9}")  # fmt: skip
    print(f"overhead target <= {MOST_OVERHEAD:.0%}; the ancestral sampler draws at every position")


if __name__ == "__main__":
    main()
