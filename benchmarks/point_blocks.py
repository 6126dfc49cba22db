"""Sequence, then structure: stability and cost against block size, annealed and flat steps.

    scidiff train recipes/qm9_point_blocks.toml --out runs/qm9-point-blocks
    python benchmarks/point_blocks.py runs/qm9-point-blocks/model --steps 30 --last-steps 8

One model draws molecules in blocks of every size. Stability is EDM's, by its table of bond
lengths; valid is the row's own. Costs are of a molecule: rows of network calls for its places,
atoms times layers evaluated, and CPU milliseconds of one thread with what writes the atoms.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import torch

import scidiff as sd
from scidiff.api.model import Model
from scidiff.chem.bond_lengths import bonded_orders, stable
from scidiff.core import seeded
from scidiff.data.points import Points
from scidiff.guidance.particles import sample

SIZES = (1, 2, 4, 8, None)
NOISE = {"solver": str, "eta": float, "rho": float}


def stability(molecules: Sequence[Points]) -> tuple[float, float]:
    """Percent of atoms, and of molecules, whose bonds are those of their element."""
    each = [stable(m.numbers, bonded_orders(m.numbers, m.positions)) for m in molecules]
    whole = [bool(len(e)) and bool(e.all()) for e in each]
    return 100 * float(np.concatenate(each).mean()), 100 * float(np.mean(whole))


def measured(model: Model, n: int, seed: int, **settings: object) -> str:
    """One line of the table."""
    sampler = model.sampler(**settings)
    start = time.process_time()
    x = sample(sampler, n, seeded(seed))
    ms = 1e3 * (time.process_time() - start) / n
    records = model.domain.decode(x)
    atoms, molecules = stability([r.points for r in records if r.points is not None])
    valid = 100 * sum(r.valid for r in records) / n
    guesses = sampler.places.denoiser
    return (
        f"{atoms:5.1f} | {molecules:5.1f} | {valid:5.1f} | {guesses.rows / n:5.0f} | "
        f"{guesses.asked / n:6.0f} | {ms:5.1f}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model directory")
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=30, help="of each block, flat")
    parser.add_argument("--last-steps", type=int, default=8, help="of the last block, annealed")
    for name, kind in NOISE.items():
        parser.add_argument(f"--{name}", type=kind, help="instead of the model's own")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    model = sd.load(args.model, device="cpu")
    noise = {name: getattr(args, name) for name in NOISE if getattr(args, name) is not None}
    print("| block size | steps a block | stable atoms, % | stable molecules, % | valid, % | "
          "calls | atoms x layers | CPU ms |\n|---|---|---|---|---|---|---|---|")
    for size in SIZES:
        for last in dict.fromkeys((args.steps, args.last_steps)):
            if size is None and last != args.steps:
                continue  # one block has nothing to anneal
            how = f"{args.steps}" if last == args.steps else f"{args.steps} to {last}"
            line = measured(model, args.n, args.seed, block_size=size, steps=args.steps,
                            last_steps=last, **noise)  # fmt: skip
            print(f"| {size or 'all'} | {how} | {line} |", flush=True)


if __name__ == "__main__":
    main()
