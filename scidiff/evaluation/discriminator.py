"""Whether a classifier can tell generated sequences from real ones: AUROC, .5 is ideal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import nn

from scidiff.data.letters import letter_ids
from scidiff.evaluation.metric import Metric, absent
from scidiff.evaluation.rows import evenly
from scidiff.networks.sequence_oracle import (
    KmerOracle,
    KmerOracleConfig,
    SequenceOracle,
    SequenceOracleConfig,
)
from scidiff.rewards.learned import outputs_of
from scidiff.rewards.oracle_training import fit
from scidiff.training.config import TrainConfig

ROWS = 2_000  # of a side, evenly spaced
LEAST = 50  # of a side; below there is nothing to hold out
TRAIN, VALIDATION = 0.7, 0.1  # the rest is tested on
DELONG = "DeLong"
KINDS = ("cnn", "kmer")
_K = {4: 4, 20: 2}  # longest k-mer of the linear classifier, by the size of the alphabet


def discriminability(
    generated: Sequence[str], real: Sequence[str], alphabet: str, kind: str = "cnn",
    seed: int = 0,
) -> Metric:
    """AUROC of a classifier of generated against real rows, trained on 70 % of both, the best of
    its steps chosen on 10 %, asked on 20 % (the split of d3-dna).

    `kind`: "cnn", a small convolutional network, or "kmer", logistic regression on k-mer counts.
    Deterministic given the seed. NaN below LEAST rows a side.
    """
    name = f"discriminator_auroc_{kind}"
    what = (f"AUROC of a {_described(kind, alphabet)} on 20 % held-out rows of both sides, "
            ".5 is ideal")
    sides = [[rows[i] for i in evenly(len(rows), ROWS)] for rows in (generated, real)]
    if min(map(len, sides)) < LEAST:
        return absent(name, len(generated), what, f"needs {LEAST} rows a side")
    scores = _scores([_parts(rows, seed + i) for i, rows in enumerate(sides)], alphabet, kind,
                     seed)
    value, low, high = auroc(*scores)
    return Metric(name, value, low, high, len(sides[0]), what, f"against {len(sides[1]):,} rows",
                  DELONG)


def auroc(positive: NDArray[np.float64], negative: NDArray[np.float64]
          ) -> tuple[float, float, float]:
    """Mann-Whitney estimate of P(positive > negative) + P(equal) / 2, with the 95 % interval of
    DeLong et al. 1988 on the logit scale, which keeps it inside (0, 1)."""
    m, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))
    # placement values: the share of the other side below each row
    above = (ranks[:m] - rankdata(positive)) / n
    below = 1 - (ranks[m:] - rankdata(negative)) / m
    area = float(above.mean())
    variance = float(np.var(above, ddof=1)) / m + float(np.var(below, ddof=1)) / n
    if variance == 0:
        return area, area, area
    centre, half = math.log(area / (1 - area)), 1.96 * math.sqrt(variance) / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-v)) for v in (centre - half, centre + half))
    return area, low, high


def _described(kind: str, alphabet: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    return ("small convolutional network" if kind == "cnn" else
            f"logistic regression on k-mer counts, k = 1..{_K.get(len(alphabet), 3)}")


def _parts(rows: Sequence[str], seed: int) -> list[list[str]]:
    """Training, validation and test rows, after a shuffle."""
    order = np.random.default_rng(seed).permutation(len(rows))
    ends = [int(TRAIN * len(rows)), int((TRAIN + VALIDATION) * len(rows))]
    return [[rows[i] for i in part] for part in np.split(order, ends)]


def _scores(sides: list[list[list[str]]], alphabet: str, kind: str, seed: int
            ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-odds of being generated of the test rows of both sides."""
    (train, target), held = (_labelled([side[i] for side in sides], alphabet) for i in (0, 1))
    network = (_linear(train, target, len(alphabet)) if kind == "kmer" else
               _convolutional(train, target, held, len(alphabet), seed))
    found = [outputs_of(network, network, side[2], alphabet).numpy() for side in sides]
    generated, real = (f[:, 1] - f[:, 0] for f in found)
    return generated, real


def _linear(letters: NDArray[Any], target: NDArray[np.int64], V: int) -> nn.Module:
    network = KmerOracle(KmerOracleConfig(V, 2, _K.get(V, 3)))
    network.fit(torch.from_numpy(letters).long(), torch.from_numpy(target), "classes", 3e-2)
    return network


def _convolutional(letters: NDArray[Any], target: NDArray[np.int64], held: Any, V: int, seed: int
                   ) -> nn.Module:
    shape = SequenceOracleConfig(V, 2, width=32, kernel=9, pool=4 if letters.shape[1] > 64 else 1,
                                 depth=1)
    return fit(lambda: SequenceOracle(shape), "classes", (letters, target), held,
               _config(len(letters), seed))


def _config(rows: int, seed: int) -> TrainConfig:
    epoch = max(rows // 64, 1)
    return TrainConfig(20 * epoch, batch_size=64, lr=3e-3, warmup=20, weight_decay=0.01, ema=0.99,
                       precision="32-true", validate_every=epoch, checkpoint_every=10**6,
                       patience=4, seed=seed)


def _labelled(sides: Sequence[Sequence[str]], alphabet: str
              ) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Letters and 1 for generated (the first side), 0 for real."""
    labels = np.repeat([1, 0], [len(s) for s in sides]).astype(np.int64)
    return letter_ids([s for side in sides for s in side], alphabet), labels
