"""What a string model draws, by block size, order and tokens a step, beside what it costs.

    python benchmarks/moses.py --model runs/moses-smiles/model -n 10000 --card
    python benchmarks/moses.py --model runs/moses-smiles/model -n 2000 --dial --card

`--card` writes the table into the model's card. FCD is biased by about 1,290/n; compare equal n.
"""

from __future__ import annotations

import argparse
import time

import scidiff as sd
from scidiff.api.card import replace_section, table
from scidiff.evaluation.fcd import bias_floor
from scidiff.files import write_atomically

DIAL = [
    {"block_size": b, "order": order, "tokens_per_step": t}
    for b, order, t in [
        (1, "sequential", 1),
        (2, "sequential", 1),
        (4, "sequential", 1),
        (4, "confidence", 1),
        (4, "random", 1),
        (4, "sequential", 2),
        (4, "confidence", 2),
        (4, "random", 4),
    ]
]


def row(model, n, settings, seed):
    """Sample and measure with one setting."""
    start = time.process_time()
    mols = model.sample(n, seed=seed, **settings)
    seconds = time.process_time() - start
    found = {m.name: m for m in sd.evaluate(mols).metrics}
    used = mols.provenance["sampling"]
    shown = {key: used[key] for key in ("block_size", "order", "tokens_per_step")}
    names = ["valid", "unique@1000", "unique@10000", "novelty", "int_div", "fcd_test"]
    return {
        **shown,
        **{name: text(found[name]) for name in names if name in found},
        "CPU s / 1,000": round(1000 * seconds / n, 1),
    }


def text(metric):
    """A value with its interval."""
    if metric.value != metric.value:
        return "n too small"
    return f"{metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="moses-smiles")
    parser.add_argument("-n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--dial", action="store_true", help="every setting, not the default one")
    parser.add_argument("--card", action="store_true", help="write the table into the card")
    args = parser.parse_args()
    model = sd.load(args.model, dtype=args.dtype)
    rows = []
    for settings in DIAL if args.dial else [{}]:
        rows.append(row(model, args.n, settings, args.seed))
        print(rows[-1], flush=True)
    note = (
        f"{args.n:,} samples a row, seed {args.seed}, network in {args.dtype}, no filtering; "
        f"95 % intervals. Real training molecules score an FCD of about "
        f"{bias_floor(args.n):.2f} at this n."
    )
    print(f"{table(rows)}\n\n{note}")
    if args.card:
        name = "Block size, order and cost" if args.dial else "Evaluation"
        card = model.source / "README.md"
        content = f"{table(rows)}\n\n{note}"
        write_atomically(card, replace_section(card.read_text(), name, content).encode())


if __name__ == "__main__":
    main()
