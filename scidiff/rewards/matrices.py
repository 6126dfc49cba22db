"""Position weight matrices of DNA motifs: their scores on both strands and the law of a score.

A matrix comes from JASPAR by its identifier (extra `motifs`) or from a file in JASPAR's format.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scidiff.core import ScidiffError
from scidiff.data.alphabets import DNA

RELEASE = "JASPAR2026"
BACKGROUND = 0.25  # of each base
GRID = 1e-3  # bits
_LETTERS = torch.full((256,), -1, dtype=torch.int64)
_LETTERS[[ord(base) for base in DNA.letters]] = torch.arange(4)


class MotifError(ScidiffError, ValueError):
    """A motif that cannot be had: unknown, damaged, or its data base is not installed."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """A position weight matrix: log-odds in bits against an even background.

    weights_ib = log2((n_ib + 1/4 sqrt(n_i)) / (n_i + sqrt(n_i)) / (1/4)), with the pseudocounts of
    Wasserman and Sandelin 2004, rounded to GRID so that the law of a score is exact.
    """

    name: str
    weights: Tensor  # (W, 4) float64, bits, columns A C G T

    @classmethod
    def of(cls, name: str, counts: NDArray[np.floating] | Sequence[Sequence[float]]) -> Matrix:
        """From counts (W, 4); raises MotifError where they are none."""
        n = torch.as_tensor(np.asarray(counts, np.float64))
        if n.ndim != 2 or n.shape[1] != 4 or len(n) == 0 or bool((n < 0).any()) \
                or bool((n.sum(1) == 0).any()):
            raise MotifError(f"motif {name}: expected counts (W, 4), at least 0 and not all 0 in "
                             f"a position, got shape {tuple(n.shape)}")
        total = n.sum(1, keepdim=True)
        root = total.sqrt()
        p = (n + BACKGROUND * root) / (total + root)
        return cls(name, ((p / BACKGROUND).log2() / GRID).round() * GRID)

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def low(self) -> float:
        """The score of the worst site."""
        return float(self.weights.amin(1).sum())

    @property
    def high(self) -> float:
        """The score of the best site, the consensus."""
        return float(self.weights.amax(1).sum())

    @property
    def reverse(self) -> Matrix:
        """The matrix that reads the other strand."""
        return Matrix(self.name, self.weights.flip(0, 1))  # A C G T and its complements T G C A

    @cached_property
    def law(self) -> tuple[Tensor, Tensor]:
        """Every multiple of GRID between the worst score and the best, descending, and
        P(score >= it) over random sequence, by dynamic programming (Staden 1989): each (S,)."""
        steps = (self.weights / GRID).round().long()
        shift = steps - steps.amin(1, keepdim=True)
        law = torch.zeros(int(shift.amax(1).sum()) + 1, dtype=torch.float64)
        law[0] = 1.0
        for row in shift:  # nothing wraps: what is rolled over the end is still 0
            law = sum(torch.roll(law, int(s)) for s in row) * torch.tensor(BACKGROUND)
        scores = (torch.arange(len(law)) + steps.amin(1).sum()).double() * GRID
        return scores.flip(0), law.flip(0).cumsum(0)

    def threshold(self, p_value: float) -> float:
        """The lowest score, in bits, that random sequence reaches with probability p_value or
        less; the best score where that one is likelier still."""
        scores, tail = self.law
        return float(scores[max(int((tail <= p_value).sum()) - 1, 0)])

    def scan(self, sequences: Sequence[str]) -> Tensor:
        """Scores of every site in bits, (B, 2, P) float64: forward and reverse strand, by the
        site's left end; -inf where no site fits. P is at least 1."""
        ids = encode_bases(sequences)
        one_hot = torch.nn.functional.one_hot(ids.clamp(min=0), 4).double()
        W = len(self)
        wide = torch.nn.functional.pad(one_hot, (0, 0, 0, max(0, W - one_hot.shape[1])))
        kernel = torch.stack([self.weights, self.reverse.weights])
        scores = torch.nn.functional.conv1d(wide.transpose(1, 2), kernel.transpose(1, 2))
        ends = torch.tensor([len(s) - W for s in sequences])
        fits = torch.arange(scores.shape[2]) <= ends[:, None]
        return scores.masked_fill(~fits[:, None], -math.inf)


def encode_bases(sequences: Sequence[str]) -> Tensor:
    """Sequences as (B, L) int64 of 0 .. 3 for ACGT, -1 behind the end.

    Raises ValueError for a letter outside ACGT.
    """
    longest = max((len(s) for s in sequences), default=0)
    text = "".join(s.ljust(longest) for s in sequences).encode("latin-1", "replace")
    ids = _LETTERS[torch.frombuffer(bytearray(text or b" "), dtype=torch.uint8).long()]
    ids = ids[: len(text)].view(len(sequences), longest)
    known = (ids >= 0).sum(1)
    for sequence, letters in zip(sequences, known.tolist(), strict=True):
        if letters != len(sequence):
            raise ValueError(f"motifs are read in DNA: {DNA.reason(sequence)}")
    return ids


# ---------------------------------------------------------------- where matrices come from


def matrix(name: str, release: str = RELEASE) -> Matrix:
    """A matrix by its JASPAR identifier (MA0035.5), or from a file in JASPAR's format.

    Raises MotifError where there is none. Names such as GATA1 are refused: several matrices share
    one, of other kingdoms too.
    """
    if Path(name).is_file():
        return read_matrix(Path(name))
    if not re.fullmatch(r"[A-Z]{2}\d{4}\.\d+", name):
        raise MotifError(f"motif {name!r} is neither a file nor a JASPAR identifier with its "
                         "version, such as MA0035.5; names are not unique, look the identifier up "
                         "on jaspar.elixir.no")
    return _jaspar(name, release)


@lru_cache(maxsize=512)
def _jaspar(identifier: str, release: str) -> Matrix:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unknown one is an error below
        found = jaspar_data_base(release).fetch_motif_by_id(identifier)
    if found is None:
        raise MotifError(f"{release} has no motif {identifier!r}")
    counts = [found.counts[base] for base in DNA.letters]
    return Matrix.of(identifier, np.array(counts, np.float64).T)


@lru_cache(maxsize=2)
def jaspar_data_base(release: str = RELEASE) -> Any:
    """JASPAR as pyjaspar ships it, offline."""
    try:
        from pyjaspar import jaspardb
    except ImportError as error:
        raise MotifError("motifs by identifier need JASPAR: pip install 'scidiff[motifs]' "
                         "(pyjaspar, MIT, 57 MB; the motifs CC BY 4.0), or give a file") from error
    return jaspardb(release=release)


def read_matrix(path: Path) -> Matrix:
    """The first matrix of a file in JASPAR's format: `>name`, then the counts of A, C, G and T, a
    line each, with or without letter and brackets."""
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    name = lines[0][1:].split()[0] if lines and lines[0].startswith(">") else path.stem
    rows = [line for line in lines if not line.startswith(">")][:4]
    counts = [[float(x) for x in re.findall(r"\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", row)]
              for row in rows]
    if len(counts) != 4 or len({len(row) for row in counts}) != 1:
        raise MotifError(f"{path.name}: expected four lines of equally many counts, for A, C, G "
                         f"and T, got lines of {', '.join(str(len(row)) for row in counts)}")
    return Matrix.of(name, np.array(counts).T)
