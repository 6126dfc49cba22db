"""Train the oracles that ship, from data sets and seeds alone, with cards that say how good.

    MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=17179869184 OMP_NUM_THREADS=1 \
        python recipes/oracles.py enhancer-judge --out scidiff/oracles

A training takes minutes and cannot be resumed: interrupted, run it again; a seed is one oracle.
An oracle and its judge see different halves of the training rows and are different models. The
two of 5'UTRs need `scidiff data get utr-mrl` and `utr-human`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr

from scidiff.data import datasets
from scidiff.data.alphabets import DNA, RNA
from scidiff.evaluation.discriminator import auroc
from scidiff.networks.sequence_oracle import KmerOracleConfig, SequenceOracleConfig
from scidiff.rewards.learned import Oracle
from scidiff.rewards.oracle_training import Labelled, train_oracle
from scidiff.training.config import TrainConfig

CONFIG = TrainConfig(3_000, batch_size=64, lr=2e-3, weight_decay=0.01, precision="32-true",
                     ema=0.998, validate_every=500, warmup=100)


def enhancers(split: str, half: int | None = None) -> Labelled:
    """Sequences and cell lines of a split, or of every other row of it."""
    table = datasets.load("enhancers", split)
    part = slice(half, None, None if half is None else 2)
    return table.objects()[part], table.values("cell")[part]


def utrs(keep: Callable[[int], bool]) -> Labelled:
    """5'UTRs and measured mean ribosome load of the rows whose number modulo 20 is kept."""
    table = datasets.load("utr-mrl")
    rows = [(s, y) for i, (s, y) in enumerate(zip(table.objects(), table.values("rl"),
                                                  strict=True)) if keep(i % 20)]
    return [s for s, _ in rows], [y for _, y in rows]


def enhancer(name: str, half: int, **settings: Any) -> tuple[Oracle, str]:
    """An oracle of the cell line of an enhancer, held to chromosome 1."""
    found = train_oracle(enhancers("training", half), enhancers("validation"), alphabet=DNA,
                         name=name, strands=True, **settings)
    sequences, cells = enhancers("test")
    return found, said_of_classes(found, sequences, cells)


def utr(name: str, half: int, **settings: Any) -> tuple[Oracle, str]:
    """An oracle of mean ribosome load; rows 0 mod 20 validate, 1 and 2 test."""
    train = utrs(lambda i: i > 2 and i % 2 == half)
    found = train_oracle(train, utrs(lambda i: i == 0), alphabet=RNA, name="mrl", **settings)
    human = datasets.load("utr-human")
    tests = {"random UTRs, held out": utrs(lambda i: i in (1, 2)),
             "human UTRs and variants": (human.objects(), human.values("mrl"))}
    lines = ["| measured on | n | Pearson r | Spearman rho | rms error |", "|---|---|---|---|---|"]
    for what, (sequences, loads) in tests.items():
        guess = found.predict([RNA.spell(s) for s in sequences])[:, 0]
        error = float(np.sqrt(np.mean((guess - np.array(loads)) ** 2)))
        lines.append(f"| {what} | {len(loads):,} | {pearsonr(guess, loads)[0]:.3f} | "
                     f"{spearmanr(guess, loads)[0]:.3f} | {error:.3f} |")
    return found, "\n".join(lines)


def said_of_classes(oracle: Oracle, sequences: Sequence[str], labels: Sequence[str]) -> str:
    """Accuracy, AUROC a class and calibration error on held-out rows."""
    odds = oracle.predict(sequences)
    truth = np.array([oracle.index(c) for c in labels])
    right = odds.argmax(1) == truth
    sure = 1 / (1 + np.exp(-odds.max(1)))
    order = np.array_split(np.argsort(sure), 15)
    error = sum(len(b) * abs(right[b].mean() - sure[b].mean()) for b in order) / len(truth)
    areas = [f"{c} {auroc(odds[truth == i, i], odds[truth != i, i])[0]:.3f}"
             for i, c in enumerate(oracle.outputs)]
    return (f"Held-out chromosome 1, {len(truth):,} rows: accuracy {right.mean():.4f} (logistic "
            f"regression on 4-mers .627, chance .25), AUROC {', '.join(areas)}, expected "
            f"calibration error {error:.4f} in 15 bins of equal size.")


MODELS: dict[str, Callable[[], tuple[Oracle, str]]] = {
    "enhancer-oracle": lambda: enhancer(
        "enhancer-oracle", 0, config=CONFIG,
        network=SequenceOracleConfig(4, 4, width=64, kernel=15, pool=4, depth=2)),
    "enhancer-judge": lambda: enhancer(
        "enhancer-judge", 1, network=KmerOracleConfig(4, 4, k=6), ridge=0.1),
    "utr-oracle": lambda: utr(
        "utr-oracle", 0, network=KmerOracleConfig(4, 1, k=5, frames=3), ridge=0.1),
    "utr-judge": lambda: utr(
        "utr-judge", 1, config=CONFIG,
        network=SequenceOracleConfig(4, 1, width=64, kernel=7, pool=1, depth=2, frames=3)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(MODELS))
    parser.add_argument("--out", type=Path, default=Path("runs"))
    asked = parser.parse_args()
    started = time.process_time()
    oracle, said = MODELS[asked.name]()
    size = sum(p.numel() for p in oracle.network.parameters())
    card = (f"# {asked.name}\n\n{said}\n\n{type(oracle.network).__name__}, {size:,} parameters, "
            f"{(time.process_time() - started) / 60:.1f} minutes of one CPU core. Made by "
            f"`python recipes/oracles.py {asked.name}`; data: see the cards of the data sets.\n")
    oracle.save(asked.out / asked.name, card)
    print(card)


if __name__ == "__main__":
    main()
