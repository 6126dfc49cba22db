"""Does a design find better binders than random sampling, at the same few dockings?

    pip install 'scidiff[docking]' && python benchmarks/docking.py --folder docks

Each method docks at most `--budget` molecules at exhaustiveness 1. Its best ones are docked again
at exhaustiveness 8 with seeds that the loop did not use. Every method is a campaign in the folder,
and every docking is kept there as soon as it is done: a run that was killed goes on where it was,
and ends with the same molecules.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import scidiff as sd
from scidiff.api.card import table
from scidiff.chem.molecules import canonical, parse
from scidiff.data.records import Record
from scidiff.rewards.cache import Cache
from scidiff.rewards.docking import Dock
from scidiff.rewards.molecules import qed, sa_scores
from scidiff.rewards.scoring import Scorer

FIVE = 5


def search(model, method, args):
    """Spend the budget with one method: the campaign, and what it docked, best first."""
    out = args.folder / f"{args.target}_{method}_{args.seed}"
    found = sd.design(model, f"dock({args.target!r}, seed={args.seed})", args.n, method,
                      args.budget, args.seed, strength=args.strength, workers=args.workers,
                      timeout=args.timeout, cache=args.folder / "docks.db", out=out,
                      resume=out.exists())
    columns = found.asked.columns
    pool = [(canonical(text), score) for text, score, status in
            zip(found.asked.texts, columns["score"], columns["status"], strict=True)
            if status == "ok"]
    return found, sorted(pool, key=lambda row: (-row[1], row[0]))


def again(texts, seed, args):
    """Energies of molecules at the exhaustiveness of a report, kcal/mol."""
    scorer = Scorer(Dock(args.target, args.exhaustiveness, seed), key=lambda r: r.text,
                    kind="reported", cache=Cache(args.folder / "docks.db"))
    return (-scorer([Record(t, parse(t), True) for t in texts]).values).tolist()


def row(method, found, pool, energies):
    """One row of the table: energies in kcal/mol, lower is better; (repeats, molecules)."""
    mols, mean = [parse(t) for t, _ in pool[:energies.shape[1]]], energies.mean(0)
    return {
        "method": method, "docks": len(pool), "network rows": found.ledger.network_rows,
        "seconds": round(found.ledger.seconds),
        "all, loop": f"{-np.mean([v for _, v in pool]):.2f}",
        "top 5, loop": f"{-np.median([v for _, v in pool[:FIVE]]):.2f}",
        "top 5, again": spread(mean[:FIVE]), f"top {len(mean)}, again": spread(mean),
        "sd of seeds": f"{energies.std(0, ddof=1).mean():.2f}" if len(energies) > 1 else "-",
        "QED": f"{np.mean(qed(mols)):.2f}", "SA": f"{np.mean(sa_scores(mols)):.2f}",
    }


def spread(energies):
    """Median and the smallest and largest: of n draws these hold the median of what they were
    drawn from with probability 1 - 2^(1 - n), 94 % for five."""
    return f"{np.median(energies):.2f} [{min(energies):.2f}, {max(energies):.2f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="moses-smiles")
    parser.add_argument("--target", default="PARP1")
    parser.add_argument("--methods", nargs="*", default=["evolve", "best-of-n"],
                        help="best-of-n is plain sampling: whatever is drawn is docked")
    parser.add_argument("-n", type=int, default=10, help="designs a method returns")
    parser.add_argument("--budget", type=int, default=100, help="molecules docked a method")
    parser.add_argument("--strength", type=float, default=5.0, help="a kcal/mol")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exhaustiveness", type=int, default=8, help="of those reported")
    parser.add_argument("--reported", type=int, default=10, help="docked again, of each method")
    parser.add_argument("--repeats", type=int, default=3, help="seeds of those reported")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds a molecule")
    parser.add_argument("--folder", type=Path, default=Path("docks"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    model = sd.load(args.model)
    runs = {method: search(model, method, args) for method in args.methods}
    energies = {method: [] for method in runs}
    for seed in range(args.seed + 1, args.seed + 1 + args.repeats):
        for method, (_, pool) in runs.items():
            energies[method].append(again([t for t, _ in pool[:args.reported]], seed, args))
            print(json.dumps({"method": method, "seed": seed, "again": energies[method][-1]}),
                  flush=True)
    print(table([row(m, *runs[m], np.array(energies[m])) for m in runs]))
    for method, (_, pool) in runs.items():
        print(method, *(t for t, _ in pool[:FIVE]), sep="\n    ")


if __name__ == "__main__":
    main()
