"""Tokens of one step drawn together: masked diffusion with a left-to-right model as its energy.

    python benchmarks/energy.py            recipes qm9_smiles_masked and qm9_smiles_ar under runs/
    python benchmarks/energy.py --model MASKED --energy LEFT_TO_RIGHT -n 1000

Validity and FCD over tokens a step and candidates, beside the left-to-right model alone. Times are
those of this thread on the CPU, ratios are to the masked model's one token a step in the same run.
FCD is over equally many valid molecules of every row, since it falls with their number, against
3,000 of the data set; the last row is what as many real ones score. Needs the extra `fcd`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import scidiff as sd
from scidiff.data import datasets
from scidiff.evaluation.fcd import activations, frechet_distance, moments

REFERENCE = 3000


def rows_of(
    energy: Any, steps: Sequence[int], candidates: Sequence[int]
) -> list[tuple[str, dict]]:
    """The rows of the table: a name and the settings of each."""
    found = []
    for k in steps:
        name = f"{k} token{'s' * (k > 1)} a step"
        found.append((name, {"tokens_per_step": k}))
        for count in candidates if k > 1 else ():
            asked = {"tokens_per_step": k, "energy": energy, "candidates": count}
            found.append((f"{name}, {count} candidates", asked))
    return found


def measure(model: Any, n: int, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Draw n rows; what they cost, how many are valid and distinct, and the valid ones."""
    start = time.thread_time()
    result = model.sample(n, seed=seed, **settings)
    seconds = time.thread_time() - start
    valid = [r.text for r in result.records if r.valid]
    return {
        "CPU s": seconds, "valid": len(valid) / n, "unique": len(set(valid)) / len(valid),
        "molecules": valid,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="runs/qm9-smiles-masked/model")
    parser.add_argument("--energy", default="runs/qm9-smiles-ar/model")
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--compared", type=int, default=250, help="valid molecules in each FCD")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--candidates", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="append each row here as a line of JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, energy = sd.load(args.model), sd.load(args.energy)
    table = [("left to right alone", measure(energy, args.n, args.seed, {}))]
    keep(args.out, *table[0])
    for name, settings in rows_of(energy, args.steps, args.candidates):
        table.append((name, measure(model, args.n, args.seed, settings)))
        keep(args.out, *table[-1])
    report(table, args.n, args.compared)


def keep(out: Path | None, name: str, row: dict[str, Any]) -> None:
    print(f"{name}: {row['valid']:.1%} valid, {row['CPU s']:.1f} s", flush=True)
    if out is not None:
        with out.open("a") as file:
            file.write(json.dumps({"row": name, **row}) + "\n")


def report(table: list[tuple[str, dict[str, Any]]], n: int, compared: int) -> None:
    """Print the table; FCD where a row has enough valid molecules."""
    data = list(datasets.load("qm9").objects())
    order = np.random.default_rng(0).permutation(len(data))
    real = [data[i] for i in order[: REFERENCE + compared]]
    known = moments(activations(real[:REFERENCE]))

    def fcd(molecules: Sequence[str]) -> str:
        if len(molecules) < compared:
            return "too few"
        return f"{frechet_distance(*moments(activations(molecules[:compared])), *known):.2f}"

    base = next(row["CPU s"] for name, row in table if name == "1 token a step")
    print(f"\n{n:,} rows each; FCD of {compared} valid molecules against {REFERENCE:,}")
    print("| sampler | CPU s | cost | valid | unique | FCD |\n|---|---|---|---|---|---|")
    for name, row in table:
        p = row["valid"]
        error, cost = 1.96 * (p * (1 - p) / n) ** 0.5, row["CPU s"] / base
        print(f"| {name} | {row['CPU s']:.1f} | {cost:.2f}x | {p:.3f} ± {error:.3f} "
              f"| {row['unique']:.3f} | {fcd(row['molecules'])} |", flush=True)  # fmt: skip
    print(f"| real molecules | | | 1 | 1 | {fcd(real[REFERENCE:])} |")


if __name__ == "__main__":
    main()
