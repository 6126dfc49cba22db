"""What an oracle says of generated sequences beside real ones, and how natural designs still are.

The oracle must be a judge: one that nothing was optimised against.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scidiff.data.alphabets import DNA, Alphabet
from scidiff.evaluation.counts import proportion
from scidiff.evaluation.discriminator import discriminability
from scidiff.evaluation.intervals import SPREAD, STUDENT, mean_interval, spread
from scidiff.evaluation.kmers import ks_distance, pearson
from scidiff.evaluation.metric import Metric, absent
from scidiff.evaluation.motif_spectrum import motif_law
from scidiff.evaluation.sequence_sets import SequenceSet
from scidiff.evaluation.sequences import Law, compared, letter_laws
from scidiff.rewards.learned import Oracle

FISHER = "Fisher z"
LEAST = 4  # rows that a correlation needs for its interval


def fidelity(
    generated: Sequence[str], real: Sequence[str], oracle: Oracle
) -> list[Metric]:
    """How the predicted activities of generated rows differ from those of real ones.

    `activity_ks_*`: Kolmogorov-Smirnov distance, averaged over outputs. `activity_mse_paired_*`:
    mean over rows and outputs of (oracle(generated_i) - oracle(real_i))^2, row i beside row i, as
    d3-dna defines it; it is 0 only for copies and of use where rows were drawn for the same
    conditions. Rows of lengths that the oracle does not know are left out, and n says so.
    """
    own, other = (oracle.predict([s for s in rows if oracle.applies(s)])
                  for rows in (generated, real))
    ks, mse = f"activity_ks_{oracle.name}", f"activity_mse_paired_{oracle.name}"
    what = f"predicted {', '.join(oracle.outputs)}"
    if not len(own) or not len(other):
        why = f"needs rows of {oracle.lengths[0]} to {oracle.lengths[1]} letters"
        return [absent(ks, len(own), what, why), absent(mse, len(own), what, why)]
    value = _mean_ks(own, other)
    low, high = spread(value, lambda part: _mean_ks(part, other), own)
    n = min(len(own), len(other))
    errors = ((own[:n] - other[:n]) ** 2).mean(1)
    bounds = mean_interval(errors.tolist())
    return [Metric(ks, value, low, high, len(own), f"Kolmogorov-Smirnov distance of {what}, mean "
                   "over outputs", method="" if math.isnan(low) else SPREAD),
            Metric(mse, float(errors.mean()), *bounds, n, f"mean squared difference of {what}, "
                   "row by row", method="" if math.isnan(bounds[0]) else STUDENT)]


def _mean_ks(own: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.mean([ks_distance(a, b) for a, b in zip(own.T, other.T, strict=True)]))


def agreement(sequences: Sequence[str], asked: Sequence[Any], oracle: Oracle) -> Metric:
    """Whether rows are what they were asked to be, as the oracle sees them.

    Classes: share of rows whose likeliest class is the one asked for. A number: Pearson
    correlation of prediction and what was asked. Beside it belongs the same on real rows, where
    the oracle is not perfect either. Raises ValueError for an unknown class.
    """
    if len(sequences) != len(asked):
        raise ValueError(f"there must be one condition a row, got {len(asked)} for "
                         f"{len(sequences)} rows")
    found = oracle.predict(sequences)
    if oracle.task == "classes":
        truth = np.array([oracle.index(str(a)) for a in asked], np.int64)
        right = int((found.argmax(1) == truth).sum()) if len(truth) else 0
        return proportion(f"asked_class_{oracle.name}", right, len(truth),
                          f"rows whose likeliest class by {oracle.name} is the one asked / rows")
    name = f"asked_pearson_{oracle.name}"
    what = f"Pearson correlation of what was asked and what {oracle.name} predicts"
    if len(asked) < LEAST:
        return absent(name, len(asked), what, f"needs {LEAST} rows")
    r = pearson(found[:, 0], np.asarray(asked, np.float64))
    return Metric(name, r, *fisher(r, len(asked)), len(asked), what, method=FISHER)


def fisher(r: float, n: int) -> tuple[float, float]:
    """95 % interval of a Pearson correlation, tanh(artanh r +- 1.96 / sqrt(n - 3)) (Fisher 1921).
    """
    if not abs(r) < 1:
        return r, r
    half = 1.959964 / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def naturalness(
    sequences: Sequence[str], reference: Sequence[str], alphabet: Alphabet = DNA
) -> list[Metric]:
    """What stands beside the scores of designs: correlations of 3-mers and, of DNA, of motifs
    with real rows, and whether a linear classifier can tell them apart."""
    real = SequenceSet("the reference", tuple(reference))
    three = next(law for law in letter_laws(alphabet.letters, 1) if law.name == "kmer3_pearson")
    laws: list[Law | Metric] = [three, *([motif_law()] if alphabet is DNA else [])]
    found = [m for law in laws for m in
             ([law] if isinstance(law, Metric) else compared(law, sequences, real, None))]
    return [*found, discriminability(sequences, reference, alphabet.letters, "kmer")]
