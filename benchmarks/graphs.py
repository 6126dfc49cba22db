"""Molecular graphs: samplers of GDSS's official weights, execution, and our own model, in one run.

    python benchmarks/graphs.py qm9 --weights gdss_qm9.npz         grid, then frozen settings
    python benchmarks/graphs.py zinc --weights gdss_zinc250k.npz   a step, then quality
    python benchmarks/graphs.py own --model qm9-graph               our model, free and constrained
    python benchmarks/graphs.py card --model qm9-graph             writes it into the card
    python benchmarks/graphs.py guided --model qm9-graph -n 24      best-of-n, SMC, nested, SVDD
    python benchmarks/graphs.py plain --model runs/ego_small -n 100 MMDs beside the floor

Every sampler has its quality beside its cost: validity split by cause with nothing corrected, FCD,
NSPDK, novelty and the total variation of bond orders against the same 4,000 molecules. Times are
those of this thread on the CPU, ratios are to the first row. Rows are appended to --out as they
are measured and not measured again. GDSS publishes its weights without a licence: bring the file.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _gdss_plain import plain

from scidiff.core import seeded
from scidiff.data import datasets
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.data.records import Record
from scidiff.domains.molecule_graph import QM9, ZINC250K, MoleculeGraphDomain
from scidiff.evaluation.molecule_graphs import molecule_graph_suite
from scidiff.evaluation.novelty import NoveltyFilter
from scidiff.guidance.particles import sample
from scidiff.networks.gdss_weights import read_gdss
from scidiff.samplers.solvers import make_sampler

CHUNK = 250
SHOWN = ("valence_ok", "connected", "valid_and_connected", "novelty", "fcd", "nspdk")


@dataclass(frozen=True)
class Molecules:
    """What a model is compared with: 4,000 reference molecules, as many for the floor, all for
    novelty, and how many atoms molecules have."""

    reference: Sequence[str]
    floor: Sequence[str]
    train: NoveltyFilter
    counts: NodeCounts

    @classmethod
    def of(cls, name: str, cache: Path) -> Molecules:
        """Split a data set by a fixed permutation, its stereo left out as graphs do."""
        from rdkit import Chem

        file = cache / f"{name}_flat.txt"
        if not file.exists():
            flat = []
            for smiles in datasets.load(name).objects():
                mol = Chem.MolFromSmiles(smiles)
                Chem.RemoveStereochemistry(mol)
                flat.append(Chem.MolToSmiles(mol))
            file.write_text("\n".join(flat))
        flat = file.read_text().split()
        order = np.random.default_rng(0).permutation(len(flat))
        picked = [flat[i] for i in order[:20_000]]
        sizes = [Chem.MolFromSmiles(s).GetNumAtoms() for s in picked]
        return cls(picked[:4000], picked[4000:8000], NoveltyFilter.build(set(flat)),
                   NodeCounts.of(sizes))


class Results:
    """Rows on disk, one JSON object a line; a row that is there is not measured again."""

    def __init__(self, file: Path) -> None:
        self.file = file
        lines = file.read_text().splitlines() if file.exists() else []
        self.rows = {row["name"]: row for row in map(json.loads, lines)}

    def get(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if name not in self.rows:
            self.rows[name] = {"name": name, **measure()}
            with self.file.open("a") as f:
                f.write(json.dumps(self.rows[name]) + "\n")
            show([self.rows[name]])
        return self.rows[name]


def draw(sampler: Any, decode: Callable[[Any], list[Record]], n: int, seed: int
         ) -> tuple[list[Record], float]:
    """Draw n rows in chunks; seconds are those of the sampler alone."""
    rows, seconds = [], 0.0
    for chunk in range(-(-n // CHUNK)):
        size = min(CHUNK, n - chunk * CHUNK)
        start = time.thread_time()
        x = sample(sampler, size, seeded(seed, chunk))
        seconds += time.thread_time() - start
        rows += decode(x)
    return rows, seconds


def measure(sampler: Any, decode: Callable[[Any], list[Record]], against: Molecules, n: int,
            seed: int) -> dict[str, Any]:
    """Quality and cost of one sampler."""
    rows, seconds = draw(sampler, decode, n, seed)
    report = molecule_graph_suite(
        rows, against.reference, train=against.train, floor=against.floor)
    said = {m.name: [m.value, m.low, m.high] for m in report.metrics}
    evaluations = getattr(sampler, "evaluations", sampler.num_steps)
    return {"n": n, "seed": seed, "evaluations": evaluations, "ms": 1000 * seconds / n, **said}


def show(rows: Sequence[dict[str, Any]]) -> None:
    """A Markdown table; cost as a ratio to the first row."""
    for row in rows:
        values = []
        for name in (*SHOWN, "unique", "bond_order_tv"):
            if name in row:
                value, low, high = row[name]
                half = (high - low) / 2 if low is not None else math.nan
                values.append(f"{name} {value:.4f} +- {half:.4f}")
        ratio = f" {rows[0]['ms'] / row['ms']:6.1f}x" if "ms" in rows[0] else ""
        print(f"| {row['name']} | {row['evaluations']} | {row['ms']:.2f} ms{ratio} | "
              + " | ".join(values) + " |", flush=True)


# ---------------------------------------------------------------- official weights


def gdss(
    weights: Path, atoms: Sequence[str], against: Molecules
) -> tuple[Callable[..., Any], Any]:
    """Samplers of a GDSS file by their settings, and the decoder of its states."""
    denoiser = read_gdss(weights)
    canvas = GraphCanvas(against.counts, len(atoms))
    decode = MoleculeGraphDomain.of(atoms).decode
    return lambda **settings: make_sampler(denoiser, canvas, **settings), decode


PC = {"solver": "reverse", "snr": 0.2, "scale_eps": 0.7, "compat": True}
S4 = {"solver": "s4", "snr": 0.2, "scale_eps": 0.7, "compat": True}
GRID: list[dict[str, Any]] = [
    {"solver": solver, "steps": steps, "eta": eta, "rho": rho}
    for steps in (50, 40, 20)
    for solver, eta, rho in (
        ("2m", 2.0, 0.8), ("2m", 3.0, 0.85), ("2m", 4.0, 0.85), ("exp1", 3.0, 0.8),
        ("exp1", 5.0, 0.9), ("exp1", 10.0, 0.7),
    )
]  # fmt: skip


def label(settings: dict[str, Any]) -> str:
    return " ".join(f"{k}={v}" for k, v in settings.items() if k not in ("compat", "scale_eps"))


def qm9(weights: Path, results: Results, cache: Path, n: int) -> None:
    """Published samplers; the grid on a validation draw by FCD; the chosen rows on fresh draws."""
    against = Molecules.of("qm9", cache)
    make, decode = gdss(weights, QM9, against)
    print(results.get("qm9 step", lambda: step_cost(weights, against, graphs=500)))

    def measured(name: str, settings: dict[str, Any], rows: int, seed: int) -> dict[str, Any]:
        work = partial(measure, make(**settings), decode, against, rows, seed)
        return results.get(name, work)

    grid = [measured(f"grid {label(s)}", s, n // 3, 1) for s in GRID]
    shown = []
    for name, settings in (("PC-1000", {**PC, "steps": 1000}), ("S4-200", {**S4, "steps": 200}),
                           ("PC-100", {**PC, "steps": 100}), ("S4-50", {**S4, "steps": 50})):
        shown.append(measured(name, settings, n, 0))
    floor = shown[0]["valence_ok"][0] - 0.012
    for steps in (50, 40, 20):
        fit = [(row["fcd"][0], s) for row, s in zip(grid, GRID, strict=True)
               if s["steps"] == steps and row["valence_ok"][0] >= floor]
        if fit:
            best = min(fit, key=lambda pair: pair[0])[1]
            shown.append(measured(f"frozen {label(best)}", best, n, 0))
    show(shown)


def zinc(weights: Path, results: Results, cache: Path, n: int) -> None:
    """The cost of one PC step with and without execution, then quality against steps."""
    against = Molecules.of("zinc250k", cache)
    make, decode = gdss(weights, ZINC250K, against)
    print(results.get("zinc step", lambda: step_cost(weights, against)))
    tried = [{**PC, "steps": 1000, "scale_eps": 0.8}, {**PC, "steps": 200, "scale_eps": 0.8},
             {**S4, "steps": 200, "scale_eps": 0.8}]
    tried += [{"solver": solver, "steps": steps, "eta": eta, "rho": rho}
              for solver, steps, eta, rho in (
                  ("2m", 50, 3.0, 0.85), ("2m", 100, 5.0, 0.85), ("exp1", 100, 20.0, 0.8),
                  ("exp1", 200, 50.0, 0.8), ("2m", 200, 20.0, 0.8), ("2m", 200, 10.0, 0.85))]
    show([results.get(f"zinc {label(s)}", partial(measure, make(**s), decode, against, n, 0))
          for s in tried])


def step_cost(weights: Path, against: Molecules, graphs: int = 48, turns: int = 5
              ) -> dict[str, Any]:
    """Milliseconds a graph of a PC step (two evaluations of both networks): as in the paper, in
    one padded batch, with the weights of the file and with its denormal ones at 0; as run here."""
    kinds = {"published": plain(weights, True), "flushed": plain(weights, False),
             "ms": read_gdss(weights)}
    fast = kinds["ms"]
    blank = GraphCanvas(against.counts, fast.network_x.config.features)(graphs, seeded(0))
    rng = seeded(1)
    x = blank.moved(tuple(c.noise(part, blank.mask, rng)
                          for c, part in zip(fast.components, blank.parts, strict=True)))
    best = dict.fromkeys(kinds, math.inf)
    with torch.no_grad():
        for _ in range(turns):  # they take turns, and the best of each counts
            for name, denoiser in kinds.items():
                start = time.thread_time()
                if name == "ms":
                    denoiser(x, torch.tensor(0.5))
                else:
                    denoiser._both(x.X, x.A, x.mask)
                best[name] = min(best[name], 2000 * (time.thread_time() - start) / graphs)
    ratios = {f"ratio to {k}": v / best["ms"] for k, v in best.items() if k != "ms"}
    return {"evaluations": 2, "n": graphs, **best, **ratios}


# ---------------------------------------------------------------- our model


def own(model: str, results: Results, cache: Path, n: int) -> None:
    """Our model with every constraint off, over its dial, and then with constraints."""
    import scidiff as sd

    against, loaded = Molecules.of("qm9", cache), sd.load(model)
    dial: list[dict[str, Any]] = [
        {}, {"temperature": 0.9}, {"tokens_per_step": 2}, {"tokens_per_step": 3},
        {"order": "sequential"}, {"constraints": ["valence", "connected"]},
    ]  # fmt: skip
    decode = loaded.domain.decode
    show([results.get(f"{loaded.name} {label(s) or 'default'}",
                      partial(measure, loaded.sampler(**s), decode, against, n, 0))
          for s in dial])


def card(model: str, results: Results, cache: Path, n: int) -> None:
    """Write what `own` measured into the model's card."""
    import scidiff as sd
    from scidiff.api.card import replace_section, table

    file = sd.load(model).source / "README.md"
    measured = list(Results(results.file.with_name("own.jsonl")).rows.values())
    rows = [{"settings": row["name"].removeprefix(f"{model} "),
             "network calls": row["evaluations"], "CPU ms a molecule": round(row["ms"], 1),
             **{name: "{:.4f} [{:.4f}, {:.4f}]".format(*row[name])
                for name in (*SHOWN, "unique", "bond_order_tv")}}
            for row in measured]
    floors = measured[0]
    note = (f"{floors['n']:,} graphs a row, seed 0, nothing filtered or corrected, 95 % "
            "intervals; FCD and NSPDK against 4,000 molecules of QM9. As many training molecules "
            f"score FCD {floors['fcd_floor'][0]:.3f} and NSPDK {floors['nspdk_floor'][0]:.4f}. "
            "`python benchmarks/graphs.py own`.")
    file.write_text(replace_section(file.read_text(), "Evaluation", f"{table(rows)}\n\n{note}"))


