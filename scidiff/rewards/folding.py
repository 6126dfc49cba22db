"""Rewards on RNA that fold it with ViennaRNA (Lorenz et al. 2011; extra `rna`).

Energies are in kcal/mol at 37 degrees Celsius with ViennaRNA's default parameters (Turner 2004).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from scidiff.core import ScidiffError
from scidiff.rewards.scores import of_kind
from scidiff.rewards.scoring import NamedReward

MEASURES = ("pairs", "defect", "probability")


class ViennaMissing(ScidiffError):
    """Folding was asked for and ViennaRNA is not installed."""


def vienna() -> ModuleType:
    """The module RNA; raises ViennaMissing where it is not installed."""
    try:
        import RNA
    except ImportError as error:
        raise ViennaMissing("folding needs ViennaRNA: pip install 'scidiff[rna]' (viennarna, free "
                            "to use, 13 MB)") from error
    return RNA


def _mfe(sequences: Sequence[str]) -> list[float]:
    """Minimum free energy of folding in kcal/mol, at most 0; lower is more stable, so a stable
    fold is sought with -mfe, an open one with mfe."""
    rna = vienna()
    return [float(rna.fold(s)[1]) for s in sequences]


mfe = NamedReward(_mfe, "mfe", (-math.inf, 0.0))


@dataclass(frozen=True)
class Fold:
    """How near an RNA comes to folding into `target` (dots and brackets), in [0, 1].

    pairs: 2 |F & T| / (|F| + |T|) of the base pairs F of its fold of minimum free energy and T of
    the target: 1 where, and only where, the fold is the target.
    defect: 1 - d / L, d the expected number of letters that are paired otherwise than in the
    target over the ensemble of folds (ensemble defect; Zadeh et al. 2011).
    probability: exp((G - E) / RT), the target's share of the ensemble: E its energy, G the
    ensemble's; 0 where the letters cannot pair.
    An RNA of another length than the target scores 0. Raises ValueError for a target whose
    brackets do not match.
    """

    target: str
    measure: str = "pairs"
    bounds = (0.0, 1.0)
    floor = 0.0
    pairs: frozenset[tuple[int, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ValueError(f"measure must be one of {', '.join(MEASURES)}, "
                             f"got {self.measure!r}")
        object.__setattr__(self, "pairs", frozenset(base_pairs(self.target)))

    @property
    def name(self) -> str:
        return f"fold({self.target!r}, {self.measure!r})"

    def __call__(self, sequences: Sequence[str]) -> list[float]:
        rna = vienna()
        ask = {"pairs": self._pairs, "defect": self._defect, "probability": self._probability}
        return [ask[self.measure](rna, s) if len(s) == len(self.target) else 0.0
                for s in sequences]

    def solved(self, sequence: str) -> bool:
        """Whether the fold of minimum free energy is the target."""
        return bool(vienna().fold(sequence)[0] == self.target)

    def _pairs(self, rna: Any, sequence: str) -> float:
        found = frozenset(base_pairs(rna.fold(sequence)[0]))
        both = len(found) + len(self.pairs)
        return 2 * len(found & self.pairs) / both if both else 1.0

    def _defect(self, rna: Any, sequence: str) -> float:
        fold = rna.fold_compound(sequence)
        fold.pf()
        return 1.0 - float(fold.ensemble_defect(self.target))

    def _probability(self, rna: Any, sequence: str) -> float:
        fold = rna.fold_compound(sequence)
        fold.pf()
        return min(float(fold.pr_structure(self.target)), 1.0)


def base_pairs(structure: str) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j from 0, of a structure in dots and brackets.

    Raises ValueError naming the first character that is neither, or the bracket without partner.
    """
    if not isinstance(structure, str) or not structure:
        raise ValueError(f"a structure is dots and brackets, such as '((...))', got {structure!r}")
    opened: list[int] = []
    for i, character in enumerate(structure):
        if character == "(":
            opened.append(i)
        elif character == ")" and opened:
            yield opened.pop(), i
        elif character != ".":
            what = "closes no bracket" if character == ")" else "is none of . ( )"
            raise ValueError(f"{character!r} at position {i + 1} of a structure {what}")
    if opened:
        raise ValueError(f"the bracket at position {opened[-1] + 1} of a structure is not closed")


REWARDS = of_kind(("dna", "rna"), {"mfe": mfe, "fold": Fold})
