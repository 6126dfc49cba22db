"""Practical Molecular Optimization (Gao et al. 2022, arXiv 2206.12411): the area under the mean of
the ten best molecules against distinct molecules asked, 10,000 at most, over 20 of the 23 oracles.

    python benchmarks/pmo.py run --method default --oracles perindopril_mpo median1 --seeds 0 1 2
    python benchmarks/pmo.py show

Nothing is screened beforehand. Three oracles of the 23 are pickled models and are left out (drd2,
gsk3b, jnk3), so sums are over the oracles that were run, of published rows over the same ones.
Those with a * count atoms from the molecule, where published numbers counted them in the SMILES
text: close, not equal. Runs are appended to --out and not measured again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from design import auc, diversity

import scidiff as sd
from scidiff.api.card import table
from scidiff.rewards.pmo import PMO

CALLS = 10_000
ISOMERS = ("isomers_c7h8n2o2", "isomers_c9h10n2o2pf2cl", "sitagliptin_mpo", "zaleplon_mpo")
# Mean AUC of the ten best without a prescreen: Genetic GFN (Kim et al. 2024, arXiv 2402.05961) and
# REINVENT (Gao et al. 2022), as Table 1 on page 7 of Lee et al. 2024 (arXiv 2411.12078) gives them
PUBLISHED = {
    "albuterol_similarity": (0.949, 0.882), "amlodipine_mpo": (0.761, 0.635),
    "celecoxib_rediscovery": (0.802, 0.713), "deco_hop": (0.733, 0.666),
    "fexofenadine_mpo": (0.856, 0.784), "isomers_c7h8n2o2": (0.969, 0.852),
    "isomers_c9h10n2o2pf2cl": (0.897, 0.642), "median1": (0.379, 0.356),
    "median2": (0.294, 0.276), "mestranol_similarity": (0.708, 0.618),
    "osimertinib_mpo": (0.860, 0.837), "perindopril_mpo": (0.595, 0.537), "qed": (0.942, 0.941),
    "ranolazine_mpo": (0.819, 0.760), "scaffold_hop": (0.615, 0.560),
    "sitagliptin_mpo": (0.634, 0.021), "thiothixene_rediscovery": (0.583, 0.534),
    "troglitazone_rediscovery": (0.511, 0.441), "valsartan_smarts": (0.135, 0.178),
    "zaleplon_mpo": (0.552, 0.358),
}  # fmt: skip


def run(model: Any, oracle: str, method: str, seed: int, calls: int) -> dict[str, Any]:
    """One run of the protocol: molecules in the order asked, an unanswered one counts 0."""
    how = {} if method == "default" else {"method": method}
    wall, cpu = time.perf_counter(), time.thread_time()
    found = sd.design(model, oracle, n=100, budget=calls, seed=seed, **how)
    seconds, worked = time.perf_counter() - wall, time.thread_time() - cpu
    asked = found.asked
    values = np.array([v if s == "ok" else 0.0 for v, s in
                       zip(asked.columns["score"], asked.columns["status"], strict=True)])
    best = np.argsort(-values, kind="stable")[:100]
    return {
        "AUC": auc(values, calls), "top 10": float(values[best[:10]].mean()),
        "best": float(values[best[0]]), "asked": found.ledger.asked,
        "diversity of 100": diversity("molecule", [asked.texts[i] for i in best]),
        "network rows": found.ledger.network_rows, "seconds": seconds, "CPU s": worked,
        "found": [[asked.texts[i], float(values[i])] for i in best],
    }  # fmt: skip


def show(rows: Sequence[dict[str, Any]]) -> None:
    """A table a method and budget, published values beside it, sums over the same oracles."""
    for method, calls in sorted({(row["method"], row["calls"]) for row in rows}):
        mine = [row for row in rows if (row["method"], row["calls"]) == (method, calls)]
        lines = [line(mine, oracle) for oracle in PMO if oracle in {r["oracle"] for r in mine}]
        names = [name for name in PMO if name in {r["oracle"] for r in mine}]
        total = {"oracle": f"sum of {len(lines)}", "AUC": f"{sum(_means(mine).values()):.3f}"}
        if calls == CALLS:
            total |= dict(zip(("Genetic GFN", "REINVENT"), (
                f"{sum(PUBLISHED[n][i] for n in names):.3f}" for i in (0, 1)), strict=True))
        print(f"\n{method}, {calls:,} molecules\n")
        print(table([*lines, {name: total.get(name, "") for name in lines[0]}]))


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    oracles = dict.fromkeys(row["oracle"] for row in rows)
    return {o: float(np.mean([r["AUC"] for r in rows if r["oracle"] == o])) for o in oracles}


def line(rows: Sequence[dict[str, Any]], oracle: str) -> dict[str, Any]:
    """One oracle over its seeds; the spread is the standard deviation, as published."""
    mine = [row for row in rows if row["oracle"] == oracle]

    def told(name: str, digits: int = 3) -> str:
        x = np.array([row[name] for row in mine])
        spread = f" ± {x.std(ddof=1):.{digits}f}" if len(x) > 1 else ""
        return f"{x.mean():.{digits}f}{spread}" if not math.isnan(x.mean()) else ""

    theirs = PUBLISHED[oracle] if mine[0]["calls"] == CALLS else ("", "")
    return {
        "oracle": oracle + "*" * (oracle in ISOMERS), "seeds": len(mine), "AUC": told("AUC"),
        "Genetic GFN": theirs[0], "REINVENT": theirs[1], "top 10": told("top 10"),
        "diversity of 100": told("diversity of 100"), "asked": told("asked", 0),
        "network rows": told("network rows", 0), "s": told("seconds", 0),
        "CPU s": told("CPU s", 0),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("run", "show"))
    parser.add_argument("--oracles", nargs="*", default=list(PMO), choices=PMO)
    parser.add_argument("--method", default="default", help="a name of sd.design, or its own")
    parser.add_argument("--model", default="moses-smiles")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--out", type=Path, default=Path("runs/bench_pmo.jsonl"))
    typed = parser.parse_args()
    torch.set_num_threads(1)
    typed.out.parent.mkdir(parents=True, exist_ok=True)
    lines = typed.out.read_text().splitlines() if typed.out.exists() else []
    rows = [json.loads(line) for line in lines]
    if typed.part == "show":
        return show(rows)
    model = sd.load(typed.model, dtype="bfloat16")
    for seed, oracle in product(typed.seeds, typed.oracles):
        told = {"method": typed.method, "model": typed.model, "oracle": oracle, "seed": seed,
                "calls": typed.calls}
        if any(told.items() <= row.items() for row in rows):
            continue
        rows.append({**told, **run(model, oracle, typed.method, seed, typed.calls),
                     "scidiff": sd.__version__})
        with typed.out.open("a") as f:
            f.write(json.dumps(rows[-1]) + "\n")
        print({k: v for k, v in rows[-1].items() if k != "found"}, flush=True)


if __name__ == "__main__":
    main()
