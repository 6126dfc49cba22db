"""Ehrlich functions: hard, closed-form objectives on sequences (Stanton et al. 2024, 2407.00236).

    f(x) = prod_i h_q(x, a_i, s_i) where every transition x_l -> x_l+1 is allowed, else infeasible;
    h_q  = max_l floor(q / k sum_j [x_{l + s_ij} = a_ij]) / q

c motifs a_i of k letters with spacings s_i have to be present at once, among banned transitions.
Values are products of multiples of 1/q, and 1 is always reached.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from scidiff.core import Rng, seeded, uniform
from scidiff.rewards.scores import Scores, Status, of_kind

Motif = tuple[str, tuple[int, ...]]  # letters, and where each stands after the first


@dataclass(frozen=True)
class Ehrlich:
    """An Ehrlich function drawn by a seed: a reward on strings of `letters`, in [0, 1].

    A sequence with a banned transition, or another letter, is INVALID and scores the floor 0 (-inf
    in the paper). The longest spaced motif has length // motifs places, so that all of them fit a
    sequence of `length`, which is what `solution` shows; other lengths are scored as well. The
    motifs follow one cycle of the letters: they share letters once motifs * motif_length is more
    than there are.
    """

    letters: str
    length: int
    motifs: int = 2
    motif_length: int = 4
    quantization: int | None = None  # levels of a motif; default one for each of its letters
    banned: float = 0.2  # share of the transitions to other letters that are banned
    seed: int = 0
    bounds = (0.0, 1.0)
    floor = 0.0
    version = "1"
    parts: tuple[Motif, ...] = field(init=False, repr=False, compare=False)
    forbidden: frozenset[str] = field(init=False, repr=False, compare=False)  # pairs of letters

    def __post_init__(self) -> None:
        self._check()
        rng = seeded(self.seed)
        cycle = _shuffled(self.letters, rng)  # every letter once; its steps are always allowed
        object.__setattr__(self, "forbidden", _forbidden(cycle, self.banned, rng))
        k, room = self.motif_length, self.length // self.motifs
        walk = cycle * (self.motifs * k // len(cycle) + 1)
        cut = [walk[i * k:(i + 1) * k] for i in range(self.motifs)]
        object.__setattr__(self, "parts", tuple((a, _spacing(k, room, rng)) for a in cut))

    @property
    def name(self) -> str:
        return (f"ehrlich({self.letters!r}, {self.length}, {self.motifs}, {self.motif_length}, "
                f"{self.levels}, seed={self.seed})")

    @property
    def levels(self) -> int:
        return self.motif_length if self.quantization is None else self.quantization

    @property
    def solution(self) -> str:
        """A sequence of value 1: the motifs side by side, gaps filled with the letter before."""
        room = self.length // self.motifs
        whole = "".join(_filled(letters, places, room) for letters, places in self.parts)
        return whole + whole[-1] * (self.length - len(whole))

    def feasible(self, sequence: str) -> bool:
        """Whether every letter is known and every transition allowed."""
        pairs = zip(sequence, sequence[1:], strict=False)
        return set(sequence) <= set(self.letters) and not any(
            a + b in self.forbidden for a, b in pairs)

    def quality(self, sequence: str, motif: Motif) -> float:
        """h_q: the best share of a motif that stands anywhere, rounded down to 1/q."""
        letters, places = motif
        starts = range(len(sequence) - places[-1])
        best = max((sum(sequence[i + s] == a for a, s in zip(letters, places, strict=True))
                    for i in starts), default=0)
        return best * self.levels // self.motif_length / self.levels

    def __call__(self, sequences: Sequence[str]) -> list[float]:
        """Values alone, NaN for what is infeasible."""
        return self.score(sequences).values.tolist()

    def score(self, sequences: Sequence[str]) -> Scores:
        """Values, and INVALID for what is infeasible."""
        return Scores.of(
            (math.prod(self.quality(s, m) for m in self.parts), Status.OK) if self.feasible(s)
            else (math.nan, Status.INVALID) for s in sequences)

    def _check(self) -> None:
        c, k = self.motifs, self.motif_length
        if len(set(self.letters)) != len(self.letters) or len(self.letters) < 2:
            raise ValueError(f"ehrlich: letters must be two or more, each once, got "
                             f"{self.letters!r}")
        if c < 1 or not 1 <= k <= len(self.letters):
            raise ValueError("ehrlich: expected motifs >= 1 and 1 <= motif_length <= letters, "
                             f"got {c}, {k} and {len(self.letters)}")
        if c * k > self.length:
            raise ValueError(f"ehrlich: {c} motifs of {k} letters do not fit {self.length} places")
        if not 1 <= self.levels <= k or not 0 <= self.banned < 1:
            raise ValueError("ehrlich: expected 1 <= quantization <= motif_length and "
                             f"0 <= banned < 1, got {self.levels} and {self.banned}")


def _shuffled(letters: str, rng: Rng) -> str:
    order = uniform((len(letters),), rng).argsort().tolist()
    return "".join(letters[i] for i in order)


def _forbidden(cycle: str, share: float, rng: Rng) -> frozenset[str]:
    """Banned transitions: never a letter to itself, never a step of the cycle, so that every
    letter can be reached from every other."""
    kept = {a + b for a, b in zip(cycle, cycle[1:] + cycle[0], strict=True)}
    pairs = [a + b for a in cycle for b in cycle if a != b]
    drawn = (uniform((len(pairs),), rng) < share).tolist()
    return frozenset(p for p, out in zip(pairs, drawn, strict=True) if out and p not in kept)


def _spacing(k: int, room: int, rng: Rng) -> tuple[int, ...]:
    """0 < s_1 < ... < s_k-1 < room, uniformly among all."""
    places = (uniform((room - 1,), rng).argsort()[:k - 1] + 1).sort().values
    return tuple(torch.cat([places.new_zeros(1), places]).tolist())


def _filled(letters: str, places: tuple[int, ...], room: int) -> str:
    ends = [*places[1:], room]
    return "".join(a * (end - start) for a, start, end in zip(letters, places, ends, strict=True))


REWARDS = of_kind("sequence", {"ehrlich": Ehrlich})