def guided(model: str, results: Results, cache: Path, n: int) -> None:
    """n designs a method: best-of-n at two budgets, and budgets of which the others ask about as
    many distinct molecules as best-of-64."""
    import scidiff as sd

    loaded = sd.load(model)
    for reward in ("qed", "sa", "logp"):
        for method, calls in (("best-of-n", 24), ("best-of-n", 64), ("smc", 176), ("nested", 176),
                              ("svdd", 176)):
            row = results.get(f"{loaded.name} {reward} {method} {calls}",
                              partial(one_design, loaded, reward, method, n, calls))
            print(f"| {row['name']} | {row['mean']:.3f} +- {row['error']:.3f} | "
                  f"{row['top']:.3f} | {row['asked']} | {row['network_rows']} |", flush=True)


def one_design(model: Any, reward: str, method: str, n: int, calls: int) -> dict[str, Any]:
    """Mean score with its standard error, and the mean of the best tenth; logP is unbounded, so
    its tilt is weaker."""
    import scidiff as sd

    tilt = {"strength": 5.0, "floor": -10.0} if reward == "logp" else {}
    start = time.thread_time()
    hits = sd.design(model, reward=reward, n=n, method=method, budget=calls * n, seed=0, **tilt)
    scores = np.sort(hits.to_frame()["score"].to_numpy(dtype=float))[::-1]
    return {"evaluations": calls, "ms": 1000 * (time.thread_time() - start) / n,
            "mean": float(scores.mean()), "error": float(scores.std(ddof=1) / math.sqrt(n)),
            "top": float(scores[: max(1, n // 10)].mean()),
            "asked": hits.ledger.asked, "network_rows": hits.ledger.network_rows}


def plain_graphs(model: str, results: Results, cache: Path, n: int) -> None:
    """MMDs of a model of plain graphs against the test split it was not trained on."""
    import scidiff as sd

    loaded = sd.load(model)
    name = next((s for s in PLAIN if s in str(model).replace("-", "_")), None)
    if name is None:
        raise SystemExit(f"the name of --model must hold one of {', '.join(PLAIN)}, got {model}")
    test, train = (datasets.load(name, split).objects() for split in ("test", "train"))
    report = sd.evaluate(loaded.sample(n, seed=0), "graph", reference=test, train=train)
    for metric in report.metrics:
        if metric.name.startswith("mmd") or metric.name in ("unique", "novel"):
            print(f"| {loaded.name} | {metric.name} | {metric.value:.4f} |")


PLAIN = ("community_small", "ego_small", "ENZYMES", "grid")
PUBLISHED = {"qm9": qm9, "zinc": zinc}
SECTIONS: dict[str, Callable[..., None]] = {
    **PUBLISHED, "own": own, "card": card, "guided": guided, "plain": plain_graphs
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("section", nargs="?", default="own", choices=SECTIONS)
    parser.add_argument("--weights", type=Path, help="an official GDSS file, .pth or .npz")
    parser.add_argument("--model", default="qm9-graph")
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("runs/bench_graphs"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    results = Results(given.out / f"{given.section}.jsonl")
    if given.section in PUBLISHED and given.weights is None:
        parser.error(f"{given.section} needs --weights FILE, the official weights of GDSS")
    subject = given.weights if given.section in PUBLISHED else given.model
    SECTIONS[given.section](subject, results, given.out, given.n)


if __name__ == "__main__":
    main()
