"""Rewards on DNA and RNA that need no program: composition, words, and measured start codons.

Each sees sequences as text, upper case. Rewards on both strands give a sequence and its reverse
complement the same value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from scidiff.data.alphabets import DNA, RNA
from scidiff.data.strands import reverse_complement
from scidiff.rewards.scores import of_kind
from scidiff.rewards.scoring import bounded

STRANDS: Mapping[str, Callable[[float, float], float]] = {
    "forward": lambda here, there: here, "both": lambda here, there: here + there, "max": max,
}
"""What is made of a count on this strand and of one on the other."""


def check_strands(strands: str) -> None:
    """Raise ValueError for a name that is not in STRANDS."""
    if strands not in STRANDS:
        raise ValueError(f"strands must be one of {', '.join(STRANDS)}, got {strands!r}")


@bounded(0, math.inf)
def length(sequences: Sequence[str]) -> list[float]:
    """Number of letters."""
    return [float(len(s)) for s in sequences]


@bounded(0, 1)
def gc(sequences: Sequence[str]) -> list[float]:
    """Share of G and C in [0, 1]; a high one is neither good nor bad, see `window`."""
    return [(s.count("G") + s.count("C")) / len(s) for s in sequences]


@bounded(0, math.inf)
def cpg(sequences: Sequence[str]) -> list[float]:
    """CpG observed over expected, n(CG) L / (n(C) n(G)) (Gardiner-Garden and Frommer 1987).

    About 0.2 in vertebrate genomes, above 0.6 in CpG islands; 0 where C or G is absent.
    """
    return [_ratio(s.count("CG") * len(s), s.count("C") * s.count("G")) for s in sequences]


def _ratio(above: float, below: float) -> float:
    return above / below if below else 0.0


@dataclass(frozen=True)
class Kmer:
    """How often a word occurs, overlaps counted; with `density` for each position it could have.

    strands: "forward"; "both", the sum over a sequence and its reverse complement, where a site
    of a word that is its own reverse complement counts on each; "max", the larger. RNA has one
    strand. Raises ValueError for a word outside ACGT or ACGU.
    """

    word: str
    strands: str = "forward"
    density: bool = False
    bounds = (0.0, math.inf)
    floor = 0.0

    def __post_init__(self) -> None:
        check_strands(self.strands)
        alphabet = RNA if "U" in str(self.word).upper() else DNA
        if self.strands != "forward" and alphabet is RNA:
            raise ValueError(f"kmer: RNA has one strand, got strands={self.strands!r}")
        try:
            object.__setattr__(self, "word", alphabet.spell(str(self.word)))
        except ValueError as error:
            raise ValueError(f"kmer: {error}") from None

    @property
    def name(self) -> str:
        options = "" if self.strands == "forward" else f", {self.strands!r}"
        return f"kmer({self.word!r}{options}{', density=True' * self.density})"

    def __call__(self, sequences: Sequence[str]) -> list[float]:
        join = STRANDS[self.strands]
        one_stranded = self.strands == "forward"
        other = self.word if one_stranded else reverse_complement(self.word)
        return [join(self._count(s, self.word), 0 if one_stranded else self._count(s, other))
                for s in sequences]

    def _count(self, sequence: str, word: str) -> float:
        places = len(sequence) - len(word) + 1
        found = sum(sequence.startswith(word, i) for i in range(places))
        return _ratio(found, max(places, 0)) if self.density else float(found)


@dataclass(frozen=True)
class StartContext:
    """Measured efficiency of the start codon behind a 5'UTR (Noderer et al. 2014), in [12, 150].

    The last six letters of the UTR, AUG, and `after`, the first two letters of the coding
    sequence behind it, are looked up among all 65,536 contexts; the consensus GCCACCAUGGC has
    about 100. A UTR of fewer than six letters has no value. Needs the data set `tis`
    (scidiff data get tis); raises its DatasetError where it is absent.
    """

    after: str = "GC"
    bounds = (12.0, 150.0)
    floor = 12.0

    def __post_init__(self) -> None:
        written = RNA.spell(str(self.after))
        if len(written) != 2:
            raise ValueError(f"start_context: after must be two letters, got {self.after!r}")
        object.__setattr__(self, "after", written)

    @property
    def name(self) -> str:
        return f"start_context({self.after!r})"

    def __call__(self, sequences: Sequence[str]) -> list[float]:
        table = _start_contexts()
        keys = (RNA.spell(s)[-6:] + "AUG" + self.after for s in sequences)
        return [table.get(key, math.nan) for key in keys]


@lru_cache(maxsize=1)
def _start_contexts() -> Mapping[str, float]:
    from scidiff.data.datasets import load

    table = load("tis")
    return dict(zip(table.objects(), table.numbers("efficiency").tolist(), strict=True))


REWARDS = of_kind("sequence", {"length": length}) | of_kind(("dna", "rna"), {
    "gc": gc, "cpg": cpg, "kmer": Kmer, "start_context": StartContext,
})
