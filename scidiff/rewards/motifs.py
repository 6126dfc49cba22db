"""Rewards on DNA for motifs: sites of one on both strands, and pairs of two at a spacing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scidiff.rewards.matrices import GRID, Matrix, matrix
from scidiff.rewards.scores import of_kind

MEASURES = ("occupancy", "hits", "best")
ORIENTATIONS: Mapping[str, Sequence[tuple[int, int]]] = {
    "any": ((0, 0), (1, 1), (0, 1), (1, 0)), "same": ((0, 0), (1, 1)),
    "opposite": ((0, 1), (1, 0)),
}
"""Strands of the first and of the second site."""


@dataclass(frozen=True)
class Motif:
    """How well sites of one motif are present, on both strands.

    With S the scores of all sites in bits and T the score that random sequence reaches with
    probability `p_value`, one of
    occupancy: the probability that any site is bound, 1 - prod 1 / (1 + 2^(S - T)), in [0, 1];
    hits: how many positions have S >= T on either strand;
    best: the largest S in bits; a sequence shorter than the motif has none.
    strands: "both", or "forward" for the strand as written. Raises MotifError where the matrix
    cannot be had, ValueError for other wrong parameters.
    """

    motif: str
    measure: str = "occupancy"
    strands: str = "both"
    p_value: float = 1e-4
    matrix: Matrix = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _one_of("measure", self.measure, MEASURES)
        _one_of("strands", self.strands, ("both", "forward"))
        if not 0 < self.p_value < 1:
            raise ValueError(f"motif: p_value must be in (0, 1), got {self.p_value}")
        object.__setattr__(self, "matrix", matrix(self.motif))

    @property
    def name(self) -> str:
        return f"motif({self.motif!r}, {self.measure!r})"

    @property
    def bounds(self) -> tuple[float, float]:
        ends = {"occupancy": (0.0, 1.0), "hits": (0.0, math.inf)}
        return ends.get(self.measure, (self.matrix.low, self.matrix.high))

    @property
    def floor(self) -> float:
        return self.bounds[0]

    def __call__(self, sequences: Sequence[str]) -> list[float]:
        scores = self.matrix.scan(sequences)
        scores = scores if self.strands == "both" else scores[:, :1]
        if self.measure == "best":
            return [s if s > -math.inf else math.nan for s in scores.amax((1, 2)).tolist()]
        over = scores - self.matrix.threshold(self.p_value)
        if self.measure == "hits":  # a score is a multiple of GRID up to rounding
            return (over > -GRID / 2).any(1).sum(1).double().tolist()
        bound = torch.nn.functional.softplus(over * math.log(2)).sum((1, 2))
        return (-torch.expm1(-bound)).tolist()


@dataclass(frozen=True)
class MotifPair:
    """How well two motifs stand at a spacing, in [0, 1].

    The largest sqrt(q1 q2) over pairs of sites with `low` to `high` bases between them, where q =
    1 / (1 + 2^(T - S)) is the probability that a site is bound (see `Motif`).
    order: "any", or "first": the first motif stands left of the second. orientation: "any", both
    on the "same" strand, or on "opposite" ones.
    """

    first: str
    second: str
    low: int
    high: int
    order: str = "any"
    orientation: str = "any"
    p_value: float = 1e-4
    bounds = (0.0, 1.0)
    floor = 0.0
    matrices: tuple[Matrix, Matrix] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _one_of("order", self.order, ("any", "first"))
        _one_of("orientation", self.orientation, tuple(ORIENTATIONS))
        if not 0 <= self.low <= self.high:
            raise ValueError("motif_pair: the spacing must be 0 <= low <= high, got "
                             f"{self.low} to {self.high}")
        object.__setattr__(self, "matrices", (matrix(self.first), matrix(self.second)))

    @property
    def name(self) -> str:
        return f"motif_pair({self.first!r}, {self.second!r}, {self.low}, {self.high})"

    def __call__(self, sequences: Sequence[str]) -> list[float]:
        a, b = self.matrices
        bound_a, bound_b = self._bound(a, sequences), self._bound(b, sequences)
        best = torch.zeros(len(sequences), dtype=torch.float64)
        for one, other in ORIENTATIONS[self.orientation]:
            best = best.maximum(self._left(bound_a[:, one], bound_b[:, other], len(a)))
            if self.order == "any":
                best = best.maximum(self._left(bound_b[:, other], bound_a[:, one], len(b)))
        return best.sqrt().tolist()

    def _bound(self, m: Matrix, sequences: Sequence[str]) -> Tensor:
        """Probability that each site is bound, (B, 2, P); 0 where none fits."""
        return ((m.scan(sequences) - m.threshold(self.p_value)) * math.log(2)).sigmoid()

    def _left(self, left: Tensor, right: Tensor, width: int) -> Tensor:
        """Largest product (B,) of a site on the left and one on the right that fits behind it."""
        best = torch.zeros(len(left), dtype=torch.float64)
        for start in range(width + self.low, width + self.high + 1):
            pairs = min(left.shape[1], right.shape[1] - start)
            if pairs > 0:
                best = best.maximum((left[:, :pairs] * right[:, start : start + pairs]).amax(1))
        return best


def _one_of(what: str, got: str, known: Sequence[str]) -> None:
    if got not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {got!r}")


REWARDS = of_kind(("dna", "rna"), {"motif": Motif, "motif_pair": MotifPair})
