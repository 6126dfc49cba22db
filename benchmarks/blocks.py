"""What blocks cost, with what the network said of finished ones kept and without.

    python benchmarks/blocks.py                       L 256, B 16, 4 layers of 256: minutes
    python benchmarks/blocks.py --batch 64
    python benchmarks/blocks.py --quick               a small network, seconds
    python benchmarks/blocks.py --model moses-smiles -n 1000     quality beside cost
    python benchmarks/blocks.py --model DRAFTER --guide PARENT   drafts that PARENT takes or not
    python benchmarks/blocks.py curve --parent MODEL --out DIR   see block_curve.py

The first three compare cost alone, with an untrained network whose rows do not end: tokens a
second by block size, the same sampler keeping keys and values (`prefix_cache`) and reading the
prefix again, up to the block that is written and as a whole. They take turns in one run and times
are those of this thread, so that the ratios hold on a busy machine. The others draw from trained
models, by block size and by fixed and dynamic paces.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from block_curve import curve, guided, measured, paces

import scidiff as sd
from scidiff.core import seeded
from scidiff.data.tokens import EOS, PAD
from scidiff.guidance.particles import sample
from scidiff.networks.block_cache import row_bytes
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.masked import MaskedSampler

GOAL = 5.0  # kept over read again, at blocks of 16


@dataclass(frozen=True)
class Size:
    vocabulary: int = 40
    length: int = 256
    batch: int = 16
    width: int = 256
    depth: int = 4


QUICK = Size(length=64, batch=4, width=64, depth=2)


class Endless:
    """A denoiser whose rows do not end; `whole` evaluates all columns of every row."""

    def __init__(self, inner: TokenDenoiser) -> None:
        self.inner, self.block_size = inner, inner.block_size
        self.mask_id, self.vocab_size = inner.mask_id, inner.vocab_size
        self.recall = inner.recall

    @property
    def rows(self) -> int:
        return self.inner.rows

    def __call__(self, x, k):
        return self.inner(x, k)

    def log_probs(self, trunk):
        ends = torch.tensor([PAD, EOS])
        return self.inner.log_probs(trunk).index_fill(-1, ends, float("-inf"))


def kinds(network, block: int, size: Size) -> dict:
    """How a network is evaluated; the last is what a plain loop does."""
    micro = max(1, 1024 // size.length)
    return {
        "kept": TokenDenoiser(network, block, prefix_cache=True),
        "read again to the block": TokenDenoiser(network, block, prefix_cache=False),
        "read again whole": TokenDenoiser(
            network, block, prefix_cache=False, compact=False, micro_batch=micro
        ),
    }


def seconds(denoiser, size: Size, block: int, per_step: int) -> float:
    """Time of this thread to draw one batch."""
    canvas = FixedCanvas.blank(size.length, denoiser.mask_id)
    s = MaskedSampler(Endless(denoiser), canvas, block_size=block, tokens_per_step=per_step)
    start = time.thread_time()
    ids = sample(s, size.batch, seeded(0)).ids
    assert not (ids == denoiser.mask_id).any()
    return time.thread_time() - start


def cost(size: Size, blocks, per_step: int = 1, whole: bool = True) -> None:
    """Print tokens a second and ratios by block size."""
    torch.manual_seed(0)
    config = TokenTransformerConfig(size.vocabulary, size.length, size.width, size.depth, 4)
    network = TokenTransformer(config)
    each = row_bytes(network, size.length, torch.float32) / 2**20
    print(f"{size}; {per_step} tokens a step; at most {each:.2f} MiB of keys and values a row")
    tokens = size.batch * size.length
    for block in blocks:
        found = {}
        for name, denoiser in kinds(network, block, size).items():
            if whole or name != "read again whole":
                found[name] = seconds(denoiser, size, block, per_step)
        told = "; ".join(
            f"{name} {tokens / t:,.0f} tokens/s ({t / found['kept']:.1f}x the time)"
            for name, t in found.items()
        )
        print(f"blocks of {block}: {told}", flush=True)
        ratio = found["read again to the block"] / found["kept"]
        if block == 16:
            print(f"goal {GOAL}x: {'met' if ratio >= GOAL else 'missed'} ({ratio:.1f}x)")


def quality(name: str, n: int, dtype: str) -> None:
    """Draw from a trained model by block size and pace, and print what came out."""
    config = sd.load(name, device="cpu").config
    most = config["process"]["block_size"] or 1
    sizes = [b for b in (1, 2, 4, 8, 16, 32) if b < most]
    settings = [{"block_size": b, "order": "sequential"} for b in sizes] + paces(most)
    entropies = [{"block_size": most, "order": "entropy", "entropy_bound": b} for b in (0.01, 0.1)]
    measured(name, n, settings + entropies * (most > 1), dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["cost", "curve"], default="cost")
    parser.add_argument("--parent", type=Path, help="curve: an autoregressive model")
    parser.add_argument("--out", type=Path, help="curve: where the adapted models go")
    parser.add_argument("--steps", type=int, default=300, help="curve: of each adaptation")
    parser.add_argument("--sizes", type=int, nargs="*", default=[4, 8, 16, 32, 64])
    parser.add_argument("--quick", action="store_true", help="a small network and batch")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--blocks", type=int, nargs="*")
    parser.add_argument("--tokens-per-step", type=int, default=1)
    parser.add_argument("--no-whole", action="store_true", help="leave the slowest out")
    parser.add_argument("--model", help="a trained model: quality beside cost")
    parser.add_argument("--guide", type=Path, help="a left-to-right model that --model drafts for")
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "curve":
        curve(args.parent, args.out, args.sizes, args.steps, args.n)
        return
    if args.model and args.guide:
        guided(args.model, args.guide, args.n)
        return
    if args.model:
        quality(args.model, args.n, args.dtype)
        return
    size = QUICK if args.quick else Size()
    size = replace(size, batch=args.batch or size.batch)
    cost(size, args.blocks or [16, 4, 32], args.tokens_per_step, not args.no_whole)


if __name__ == "__main__":
    main()
