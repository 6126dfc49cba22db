"""Guided design at equal distinct objects asked: unguided, best-of-n, SVDD, nested SVDD and SMC
side by side.

    python benchmarks/design.py --reward perindopril_mpo -n 64 --budget 8192
"""

from __future__ import annotations

import argparse
import json
import time

import scidiff as sd
from scidiff.api.card import table
from scidiff.api.design import METHODS, STRENGTH, find_method, pick, run_method
from scidiff.rewards.combine import reward as resolve_reward
from scidiff.rewards.scoring import Scorer


def measure(model, reward, name, n, calls, seed, strength):
    """Run one method; invalid designs stay in with the reward's floor."""
    method, start = find_method("best-of-n" if name == "unguided" else name), time.perf_counter()
    scorer = Scorer(resolve_reward(reward), key=model.domain.key)
    plan, run = run_method(model, method, scorer, n, calls, seed, strength, {})
    rows = pick(run, method.best, seed)
    values = run.scores[rows] / strength
    records = model.domain.decode(run.x[rows])
    keys = {model.domain.key(r) for r in records if r.valid}
    top = values.sort(descending=True).values[: max(1, n // 10)]
    return {
        "method": name,
        "particles x branch x looks": f"{plan.particles} x {plan.branch} x {plan.looks}",
        "mean": float(values.mean()),
        "standard error": float(values.std() / n**0.5),
        "top 10 %": float(top.mean()),
        "valid": sum(r.valid for r in records) / n,
        "unique": len(keys) / n,
        "objects asked": scorer.asked,
        "network rows": run.ledger.network_rows,
        "seconds": round(time.perf_counter() - start, 1),
        "verdict": run.certificate.verdict,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="moses-smiles")
    parser.add_argument("--reward", default="perindopril_mpo")
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("--budget", type=int, default=8192, help="distinct objects asked a method")
    parser.add_argument("--strength", type=float, default=STRENGTH)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="*", default=["unguided", *METHODS])
    parser.add_argument("--json", help="also write the rows to this file")
    args = parser.parse_args()
    model = sd.load(args.model, dtype="bfloat16")
    rows = []
    for name in args.methods:
        calls = 1 if name == "unguided" else args.budget // args.n
        rows.append(measure(model, args.reward, name, args.n, calls, args.seed, args.strength))
        print(json.dumps(rows[-1]), flush=True)
    print(table(rows))
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"settings": vars(args), "rows": rows}, f, indent=1)


if __name__ == "__main__":
    main()
