"""Objectives far from what drawing more solves, at equal distinct objects asked: best-of-n, guided
methods, searches and campaigns side by side.

    python benchmarks/design.py run --calls 100 --seeds 0 1 2 3 4
    python benchmarks/design.py run --calls 1000 --methods best-of-n nested default
    python benchmarks/design.py show

Every row is one run: the mean of the ten best objects asked, of the designs handed back, internal
diversity of the designs and of the hundred best asked, and what was paid in objects, network rows
and seconds. Best-of-n draws once a seed for all objectives of a model. Rows are appended to --out
and not measured again, so a run may be stopped and goes on. A budget of 100 gives 10 designs, one
of 1,000 gives 32, a larger one 100. Seeds are paired: the last columns compare with best-of-n seed
by seed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

import scidiff as sd
from scidiff.api.card import table
from scidiff.chem.molecules import parse
from scidiff.core import seeded
from scidiff.data import datasets
from scidiff.data.records import Record
from scidiff.evaluation.divergence import packed
from scidiff.evaluation.neighbours import internal_diversity
from scidiff.guidance.particles import sample
from scidiff.rewards.combine import reward as resolve_reward
from scidiff.rewards.scoring import Scorer

TOP, SHOWN = 10, 100  # objects in the mean, objects whose diversity is told
CHUNK = 500  # rows of best-of-n drawn under one seed


@dataclass(frozen=True)
class Objective:
    """What is designed with which model; strength is in the unit of the reward."""

    reward: str
    model: str = "moses-smiles"
    strength: float = 100.0
    settings: dict[str, Any] = field(default_factory=dict)


PMO = ("perindopril_mpo", "sitagliptin_mpo", "zaleplon_mpo", "osimertinib_mpo",
       "celecoxib_rediscovery", "troglitazone_rediscovery")
OBJECTIVES = {name: Objective(name) for name in PMO} | {
    # 1 in 10 of the training molecules, {known}, none of them more similar than .4
    "novel_qed": Objective("qed * step(novelty('{known}'), 0.6)"),
    "enhancer": Objective("oracle('enhancer-oracle', 'K562')", "enhancer-dna", 10.0,
                          {"tokens_per_step": 20}),
}
METHODS = ("best-of-n", "svdd", "nested", "smc", "fk", "noise", "refine", "surrogate", "screened",
           "evolve")


def designs(calls: int) -> int:
    """How many objects a budget is to hand back."""
    return 10 if calls <= 100 else 32 if calls <= 1000 else 100


# ---------------------------------------------------------------- one run


def measured(kind: str, scores: Sequence[float], texts: Sequence[str],
             chosen: Sequence[int]) -> dict[str, Any]:
    """What a run has found: all that it asked, in that order, and its designs among them."""
    values = np.array(scores, dtype=float)
    order = [int(i) for i in np.argsort(-values, kind="stable") if not math.isnan(values[i])]
    best = order[:SHOWN]
    return {
        "top 10": float(values[order[:TOP]].mean()), "best": float(values[order[0]]),
        "designs": len(chosen), "mean of designs": float(np.nanmean(values[list(chosen)])),
        "top 10 of designs": float(np.sort(values[list(chosen)])[::-1][:TOP].mean()),
        "diversity of designs": diversity(kind, [texts[i] for i in chosen]),
        "diversity of 100": diversity(kind, [texts[i] for i in best]),
        "AUC": auc(values, len(values)), "found": [[texts[i], values[i]] for i in best],
    }  # fmt: skip


def diversity(kind: str, texts: Sequence[str]) -> float:
    """1 - mean Tanimoto similarity (Morgan, radius 2) of two different molecules; the mean share
    of places in which two sequences of one length differ, over the 3/4 of random ones."""
    n = len(texts)
    if n < 2:
        return math.nan
    if kind == "molecule":
        mols = [mol for t in texts if (mol := parse(t)) is not None]
        return internal_diversity(packed(mols))[0] * len(mols) / (len(mols) - 1)
    letters = np.array([list(t) for t in texts])
    same = np.mean([(letters == row).mean() for row in letters])
    return float((1 - same) * n / (n - 1) / 0.75)


def auc(values: np.ndarray, calls: int, every: int = 100) -> float:
    """Area under the mean of the ten best against objects asked, a point every 100, over `calls`
    (Gao et al. 2022); the last mean stays where fewer were asked."""
    at = [*range(every, min(len(values), calls), every), min(len(values), calls)]
    known = [values[:k][np.isfinite(values[:k])] for k in at]  # what failed has no score
    means = [0.0] + [float(np.sort(v)[::-1][:TOP].mean()) if len(v) else 0.0 for v in known]
    area = sum((k - j) * (a + b) / 2 for j, k, a, b in
               zip([0, *at], at, means, means[1:], strict=False))
    return (area + (calls - at[-1]) * means[-1]) / calls


def one(name: str, objective: Objective, method: str, calls: int, seed: int, known: str
        ) -> dict[str, Any]:
    """A run of `sd.design`."""
    model, wall, cpu = loaded(objective.model), time.perf_counter(), time.thread_time()
    how = {} if method == "default" else {"method": method}
    found = sd.design(
        model, objective.reward.format(known=known), n=designs(calls), budget=calls, seed=seed,
        strength=objective.strength, **how, **objective.settings,
    )  # fmt: skip
    seconds, worked = time.perf_counter() - wall, time.thread_time() - cpu
    asked = found.asked
    texts, place = list(asked.texts), {}
    for i, text in enumerate(texts):
        place.setdefault(model.domain.key(asked[i]) if asked[i].valid else text, i)
    mine = [place[k] for r in found if r.valid and (k := model.domain.key(r)) in place]
    scores = [v if s == "ok" else math.nan for v, s in
              zip(asked.columns["score"], asked.columns["status"], strict=True)]
    return {
        **measured(model.domain.kind, scores, texts, mine), "calls": calls,
        "asked": found.ledger.asked, "network rows": found.ledger.network_rows,
        "seconds": seconds, "CPU s": worked,
    }  # fmt: skip


@lru_cache(4)
def loaded(name: str) -> Any:
    return sd.load(name, dtype="bfloat16")


# ---------------------------------------------------------------- best-of-n, drawn once


def drawn(objective: Objective, seed: int, wanted: int, folder: Path
          ) -> Iterator[dict[str, Any]]:
    """Chunks of distinct valid objects of a model until there are `wanted`, kept on disk."""
    file = folder / f"drawn_{objective.model}_{seed}.jsonl"
    chunks = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    known: set[str] = set()
    number = 0
    while len(known) < wanted:
        if number == len(chunks):
            chunks.append(_chunk(objective, seed, number))
            with file.open("a") as f:
                f.write(json.dumps(chunks[-1]) + "\n")
        fresh = [t for t in chunks[number]["texts"] if t not in known]
        known.update(fresh)
        yield {**chunks[number], "texts": list(dict.fromkeys(fresh))}
        number += 1


def _chunk(objective: Objective, seed: int, number: int) -> dict[str, Any]:
    model, wall, cpu = loaded(objective.model), time.perf_counter(), time.thread_time()
    sampler = model.sampler(**objective.settings)
    before = sampler.denoiser.rows
    rows = model.domain.decode(sample(sampler, CHUNK, seeded(seed, number)))
    return {"drawn": len(rows), "network rows": sampler.denoiser.rows - before,
            "seconds": time.perf_counter() - wall, "CPU s": time.thread_time() - cpu,
            "texts": [model.domain.key(r) for r in rows if r.valid]}


def best_of(objective: Objective, calls: int, seed: int, known: str, folder: Path
            ) -> dict[str, Any]:
    """The first `calls` distinct objects of the shared draw, asked; designs are its best."""
    kind = loaded(objective.model).domain.kind
    texts, cost = [], dict.fromkeys(("network rows", "seconds", "CPU s"), 0.0)
    for part in drawn(objective, seed, calls, folder):
        share = min(1.0, (calls - len(texts)) / len(part["texts"]))
        texts += part["texts"][:calls - len(texts)]
        cost = {name: cost[name] + share * part[name] for name in cost}
    wall, cpu = time.perf_counter(), time.thread_time()
    scorer = Scorer(resolve_reward(objective.reward.format(known=known)), lambda r: r.text)
    made = [Record(t, parse(t) if kind == "molecule" else t, True, "") for t in texts]
    scores = scorer.score(made)
    values = [v if ok else math.nan for v, ok in
              zip(scores.values.tolist(), scores.ok.tolist(), strict=True)]
    best = np.argsort(-np.array(values), kind="stable")[:designs(calls)]
    return {
        **measured(kind, values, texts, best.tolist()), "calls": calls, "asked": scorer.asked,
        "network rows": round(cost["network rows"]),
        "seconds": cost["seconds"] + time.perf_counter() - wall,
        "CPU s": cost["CPU s"] + time.thread_time() - cpu,
    }  # fmt: skip


def training_molecules(folder: Path) -> str:
    """A file of every tenth molecule that moses-smiles was trained on."""
    file = folder / "known.smi"
    if not file.exists():
        file.write_text("\n".join(datasets.load("moses", "train").objects()[::10]))
    return str(file)


# ---------------------------------------------------------------- tables


def show(rows: Sequence[dict[str, Any]]) -> None:
    """One table a budget: means over seeds with standard errors; cost in every line."""
    for calls in sorted({row["calls"] for row in rows}):
        mine = [row for row in rows if row["calls"] == calls]
        lines = [line(mine, objective, method) for objective in OBJECTIVES
                 for method in dict.fromkeys(row["method"] for row in mine)]
        print(f"\n{calls:,} objects\n\n{table([found for found in lines if found])}")


def line(rows: Sequence[dict[str, Any]], objective: str, method: str) -> dict[str, Any] | None:
    """A method on an objective, against best-of-n seed by seed."""
    mine = {r["seed"]: r for r in rows if r["objective"] == objective and r["method"] == method}
    control = {r["seed"]: r for r in rows
               if r["objective"] == objective and r["method"] == "best-of-n"}
    if not mine:
        return None

    def mean(name: str, digits: int) -> str:
        x = np.array([r[name] for r in mine.values()])
        error = f" ± {x.std(ddof=1) / math.sqrt(len(x)):.{digits}f}" if len(x) > 1 else ""
        return f"{x.mean():.{digits}f}{error}"

    gain = [mine[s]["top 10"] - control[s]["top 10"] for s in mine if s in control]
    return {
        "objective": objective, "method": method, "seeds": len(mine), "top 10": mean("top 10", 3),
        "top 10 of designs": mean("top 10 of designs", 3), "best": mean("best", 3),
        "diversity of designs": mean("diversity of designs", 3),
        "of the 100 best": mean("diversity of 100", 3), "asked": mean("asked", 0),
        "network rows": mean("network rows", 0), "s": mean("seconds", 0),
        "CPU s": mean("CPU s", 0), "above best-of-n": interval(gain),
        "seeds won": f"{sum(g > 0 for g in gain)} of {len(gain)}",
    }  # fmt: skip


def interval(gain: Sequence[float]) -> str:
    """Mean of paired differences with its 95 % interval by Student's t."""
    x = np.array(gain)
    if len(x) < 2 or not x.any():
        return f"{x.mean():+.3f}" if len(x) else ""
    half = float(stats.t.ppf(0.975, len(x) - 1)) * x.std(ddof=1) / math.sqrt(len(x))
    return f"{x.mean():+.3f} [{x.mean() - half:+.3f}, {x.mean() + half:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("run", "show"))
    parser.add_argument("--objectives", nargs="*", default=list(OBJECTIVES), choices=OBJECTIVES)
    parser.add_argument("--methods", nargs="*", default=list(METHODS),
                        help="names of sd.design, best-of-n, or default: the model's own")
    parser.add_argument("--calls", type=int, nargs="*", default=[100])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path("runs/bench_design"))
    typed = parser.parse_args()
    torch.set_num_threads(1)
    typed.out.mkdir(parents=True, exist_ok=True)
    file = typed.out / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    if typed.part == "show":
        return show(rows)
    known = training_molecules(typed.out)
    for calls, seed, name, method in product(
        typed.calls, typed.seeds, typed.objectives, typed.methods
    ):
        told = {"objective": name, "method": method, "calls": calls, "seed": seed}
        if any(told.items() <= row.items() for row in rows):
            continue
        objective = OBJECTIVES[name]
        found = (best_of(objective, calls, seed, known, typed.out) if method == "best-of-n" else
                 one(name, objective, method, calls, seed, known))
        rows.append({**told, **found, "scidiff": sd.__version__})
        with file.open("a") as f:
            f.write(json.dumps(rows[-1]) + "\n")
        print({k: v for k, v in rows[-1].items() if k != "found"}, flush=True)


if __name__ == "__main__":
    main()
