"""QED and SA guided on GDSS's official ZINC250k weights, for a few hundred questions a molecule.

    python benchmarks/gdss_design.py tune --weights gdss_zinc250k_v2.npz -n 16
    python benchmarks/gdss_design.py run --weights gdss_zinc250k_v2.npz -n 32 --seeds 0 1
    python benchmarks/gdss_design.py show

Molecules are read as published (Jo et al. 2022): orders above a valence lowered, the fragment of
the longest SMILES kept; what is left has the reward, 0 where nothing is. `kept` says how many of
the atoms that were drawn are still there: rewards of fragments flatter. Published rows beside
ours: Li et al. 2024 (arXiv 2408.08252), 512 molecules, 10,000 questions a molecule. The grid of
`tune` runs on its own seed. GDSS publishes its weights without a licence: bring the file.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import scidiff as sd
from scidiff.api.card import table
from scidiff.chem.correction import Corrected, correct
from scidiff.chem.molecules import parse
from scidiff.core import Select, seeded
from scidiff.data.records import Record
from scidiff.domains.molecule_graph import MoleculeGraphDomain
from scidiff.evaluation.divergence import packed
from scidiff.evaluation.neighbours import internal_diversity
from scidiff.guidance.certificate import Guided, Meter
from scidiff.guidance.lookahead import Decoded, end_values
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.refine import refine
from scidiff.guidance.search import best_of
from scidiff.guidance.selection import Replacing, keep_all, nested, per_parent, smc
from scidiff.rewards.registry import find
from scidiff.rewards.scoring import Scorer
from scidiff.samplers.strided import StridedSampler

PUBLISHED = [  # median, 90 % quantile, diversity (QED only) of Tables 1 and 3
    {"reward": "qed", "method": "none, published", "median": 0.656, "top 10 %": 0.812,
     "diversity": 0.874},
    {"reward": "qed", "method": "best-of-10, published", "median": 0.835, "top 10 %": 0.902,
     "diversity": 0.880, "asked": 10},
    {"reward": "qed", "method": "SVDD, published", "median": 0.848, "top 10 %": 0.928,
     "diversity": 0.860, "asked": 10_000},
    {"reward": "qed", "method": "SVDD-R, published", "median": 0.924, "top 10 %": 0.961,
     "diversity": 0.616, "asked": 10_000},
    {"reward": "sa", "method": "none, published", "median": 0.652, "top 10 %": 0.803},
    {"reward": "sa", "method": "best-of-10, published", "median": 0.834, "top 10 %": 0.941,
     "asked": 10},
    {"reward": "sa", "method": "SVDD, published", "median": 0.925, "top 10 %": 1.0,
     "asked": 10_000},
    {"reward": "sa", "method": "SVDD-R, published", "median": 0.992, "top 10 %": 1.0,
     "asked": 10_000},
]  # fmt: skip

TUNING = 1_000  # the seed of the grid


@dataclass(frozen=True)
class Guide:
    """A selection rule and how it spends its questions on a molecule: `looks` times particles *
    branch guesses, of candidates that part a whole stretch of steps before (`apart`) or one step
    before."""

    select: Select
    particles: int
    branch: int
    looks: int
    settings: dict[str, Any]
    apart: bool = True
    strength: float = 100.0
    together: bool = False  # all molecules are one population

    def __call__(self, inner: Any, reward: Decoded, n: int, rng: torch.Generator
                 ) -> tuple[Any, int]:
        """Finished states (n,) and the network rows they took."""
        stride = -(-inner.num_steps // self.looks) if self.looks else inner.num_steps
        sampler = StridedSampler(inner, stride) if self.apart else inner
        run = guided_sample(
            sampler, reward, n * self.particles, rng, select=self.select, strength=self.strength,
            branch=self.branch, every=1 if self.apart else stride,
            populations=1 if self.together else n,
        )  # fmt: skip
        return run.x[self._rows(run, n, rng)], run.ledger.network_rows

    def _rows(self, run: Guided, n: int, rng: torch.Generator) -> torch.Tensor:
        """One row a molecule: all of one population, the best where nothing was weighed, a draw
        by weight elsewhere."""
        if self.together:
            return torch.arange(n)
        if self.select is keep_all:
            return run.scores.view(n, -1).argmax(1) + torch.arange(n) * self.particles
        return run.draw(rng)


@dataclass(frozen=True)
class Climb:
    """The best of `start` molecules, then `rounds` times: taken `back` steps of the chain back,
    denoised again, kept where better (`guidance.refine`)."""

    start: int
    rounds: int
    back: tuple[int, ...]
    settings: dict[str, Any]

    def __call__(self, inner: Any, reward: Decoded, n: int, rng: torch.Generator
                 ) -> tuple[Any, int]:
        meter, drawn = Meter(inner, reward, None), sample(inner, n * self.start, rng)
        best = best_of(end_values(reward, drawn), n, 1)
        run = refine(inner, reward, drawn[best], rng, rounds=self.rounds, back=self.back)
        return run.x, meter.ledger(0).network_rows


S50 = {"solver": "2m", "steps": 50, "eta": 3.0, "rho": 0.85}
S100 = {"solver": "2m", "steps": 100, "eta": 5.0, "rho": 0.85}
SVDD = Guide(per_parent, 1, 15, 20, S100)
GRID: dict[str, Guide | Climb] = {
    "refine, 100 rounds of 16 and 8 of 50 steps": Climb(4, 100, (16, 8), S50),
    "refine, 100 rounds of 25 and 12 of 50 steps": Climb(4, 100, (25, 12), S50),
    "svdd, 20 x 15": SVDD,
    "svdd, 100 x 3, one step apart": replace(SVDD, looks=100, branch=3, apart=False),
    "nested, 4 particles, 20 x 4": Guide(nested(0.5), 4, 4, 20, S100),
    "nested, 6 particles, 30 x 5": Guide(nested(0.5), 6, 5, 30, S100),
    "smc, 15 particles, 20 looks": Guide(smc(0.5), 15, 1, 20, S100),
    "svdd, 50 x 15": replace(SVDD, looks=50),
    "svdd, 50 x 30": replace(SVDD, looks=50, branch=30),
    "svdd-r, 20 x 15": replace(SVDD, select=Replacing(0.05), together=True),
    "svdd-r, 50 x 15": replace(SVDD, select=Replacing(0.05), together=True, looks=50),
}
CHOSEN = {
    "none": Guide(keep_all, 1, 1, 0, S100),
    "best-of-15": Guide(keep_all, 15, 1, 0, S100),
}


@lru_cache(1 << 17)
def repaired(text: str) -> Corrected | None:
    return correct(text)


class Repaired:
    """A domain whose molecules are repaired as published before anybody sees them."""

    def __init__(self, inner: MoleculeGraphDomain) -> None:
        self.inner = replace(inner, rules=())

    def decode(self, state: Any) -> list[Record]:
        return [self._read(record.text) for record in self.inner.decode(state)]

    def _read(self, text: str) -> Record:
        found = repaired(text)
        if found is None or found.mol is None or not found.kept:
            return Record(text, None, False, "cannot be repaired")
        return Record(found.smiles, found.mol, True, "")

    def key(self, record: Record) -> str:
        return record.text


def design(model: Any, reward: str, way: Guide | Climb, n: int, seed: int, budget: int
           ) -> dict[str, Any]:
    """n molecules of one method: what they score, what is left of them and what they cost."""
    domain = Repaired(model.domain)
    scorer = Scorer(find(reward), domain.key, budget=budget * n)
    cpu, wall = time.thread_time(), time.perf_counter()
    states, rows = way(model.sampler(**way.settings), Decoded(domain, scorer), n, seeded(seed))
    return {
        **told(domain, model.domain.decode(states), states, scorer),
        "asked": scorer.asked / n, "network rows": rows / n,
        "CPU s": (time.thread_time() - cpu) / n, "wall s": (time.perf_counter() - wall) / n,
    }  # fmt: skip


def told(domain: Repaired, drawn: Sequence[Record], states: Any, scorer: Scorer
         ) -> dict[str, Any]:
    """Scores, share of atoms kept and SMILES of every row, and how many were valid as drawn."""
    scores = scorer.score(domain.decode(states))
    fixed = [repaired(record.text) for record in domain.inner.decode(states)]
    return {
        "scores": [v if ok else 0.0 for v, ok in
                   zip(scores.values.tolist(), scores.ok.tolist(), strict=True)],
        "valid as drawn": [int(record.valid) for record in drawn],
        "kept": [f.kept / f.atoms if f else 0.0 for f in fixed],
        "atoms": [f.kept if f else 0 for f in fixed],
        "smiles": [f.smiles if f else "" for f in fixed],
    }


def between(values: Sequence[float], of: Callable[..., Any]) -> str:
    """A statistic of rows with its 95 % interval, by 2,000 bootstraps."""
    x = np.asarray(values)
    drawn = np.random.default_rng(0).integers(len(x), size=(2000, len(x)))
    low, high = np.quantile(of(x[drawn], axis=1), (0.025, 0.975))
    return f"{of(x):.3f} [{low:.3f}, {high:.3f}]"


def line(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row of the table from all seeds of a method; diversity is the mean over seeds."""
    rows = {name: sum((r[name] for r in runs), []) for name in
            ("scores", "kept", "atoms", "valid as drawn", "smiles")}
    mean = {name: float(np.mean([r[name] for r in runs])) for name in
            ("asked", "network rows", "CPU s", "wall s")}
    return {
        "reward": runs[0]["reward"], "method": runs[0]["method"], "n": len(rows["scores"]),
        "seeds": len(runs), "median": between(rows["scores"], np.median),
        "top 10 %": between(rows["scores"], partial(np.quantile, q=0.9)),
        "diversity": round(float(np.mean([diversity(r["smiles"]) for r in runs])), 3),
        "distinct": round(len(set(rows["smiles"])) / len(rows["smiles"]), 3),
        "valid as drawn": round(float(np.mean(rows["valid as drawn"])), 3),
        "atoms kept": round(float(np.mean(rows["kept"])), 3),
        "atoms": round(float(np.mean(rows["atoms"])), 1),
        **{f"{name} a molecule": round(value, 1) for name, value in mean.items()},
    }  # fmt: skip


