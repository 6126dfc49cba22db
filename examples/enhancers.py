"""Design enhancers for one cell line, and see what it costs: four minutes on one core.

    python examples/enhancers.py --cell HepG2 --designs 64 --calls 32

One oracle is optimised, another one judges, trained on other rows and of another kind; beside
them, how natural the designs still are (extra `motifs` for the correlation of motif spectra).
"""

from __future__ import annotations

import argparse
import logging

import scidiff as sd
from scidiff.data import datasets
from scidiff.evaluation.fidelity import naturalness
from scidiff.evaluation.intervals import mean_interval
from scidiff.rewards.learned import Oracle

STRENGTH = 10.0  # of log-odds: nearly the best of every choice
FAST = {"tokens_per_step": 10}  # 20 network calls a sequence


def mean(values) -> str:
    low, high = mean_interval(list(values))
    return f"{values.mean():5.2f} [{low:5.2f}, {high:5.2f}]"


def row(name, sequences, cell, real, cost="") -> str:
    """Log-odds of the cell line by both oracles, naturalness, and what the designs cost."""
    oracles = map(Oracle.load, ("enhancer-oracle", "enhancer-judge"))
    odds = [mean(o.predict(sequences)[:, o.index(cell)]) for o in oracles]
    natural = [f"{m.value:6.3f}" for m in naturalness(sequences, real)]
    return " | ".join([f"{name:10}", *odds, *natural, cost])


def rows_of(split, cell) -> list[str]:
    table = datasets.load("enhancers", split)
    return [s for s, c in zip(table.objects(), table.values("cell"), strict=True) if c == cell]


def main(cell: str, n: int, calls: int, rows: int) -> None:
    model = sd.load("enhancer-dna", dtype="bfloat16")
    asked, real = {"condition": {"cell": cell}, **FAST}, rows_of("test", cell)[:rows]
    print(f"{n} enhancers of 200 bp for {cell}, {calls} oracle calls a design, mean [95 %]")
    print("           | oracle's log-odds    | judge's log-odds     | 3-mers | motifs | AUROC "
          "| network rows a design")
    print(row("real", rows_of("training", cell)[:n], cell, real), flush=True)
    print(row("unguided", model.sample(n, **asked).texts, cell, real, "20"), flush=True)
    for method in ("best-of-n", "smc", "svdd"):
        hits = sd.design(model, f"oracle('enhancer-oracle', '{cell}')", n, method, n * calls,
                         strength=STRENGTH, **asked)
        print(row(method, hits.rows.texts, cell, real, f"{hits.ledger.network_rows / n:.0f}"),
              flush=True)


if __name__ == "__main__":
    logging.getLogger("scidiff").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", default="K562", help="GM12878, HepG2, K562 or hESCT0")
    parser.add_argument("--designs", type=int, default=50)
    parser.add_argument("--calls", type=int, default=16, help="of the oracle, a design")
    parser.add_argument("--quick", action="store_true", help="a few designs, in seconds")
    typed = parser.parse_args()
    quick = (typed.cell, 4, 4, 40)
    main(*(quick if typed.quick else (typed.cell, typed.designs, typed.calls, 1_000)))
