"""How often every motif of JASPAR occurs in DNA: the spectrum that two sets are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scidiff.data.alphabets import DNA
from scidiff.data.letters import letter_ids
from scidiff.evaluation.kmers import pearson
from scidiff.evaluation.metric import Metric, absent
from scidiff.evaluation.rows import evenly
from scidiff.evaluation.sequences import Law
from scidiff.rewards.matrices import RELEASE, Matrix, MotifError, jaspar_data_base

ROWS = 500  # of a set, evenly spaced: all motifs take some milliseconds a row
P_VALUE = 1e-4  # of a site in random sequence
GRID = 0.02  # bits
NAME = f"motif_pearson_{RELEASE.lower()}_vertebrates"
WHAT = (f"Pearson correlation over the vertebrate CORE motifs of {RELEASE} of the mean number of "
        f"sites a row, p < {P_VALUE:g}, both strands, {ROWS} rows a side")


def motif_law() -> Law | Metric:
    """The correlation of motif spectra; without the extra `motifs` the command that installs it.
    """
    try:
        jaspar_data_base()
    except MotifError as error:
        return absent(NAME, 0, WHAT, str(error))
    return Law(NAME, WHAT, some_sites, spectrum_pearson)


def some_sites(sequences: Sequence[str]) -> NDArray[np.float64]:
    """Sites of every motif in at most ROWS evenly spaced sequences, (B, M)."""
    return motif_sites([sequences[i] for i in evenly(len(sequences), ROWS)], vertebrate_motifs())


def spectrum_pearson(sites: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Correlation over motifs of the mean number of sites."""
    return pearson(sites.mean(0), other.mean(0))


def motif_sites(sequences: Sequence[str], motifs: Sequence[Matrix]) -> NDArray[np.float64]:
    """Positions of each sequence where a motif scores at least its threshold on either strand:
    (B, M)."""
    ids = torch.from_numpy(letter_ids(sequences, DNA.letters))
    x = (ids[:, None] == torch.arange(4, dtype=torch.int8)[:, None]).float()
    found = torch.zeros(len(x), len(motifs))
    for width in sorted({len(m) for m in motifs}):
        which = [i for i, m in enumerate(motifs) if len(m) == width]
        if x.shape[2] >= width:
            found[:, which] = _sites(x, [motifs[i] for i in which])
    return found.double().numpy()


def _sites(x: Tensor, motifs: Sequence[Matrix]) -> Tensor:
    """Sites (B, M) of motifs of one width in one-hot rows (B, 4, L)."""
    kernel = torch.stack([w for m in motifs for w in (m.weights, m.reverse.weights)]).float().mT
    least = torch.tensor([_threshold(m) for m in motifs]) - GRID / 2
    inside = x.sum(1).unfold(1, kernel.shape[2], 1).amin(2) > 0  # no site over the end of a row
    parts = []
    for rows, here in zip(x.split(64), inside.split(64), strict=True):
        scores = torch.nn.functional.conv1d(rows, kernel).unflatten(1, (-1, 2)).amax(2)
        parts.append(((scores >= least[:, None]) & here[:, None]).sum(2))
    return torch.cat(parts).float()


@lru_cache(maxsize=4_096)
def _threshold(motif: Matrix) -> float:
    """The score that random sequence reaches with probability P_VALUE, by dynamic programming on
    a grid of GRID bits: a thousand motifs in a second, where their exact laws take minutes."""
    steps = (motif.weights / GRID).round().long().numpy()
    shift = steps - steps.min(1, keepdims=True)
    law = np.zeros(int(shift.max(1).sum()) + 1)
    law[0] = 1.0
    for row in shift:  # nothing wraps: what is rolled over the end is still 0
        law = sum((np.roll(law, int(s)) for s in row), np.zeros(1)) / 4
    above = law[::-1].cumsum()  # P(score >= it), from the best score down
    best = len(law) - 1 + int(steps.min(1).sum())
    return float(best - max(int((above <= P_VALUE).sum()) - 1, 0)) * GRID


@lru_cache(maxsize=1)
def vertebrate_motifs() -> tuple[Matrix, ...]:
    """The vertebrate CORE motifs of JASPAR, by identifier."""
    found = jaspar_data_base().fetch_motifs(collection="CORE", tax_group=["vertebrates"])
    counts = {m.matrix_id: [m.counts[base] for base in DNA.letters] for m in found}
    return tuple(Matrix.of(name, np.array(counts[name], np.float64).T) for name in sorted(counts))