def diversity(smiles: Sequence[str]) -> float:
    """1 - mean Tanimoto similarity (Morgan, radius 2) of two different rows."""
    mols = [mol for text in smiles if text and (mol := parse(text)) is not None]
    n = len(mols)
    return internal_diversity(packed(mols))[0] * n / (n - 1) if n > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("tune", "run", "show"))
    parser.add_argument("--weights", type=Path, help="the official file, .pth or .npz")
    parser.add_argument("--rewards", nargs="*", default=["qed", "sa"])
    parser.add_argument("--methods", nargs="*", help="names of GRID and CHOSEN")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("-n", type=int, default=32)
    parser.add_argument("--budget", type=int, default=300, help="distinct molecules a molecule")
    parser.add_argument("--out", type=Path, default=Path("runs/bench_gdss_design.jsonl"))
    typed = parser.parse_args()
    torch.set_num_threads(1)
    lines = typed.out.read_text().splitlines() if typed.out.exists() else []
    rows = [json.loads(line) for line in lines]
    if typed.part == "show":
        return show(rows)
    typed.out.parent.mkdir(parents=True, exist_ok=True)
    model, ways = sd.load(typed.weights), {**GRID, **CHOSEN}
    seeds = [TUNING] if typed.part == "tune" else typed.seeds
    for seed, reward in product(seeds, typed.rewards):
        for name in typed.methods or (GRID if typed.part == "tune" else CHOSEN):
            told_as = {"reward": reward, "method": name, "seed": seed, "n": typed.n,
                       "budget": typed.budget, "part": typed.part}
            if any(told_as.items() <= row.items() for row in rows):
                continue
            rows.append({**told_as, **design(model, reward, ways[name], typed.n, seed,
                                             typed.budget)})
            with typed.out.open("a") as f:
                f.write(json.dumps(rows[-1]) + "\n")
            print(json.dumps(line(rows[-1:])), flush=True)


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Tables of what was tuned and of what was measured, with the published rows."""
    for part in ("tune", "run"):
        mine: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in rows:
            if row["part"] == part:
                mine.setdefault((row["reward"], row["method"]), []).append(row)
        lines = [line(mine[key]) for key in sorted(mine)]
        names = list(lines[0]) if lines else []
        theirs = [{k: row.get(k, "") for k in names} | {
            "asked a molecule": row.get("asked", "")} for row in PUBLISHED] if lines else []
        print(f"{part}\n{table(lines + (theirs if part == 'run' else []))}\n" if lines else "")


if __name__ == "__main__":
    main()
