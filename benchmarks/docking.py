"""Does a design find better binders than random sampling, at the same few dockings?

    pip install 'scidiff[docking]' && python benchmarks/docking.py --folder docks

Each method docks `--budget` molecules at exhaustiveness 1. Its ten best are docked again at
exhaustiveness 8 with seeds that the loop did not use. Every docking is kept in the folder as soon
as it is done: a run that was killed goes on where it was, and ends with the same molecules.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from pathlib import Path

import numpy as np

import scidiff as sd
from scidiff.api.card import table
from scidiff.chem.molecules import parse
from scidiff.data.records import Record
from scidiff.rewards.cache import Cache
from scidiff.rewards.docking import Dock
from scidiff.rewards.molecules import qed, sa_scores
from scidiff.rewards.scoring import Scorer
from scidiff.rewards.workers import Processes

TEN, FIVE = 10, 5


def search(model, method, args):
    """Spend the budget with one method: every molecule it docked, best first, and the seconds."""
    cache, start = args.folder / f"{args.target}_{method}_{args.seed}.db", time.perf_counter()
    reward = f"dock({args.target!r}, seed={args.seed})"
    sd.design(model, reward, args.n, method, args.budget, args.seed, strength=args.strength,
              cache=cache, workers=args.workers, timeout=args.timeout)
    with sqlite3.connect(cache) as file:
        rows = file.execute("SELECT object, value FROM scores WHERE status = 0 "
                            "ORDER BY value DESC, object").fetchall()
    return rows, time.perf_counter() - start


def again(texts, args):
    """Energies of molecules at the exhaustiveness of a report, kcal/mol, (repeats, molecules)."""
    records, found = [Record(t, parse(t), True) for t in texts], []
    with Processes(args.workers, args.timeout) as executor:
        for seed in range(args.seed + 1, args.seed + 1 + args.repeats):
            scorer = Scorer(Dock(args.target, args.exhaustiveness, seed), key=lambda r: r.text,
                            executor=executor, cache=Cache(args.folder / "again.db"))
            found.append((-scorer(records).values).tolist())
    return np.array(found)


def measure(model, method, args):
    """One row of the table: energies in kcal/mol, lower is better."""
    pool, seconds = search(model, method, args)
    texts = [t for t, _ in pool[:TEN]]
    energies = again(texts, args)
    mean = energies.mean(0)
    mols = [parse(t) for t in texts]
    return {
        "method": method, "docks": len(pool), "seconds": round(seconds),
        "all, exhaustiveness 1": f"{-np.mean([v for _, v in pool]):.2f}",
        "top 5, exhaustiveness 1": f"{-np.median([v for _, v in pool[:FIVE]]):.2f}",
        f"top 5, exhaustiveness {args.exhaustiveness}": spread(mean[:FIVE]),
        f"top 10, exhaustiveness {args.exhaustiveness}": spread(mean),
        "between seeds": f"{energies.std(0, ddof=1).mean():.2f}" if len(energies) > 1 else "-",
        "QED": f"{np.mean(qed(mols)):.2f}", "SA": f"{np.mean(sa_scores(mols)):.2f}",
        "molecules": dict(zip(texts, energies.T.round(3).tolist(), strict=True)),
    }


def spread(energies):
    """Median and the smallest and largest: of n draws these hold the median of what they were
    drawn from with probability 1 - 2^(1 - n), 94 % for five."""
    return f"{np.median(energies):.2f} [{min(energies):.2f}, {max(energies):.2f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="moses-smiles")
    parser.add_argument("--target", default="PARP1")
    parser.add_argument("--methods", nargs="*", default=["best-of-n", "smc"],
                        help="best-of-n is plain sampling: whatever is drawn is docked")
    parser.add_argument("-n", type=int, default=10, help="designs a method returns")
    parser.add_argument("--budget", type=int, default=100, help="molecules docked a method")
    parser.add_argument("--strength", type=float, default=5.0, help="a kcal/mol")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exhaustiveness", type=int, default=8, help="of the ten reported")
    parser.add_argument("--repeats", type=int, default=3, help="seeds of the ten reported")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds a molecule")
    parser.add_argument("--folder", type=Path, default=Path("docks"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    model, rows = sd.load(args.model), []
    for method in args.methods:
        rows.append(measure(model, method, args))
        print(json.dumps(rows[-1]), flush=True)
    print(table([{k: v for k, v in row.items() if k != "molecules"} for row in rows]))


if __name__ == "__main__":
    main()
