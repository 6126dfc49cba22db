"""How well models of strings predict strings held out from all of them: the left-to-right baseline
exactly, masked and uniform diffusion by their bounds.

    python benchmarks/perplexity.py        the three recipes qm9_smiles_* under runs/
    python benchmarks/perplexity.py --models A B --recipe RECIPE.toml -n 2000 --draws 64

The strings are a random choice of the recipe's own validation rows; models of other recipes are
comparable only where these hold out the same. Nats are of a whole string, its length included
(`scidiff.api.perplexity`); `of them length` are those of the length law, of models that are given
the length. Intervals are 95 % over strings.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

import scidiff as sd
from scidiff.api.card import table
from scidiff.api.intake import load_strings
from scidiff.api.perplexity import perplexity
from scidiff.api.recipes import read
from scidiff.api.train import prepare

RUNS = ("qm9-smiles-ar", "qm9-smiles-masked", "qm9-smiles-uniform")
ROOT = Path(__file__).parents[1]
PUBLISHED = (("AR", 2.19), ("MDLM", 2.12), ("UDLM", 2.02))


def held_out(recipe: Path, n: int, seed: int) -> list[str]:
    """n strings that the recipe's models were not trained on."""
    asked = read(recipe)
    data = prepare(asked, load_strings(asked, Path(".")).strings, None)
    rows = np.random.default_rng(seed).permutation(len(data.validation))[:n]
    return [data.vocabulary.decode(data.validation[i].tolist()) for i in rows]


def measure(path: Path, strings: list[str], draws: int) -> dict[str, str]:
    """One row of the table."""
    model, start = sd.load(str(path), device="cpu"), time.thread_time()
    report = perplexity(model, strings, draws=draws)
    row = {"model": model.name, "process": model.config["process"]["kind"]}
    row["parameters"] = f"{sum(p.numel() for p in model.engine.network.parameters()):,}"
    size = 0.0 - float(model.engine.length_log_prob(strings).mean())
    row["of them length"] = f"{size:.3f}"
    for name in ("nats", "perplexity", "perplexity_padded", "bits_per_character"):
        m = report[name]
        row[name] = f"{m.value:.3f} [{m.low:.3f}, {m.high:.3f}]"
    return {**row, "value": report["nats"].note, "CPU s": f"{time.thread_time() - start:.0f}"}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, nargs="+",
                        default=[Path("runs") / name / "model" for name in RUNS])  # fmt: skip
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes/qm9_smiles_masked.toml")
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--draws", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = [path for path in args.models if path.is_dir()]
    for path in args.models:
        if path not in found:
            print(f"{path} is not there: train it with its recipe, or name others by --models")
    if not found:
        return
    strings = held_out(args.recipe, args.n, args.seed)
    print(f"{len(strings):,} held-out strings of {args.recipe.name}, {args.draws} draws a bound")
    print(table([measure(path, strings, args.draws) for path in found]))
    print("published of QM9 (arXiv 2412.10193: other SMILES, other split; a token, padding left "
          "out): " + ", ".join(f"{name} {value}" for name, value in PUBLISHED))  # fmt: skip


if __name__ == "__main__":
    main()
