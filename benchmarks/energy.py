"""Tokens of one step drawn together: masked diffusion with a left-to-right model as its energy.

    python benchmarks/energy.py            recipes qm9_smiles_masked and qm9_smiles_ar under runs/
    python benchmarks/energy.py --model MASKED --energy LEFT_TO_RIGHT -n 1000
    python benchmarks/energy.py --likelihood 300     -log p of held-out strings instead

Validity and FCD over tokens a step and candidates, beside the left-to-right model alone. Times are
those of this thread on the CPU, ratios are to the masked model's one token a step in the same run.
FCD is a mean over disjoint parts of equally many valid molecules, since it falls with their
number, against 3,000 of the data set; the last row is what as many real ones score. Needs the
extra `fcd`.
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
from rdkit import Chem
from torch import Tensor

import scidiff as sd
from scidiff.api.energy import find_energy
from scidiff.core import seeded
from scidiff.data import datasets
from scidiff.data.tokens import TokenState
from scidiff.evaluation.fcd import activations, frechet_distance, moments
from scidiff.processes.masked import MaskedProcess
from scidiff.samplers.energy_likelihood import EnergyBound

REFERENCE = 3000


def rows_of(
    energy: Any, steps: Sequence[int], candidates: Sequence[int], windows: Sequence[float]
) -> list[tuple[str, dict]]:
    """The rows of the table: a name and the settings of each."""
    found = []
    for k in steps:
        name = f"{k} token{'s' * (k > 1)} a step"
        found.append((name, {"tokens_per_step": k}))
        for count in candidates if k > 1 else ():
            asked = {"tokens_per_step": k, "energy": energy, "candidates": count}
            found.append((f"{name}, {count} candidates", asked))
    for share in windows:
        asked = {"tokens_per_step": 4, "energy": energy, "candidates": 8, "window": share}
        found.append((f"4 tokens a step, 8 candidates, first {share:.0%} of the steps", asked))
    return found


def measure(model: Any, n: int, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Draw n rows; what they cost, how many are valid and distinct, and the valid ones."""
    start = time.thread_time()
    result = model.sample(n, seed=seed, **settings)
    seconds = time.thread_time() - start
    valid = [r.text for r in result.records if r.valid]
    distinct = {Chem.CanonSmiles(text) for text in valid}
    return {
        "CPU s": seconds, "valid": len(valid) / n, "unique": len(distinct) / len(valid),
        "molecules": valid,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="runs/qm9-smiles-masked/model")
    parser.add_argument("--energy", default="runs/qm9-smiles-ar/model")
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--compared", type=int, default=250, help="valid molecules in each FCD")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--candidates", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--windows", type=float, nargs="*", default=[0.5])
    parser.add_argument("--likelihood", type=int, metavar="STRINGS", help="-log p of so many")
    parser.add_argument("--draws", type=int, default=4, help="of the bounds, a string")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="append each row here as a line of JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, energy = sd.load(args.model), sd.load(args.energy)
    if args.likelihood:
        return likelihood(model, energy, args)
    table = [("left to right alone", measure(energy, args.n, args.seed, {}))]
    keep(args.out, *table[0])
    for name, settings in rows_of(energy, args.steps, args.candidates, args.windows):
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
    data = datasets.load("qm9").objects()
    order = np.random.default_rng(0).permutation(len(data))
    real = [data[i] for i in order[: REFERENCE + 4 * compared]]
    known = moments(activations(real[:REFERENCE]))

    def fcd(molecules: Sequence[str]) -> str:
        parts = len(molecules) // compared
        told = activations(molecules[: parts * compared])
        found = [frechet_distance(*moments(part), *known) for part in np.split(told, parts or 1)
                 if len(part)]  # fmt: skip
        spread = f" ± {1.96 * np.std(found, ddof=1) / parts**0.5:.2f}" if parts > 1 else ""
        return f"{np.mean(found):.2f}{spread}" if found else "too few"

    base = next(row["CPU s"] for name, row in table if name == "1 token a step")
    print(f"\n{n:,} rows each; FCD of {compared} valid molecules against {REFERENCE:,}")
    print("| sampler | CPU s | cost | valid | unique | FCD |\n|---|---|---|---|---|---|")
    for name, row in table:
        p = row["valid"]
        error, cost = 1.96 * (p * (1 - p) / n) ** 0.5, row["CPU s"] / base
        print(f"| {name} | {row['CPU s']:.1f} | {cost:.2f}x | {p:.3f} ± {error:.3f} "
              f"| {row['unique']:.3f} | {fcd(row['molecules'])} |", flush=True)  # fmt: skip
    print(f"| real molecules | | | 1 | 1 | {fcd(real[REFERENCE:])} |")


# ---------------------------------------------------------------- likelihood


def held_out(model: Any, n: int) -> list[str]:
    """n molecules that the model's filter of its training set does not know."""
    data = datasets.load("qm9").objects()
    order = np.random.default_rng(1).permutation(len(data)).tolist()
    found: list[str] = []
    for start in range(0, len(order), 1000):
        texts = [data[i] for i in order[start : start + 1000]]
        known = model.novelty.contains([Chem.CanonSmiles(text) for text in texts])
        found += [text for text, seen in zip(texts, known, strict=True) if not seen]
        if len(found) >= n:
            break
    return found[:n]


@torch.no_grad()
def likelihood(model: Any, energy: Any, args: argparse.Namespace) -> None:
    """Print -log p in nats a string, the length counted, and its difference to the left-to-right
    model's own, string by string."""
    texts = held_out(model, args.likelihood)
    exact = -torch.tensor(energy.log_likelihood(texts)["log_likelihood"])
    print(f"{len(texts)} held-out strings, {args.draws} draws, {max(args.candidates)} candidates")
    print("| -log p | nats a string | above left to right |\n|---|---|---|")
    print(f"| left to right, exact | {_mean(exact)} | |")
    table = model.log_likelihood(texts, draws=max(2, args.draws))
    size = -torch.tensor(table["log_p_size"])
    _row("masked, bound", -torch.tensor(table["log_likelihood"]) + size, exact)
    x0 = model.engine.encode(texts)
    x0 = TokenState(x0.ids.repeat_interleave(args.draws, 0))
    told, process = model.sampler().denoiser, MaskedProcess(model.engine.vocabulary.mask_id)
    read = find_energy(energy, model.engine.vocabulary, x0.ids.shape[1])
    for k in args.steps:
        start = time.thread_time()
        bound = EnergyBound(told, read, process, k, max(args.candidates))
        found = bound(x0, seeded(args.seed))
        for name, value in found._asdict().items():
            each = -value.view(len(texts), args.draws).mean(1) + size
            _row(f"with the energy, {k} a step, {name}", each, exact)
        print(f"| | {time.thread_time() - start:.0f} CPU s | |", flush=True)


def _row(name: str, value: Tensor, exact: Tensor) -> None:
    print(f"| {name} | {_mean(value)} | {_mean(value - exact)} |", flush=True)


def _mean(value: Tensor) -> str:
    return f"{value.mean():.2f} ± {1.96 * value.std() / len(value) ** 0.5:.2f}"


if __name__ == "__main__":
    main()
