"""Quality for its price: what samplers of masked models draw, over orders, paces and steps.

    python benchmarks/sequences.py                      small; a model that is not there is named
    python benchmarks/sequences.py molecules -n 1000    recipe qm9_smiles_masked under runs/
    python benchmarks/sequences.py dna -n 100           recipe enhancer_dna under runs/, or shipped
    python benchmarks/sequences.py speed --full         costs of one network, see masked.py

molecules: validity and uniqueness with 95 % intervals, FCD of equally many valid molecules of
every row against the held-out rows of the recipe. dna: Jensen-Shannon distances (square root,
nats) of 3- and 6-mers to the test split; both fall with n, so `real` is what as many training rows
score. Rows are network rows a sample, seconds those of this thread on the CPU. FCD needs the extra
`fcd`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from masked import FULL, QUICK, compare
from perplexity import held_out

import scidiff as sd
from scidiff.api.card import table
from scidiff.api.sources import shipped_models
from scidiff.core import seeded
from scidiff.data import datasets
from scidiff.data.letters import kmer_codes, letter_ids
from scidiff.evaluation.counts import uniqueness, validity
from scidiff.evaluation.fcd import FcdMissing, activations, frechet_distance, moments
from scidiff.evaluation.intervals import spread
from scidiff.evaluation.kmers import kmer_distance
from scidiff.guidance.particles import sample

ROOT = Path(__file__).parents[1]
Settings = dict[str, Any]

HITTING: list[tuple[str, Settings]] = [
    ("first hitting (exact)", {}),
    ("2 tokens a step", {"tokens_per_step": 2}),
    ("4 tokens a step", {"tokens_per_step": 4}),
    ("2 tokens a step, second order", {"tokens_per_step": 2, "second_order": True}),
    ("4 tokens a step, second order", {"tokens_per_step": 4, "second_order": True}),
]
MOLECULES = [
    *HITTING,
    ("cosine, 8 steps", {"steps": 8, "schedule": "cosine"}),
    ("cosine, 8 steps, second order", {"steps": 8, "schedule": "cosine", "second_order": True}),
    ("confidence", {"order": "confidence"}),
    ("confidence, randomness 1", {"order": "confidence", "randomness": 1.0}),
    ("margin", {"order": "margin"}),
    ("entropy", {"order": "entropy"}),
    ("entropy, 2 tokens a step", {"order": "entropy", "tokens_per_step": 2}),
    ("entropy-bounded, 0.1 nats", {"order": "entropy", "entropy_bound": 0.1}),
    ("entropy-bounded, 0.5 nats", {"order": "entropy", "entropy_bound": 0.5}),
    ("random, bounded, 0.5 nats", {"entropy_bound": 0.5}),
    ("threshold 0.9", {"order": "confidence", "threshold": 0.9}),
    *[(f"ancestral, {n} steps", {"steps": n, "schedule": "ancestral"}) for n in (16, 64, 256)],
    ("remdm-cap, 64 steps", {"steps": 64, "remask": "remdm-cap"}),
    ("remdm-rescale, 64 steps", {"steps": 64, "remask": "remdm-rescale"}),
    ("remdm-conf, 64 steps", {"steps": 64, "remask": "remdm-conf"}),
    ("remdm-loop, 64 steps", {"steps": 64, "remask": "remdm-loop"}),
    ("corrector, 64 steps", {"steps": 64, "remask": "corrector"}),
    ("p2, 16 steps", {"steps": 16, "remask": "p2"}),
    ("p2, 32 steps", {"steps": 32, "remask": "p2"}),
    ("nucleus 0.9", {"top_p": 0.9}),
]
DNA = [
    ("first hitting (exact)", {}),
    ("4 tokens a step", {"tokens_per_step": 4}),
    ("10 tokens a step", {"tokens_per_step": 10}),
    ("10 tokens a step, second order", {"tokens_per_step": 10, "second_order": True}),
    ("40 tokens a step", {"tokens_per_step": 40}),
    ("40 tokens a step, second order", {"tokens_per_step": 40, "second_order": True}),
    ("cosine, 20 steps", {"steps": 20, "schedule": "cosine"}),
    ("confidence, 10 tokens a step", {"order": "confidence", "tokens_per_step": 10}),
    ("entropy, 10 tokens a step", {"order": "entropy", "tokens_per_step": 10}),
    ("random, bounded, 10 nats", {"entropy_bound": 10.0}),
    ("ancestral, 16 steps", {"steps": 16, "schedule": "ancestral"}),
    ("ancestral, 64 steps", {"steps": 64, "schedule": "ancestral"}),
    ("remdm-cap, 64 steps", {"steps": 64, "remask": "remdm-cap"}),
    ("p2, 20 steps", {"steps": 20, "remask": "p2"}),
]


def draw(model: Any, n: int, seed: int, settings: Settings) -> tuple[list[Any], dict[str, str]]:
    """n records and what each cost."""
    sampler = model.sampler(**{"tokens_per_step": 1, **settings})  # whatever the model's own
    start = time.thread_time()
    x = sample(sampler, n, seeded(seed))
    seconds = time.thread_time() - start
    records = model.domain.decode(x)
    cost = {"rows": f"{sampler.denoiser.rows / n:.1f}", "CPU s": f"{seconds:.1f}"}
    return records, cost


def within(value: float, interval: tuple[float, float], digits: int = 3) -> str:
    """A number with half its interval."""
    return f"{value:.{digits}f} ± {(interval[1] - interval[0]) / 2:.{digits}f}"


# ---------------------------------------------------------------- molecules


def fcd_to(known: Any, compared: int) -> Callable[[Sequence[str]], str]:
    """FCD of the first `compared` of some molecules to those of `known` moments."""

    def distance(features: Any) -> float:
        return frechet_distance(*moments(features), *known)

    def measured(molecules: Sequence[str]) -> str:
        if len(molecules) < compared:
            return f"{len(molecules)} are too few"
        features = activations(molecules[:compared])
        value = distance(features)
        return within(value, spread(value, distance, features), 2)

    return measured


def molecules(model: Any, args: Any) -> None:
    """The table of molecules."""
    held = held_out(ROOT / "recipes/qm9_smiles_masked.toml", args.reference + args.compared, 0)
    try:
        known = moments(activations(held[: args.reference]))
        fcd = fcd_to(known, args.compared)
    except FcdMissing as error:
        print(error)
        fcd = lambda molecules: ""  # noqa: E731
    real = held[args.reference :]
    rows = [{"sampler": "real", "rows": "", "CPU s": "", "valid": "1", "unique": "1",
             f"FCD of {args.compared}": fcd(real)}]  # fmt: skip
    for name, settings in chosen(MOLECULES, args.only):
        records, cost = draw(model, args.n, args.seed, settings)
        valid = [r for r in records if r.valid]
        share, distinct = validity(len(valid), args.n), uniqueness([r.text for r in valid])
        rows.append({
            "sampler": name, **cost,
            "valid": within(share.value, (share.low, share.high)),
            "unique": within(distinct.value, (distinct.low, distinct.high)),
            f"FCD of {args.compared}": fcd([r.text for r in valid]),
        })  # fmt: skip
        print(f"{name}: {share.value:.1%} valid, {cost['rows']} rows", flush=True)
    print(f"\n{model.name}, {args.n:,} rows each, FCD to {args.reference:,} held-out molecules")
    print(table(rows))


# ---------------------------------------------------------------- DNA


def dna(model: Any, args: Any) -> None:
    """The table of DNA."""
    test, train = (datasets.load("enhancers", part).objects() for part in ("test", "training"))
    pick = np.random.default_rng(args.seed).permutation(len(train))[: args.n]
    against = {k: codes(test, k) for k in (3, 6)}
    real = kmers([train[i] for i in pick], against)
    rows = [{"sampler": "real", "rows": "", "CPU s": "", **real}]
    for name, settings in chosen(DNA, args.only):
        records, cost = draw(model, args.n, args.seed, settings)
        rows.append({"sampler": name, **cost, **kmers([r.text for r in records], against)})
        print(rows[-1], flush=True)
    print(f"\n{model.name}, {args.n:,} rows each, to {len(test):,} test rows")
    print(table(rows))


def codes(sequences: Sequence[str], k: int) -> Any:
    return kmer_codes(letter_ids(sequences, "ACGT"), k, 4)


def kmers(sequences: Sequence[str], against: dict[int, Any]) -> dict[str, str]:
    """Distances of some sequences to the codes of others, by k."""
    found = {}
    for k, other in against.items():
        distance, own = partial(kmer_distance, other=other, width=4**k), codes(sequences, k)
        found[f"{k}-mer JS"] = within(distance(own), spread(distance(own), distance, own))
    return found


# ---------------------------------------------------------------- the command


def chosen(rows: list[tuple[str, Settings]], only: list[str]) -> list[tuple[str, Settings]]:
    return [row for row in rows if any(part in row[0] for part in only)]


def find(given: str | None, names: Sequence[str], dtype: str) -> Any:
    """The first model that is there, or None."""
    for name in (given,) if given else names:
        if Path(name).is_dir() or name in shipped_models():
            return sd.load(name, device="cpu", dtype=dtype)
    return None


PARTS = {"molecules": (molecules, ("runs/qm9-smiles-masked/model",)),
         "dna": (dna, ("runs/enhancer-dna/model", "enhancer-dna"))}  # fmt: skip


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=("speed", *PARTS), help="all by default")
    parser.add_argument("--model", help="of molecules or dna")
    parser.add_argument("--dtype", default="float32", help="of the network, or bfloat16")
    parser.add_argument("-n", type=int, default=20)
    parser.add_argument("--compared", type=int, default=10, help="molecules in each FCD")
    parser.add_argument("--reference", type=int, default=500, help="molecules FCD is to")
    parser.add_argument("--only", nargs="+", default=[""], help="samplers with this in the name")
    parser.add_argument("--full", action="store_true", help="speed of the full network")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.part in (None, "speed"):
        compare(FULL if args.full else QUICK)
    for name, (measure, places) in PARTS.items():
        if args.part not in (None, name):
            continue
        model = find(args.model if args.part else None, places, args.dtype)
        if model is None:
            print(f"{name}: no model at {' or '.join(places)}; train it by its recipe")
        else:
            measure(model, args)


if __name__ == "__main__":
    main()
