"""What asking costs: rewards in worker processes, answers remembered, and weights of 4,096
particles.

    python benchmarks/throughput.py pool     a reward in processes against this one
    python benchmarks/throughput.py cache    objects that are asked again, in memory and on disk
    python benchmarks/throughput.py smc      the weighted loop against the network it steers

`pool` and `smc` let what they compare take turns; on a machine that others use, believe the
seconds of CPU rather than those of the wall.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rdkit.Chem import Mol

import scidiff as sd
from scidiff.api.card import table
from scidiff.chem.molecules import parse
from scidiff.core import Rng, seeded
from scidiff.data import datasets
from scidiff.data.records import Record
from scidiff.domains.domain import find_domain
from scidiff.guidance.particles import guided_sample
from scidiff.guidance.selection import smc
from scidiff.rewards.cache import Cache
from scidiff.rewards.executors import Serial
from scidiff.rewards.registry import find
from scidiff.rewards.scoring import Scorer
from scidiff.rewards.workers import Processes


def molecules(n: int) -> list[Any]:
    """The first n molecules of the shipped part of MOSES."""
    return [mol for text in datasets.load("moses_100k").objects()[:n] if (mol := parse(text))]


def children() -> float:
    """CPU seconds of processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def copies(mols: Sequence[Any]) -> list[Any]:
    """The same molecules without what RDKit remembers of them."""
    return [Mol(mol.ToBinary()) for mol in mols]


def spent(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds of the wall and of this process's CPU that `work` took, and what it returned."""
    wall, own = time.perf_counter(), time.process_time()
    found = work()
    return time.perf_counter() - wall, time.process_time() - own, found


def pool(n: int, turns: int, workers: int) -> None:
    """Serial and processes take turns; the workers' CPU is what they used beyond their start."""
    mols, rows = molecules(n), []
    for name in ("qed", "sa"):
        reward = find(name)
        before = children()
        with Processes(workers) as team:
            team.run(reward, mols[:20 * workers])
        start = children() - before
        walls, parent = [], 0.0
        with Processes(workers) as team:
            team.run(reward, mols[:20 * workers])
            for _ in range(turns):
                first, second = copies(mols), copies(mols)
                alone, cpu, one = spent(partial(Serial().run, reward, first))
                shared, own, other = spent(partial(team.run, reward, second))
                if one != other:
                    raise SystemExit(f"{name}: the answers of {workers} processes differ")
                walls.append((alone, shared, cpu))
                parent += own
        theirs = (children() - before - 2 * start) / turns
        rows.append({
            "reward": name, "objects": len(mols), "workers": workers, "turns": turns,
            "serial, s": round(min(w[0] for w in walls), 3),
            "processes, s": round(min(w[1] for w in walls), 3),
            "speed-up, median": round(statistics.median(a / b for a, b, _ in walls), 2),
            "best": round(max(a / b for a, b, _ in walls), 2),
            "CPU serial": round(statistics.mean(w[2] for w in walls), 3),
            "CPU parent": round(parent / turns, 3), "CPU workers": round(theirs, 3),
            "load": round(os.getloadavg()[0], 1),
        })  # fmt: skip
        print(table(rows[-1:]), flush=True)
    print(table(rows))


def cache(n: int, turns: int, workers: int) -> None:
    """A campaign's rows, each object ten times in all, through memory and a file of scores."""
    mols, domain = molecules(n), find_domain("smiles")
    keyed = domain(sd.load("moses-smiles").engine.vocabulary).key
    records = [Record(f"{i}", mol, True, "") for i, mol in enumerate(mols)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for run in ("new file", "the same file, a second process's view"):
            scorer = Scorer(find("qed"), keyed, cache=Cache(Path(folder) / "scores.db"))
            for _ in range(10):
                wall, _, _ = spent(partial(scorer.score, records))
                rows.append({
                    "run": run, "rows": len(records), "asked": scorer.asked,
                    "from disk": scorer.disk_hits, "answered from memory": scorer.cache_hits,
                    "hit rate": round(scorer.cache_hits / (scorer.cache_hits + scorer.asked), 3),
                    "ms a row": round(1000 * wall / len(records), 3),
                })  # fmt: skip
    print(table([rows[i] for i in (0, 1, 9, 10, 11, 19)]))


class Idle:
    """A sampler of `inner`'s states whose steps cost nothing: what is left is the loop."""

    def __init__(self, x: Any, num_steps: int) -> None:
        self.x, self.num_steps, self.stochastic = x, num_steps, True

    def init(self, n: int, rng: Rng) -> Any:
        return self.x

    def step(self, x: Any, k: int, rng: Rng) -> Any:
        return x

    def predict_clean(self, x: Any, k: int, rng: Rng) -> Any:
        return x


def overhead(model: str, particles: int, turns: int) -> dict[str, Any]:
    """Milliseconds of a step of the weighted loop in which everything is resampled, and of one
    network evaluation of the same particles; thread CPU, the best of the turns of each."""
    loaded = sd.load(model)
    sampler, rng = loaded.sampler(), seeded(0)
    with torch.no_grad():
        x = sampler.init(particles, rng)
        for k in range(3):
            x = sampler.step(x, k, rng)
    idle, steps = Idle(x, 20), 20

    def loop() -> None:
        guided_sample(idle, lambda x: torch.rand(len(x)), particles, rng, select=smc(1.0),
                      value=lambda x, k, rng: torch.rand(len(x)), strength=10.0)

    best = {"loop": float("inf"), "step": float("inf")}
    for _ in range(turns):
        start = time.thread_time()
        loop()
        best["loop"] = min(best["loop"], (time.thread_time() - start) / steps)
        with torch.no_grad():
            start = time.thread_time()
            sampler.step(x, 3, rng)
            best["step"] = min(best["step"], time.thread_time() - start)
    return {"model": model, "particles": particles,
            "network step, ms": round(1000 * best["step"], 1),
            "weigh and resample, ms": round(1000 * best["loop"], 2),
            "share": f"{best['loop'] / best['step']:.2%}"}


def weights(n: int, turns: int, workers: int) -> None:
    torch.set_num_threads(1)
    print(table([overhead(m, 4096, turns) for m in ("moses-smiles", "qm9-graph")]))


PARTS = {"pool": pool, "cache": cache, "smc": weights}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("-n", type=int, default=2000, help="molecules asked")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    typed = parser.parse_args()
    PARTS[typed.part](typed.n, typed.turns, typed.workers)


if __name__ == "__main__":
    main()
