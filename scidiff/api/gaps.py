"""Patterns with gaps: what is given, what is open, and how long every gap is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.data.alphabets import Alphabet
from scidiff.data.tokens import EOS, MASK_TEXT, PAD, Vocabulary
from scidiff.domains.domain import find_domain

GAP = "[*]"  # tokens are to be written here, how many is drawn
ANY_BASE = "N"  # IUPAC for any base: one open position, where the alphabet has no N of its own

Sizes = Sequence[int] | Sequence[Sequence[int]] | None
"""Lengths a gap may have: the same for all gaps, one list a gap, or None for the law of the
training set."""


def one_range(sizes: Sizes) -> Sequence[int]:
    """The numbers of new nodes of a graph, whose pattern has no gaps to tell apart."""
    if not isinstance(sizes, range):
        raise ValueError("a graph has one number of new nodes: gap must be one (low, high)")
    return sizes


@dataclass(frozen=True)
class Gapped:
    """A pattern as tokens: what stands before, between and behind its gaps, MASK where a single
    token is open."""

    text: str
    parts: tuple[tuple[int, ...], ...]  # one more than there are gaps
    mask_id: int

    @classmethod
    def read(
        cls, pattern: str, vocabulary: Vocabulary, alphabet: Alphabet | None = None
    ) -> Gapped:
        """Read "CC[*]N" (a gap) or "ACGT????ACGT" (open positions; N is one too in DNA and RNA).

        Letters are taken as the `alphabet` takes them. Raises ValueError that names the first
        character that is not in the vocabulary, and for a pattern that leaves nothing open.
        """
        parts, start = [], 0
        for part in pattern.split(GAP):
            parts.append(_read(pattern, part, start, vocabulary, alphabet))
            start += len(part) + len(GAP)
        mask = vocabulary.mask_id
        if len(parts) == 1 and mask not in parts[0]:
            raise ValueError(
                f"an infill pattern has {GAP} where tokens are to be written, or {MASK_TEXT} for "
                f"one token, got neither in {pattern!r}"
            )
        return cls(pattern, tuple(parts), mask)

    @property
    def gaps(self) -> int:
        return len(self.parts) - 1

    @property
    def fixed(self) -> int:
        """Tokens of a row outside its gaps."""
        return sum(len(part) for part in self.parts)

    def rows(self, sizes: Tensor, length: int) -> Tensor:
        """Rows (n, length) with gaps of `sizes` (n, gaps): EOS behind the pattern, then PAD."""
        out = []
        for row in sizes.tolist():
            ids = list(self.parts[0])
            for gap, part in zip(row, self.parts[1:], strict=True):
                ids += [self.mask_id] * gap + list(part)
            out.append([*ids, EOS] + [PAD] * (length - len(ids) - 1))
        return torch.tensor(out, dtype=torch.int64)


def _read(
    pattern: str, part: str, start: int, vocabulary: Vocabulary, alphabet: Alphabet | None
) -> tuple[int, ...]:
    ids, at = [], start
    for token in vocabulary.split(part):
        found = _id(token, vocabulary, alphabet)
        if found is None:
            raise ValueError(
                f"unknown token {token!r} at character {at + 1} of the pattern {pattern!r}; the "
                f"vocabulary has {len(vocabulary.symbols)} symbols: {' '.join(vocabulary.symbols)}"
            )
        ids.append(found)
        at += len(token)
    return tuple(ids)


def _id(token: str, vocabulary: Vocabulary, alphabet: Alphabet | None) -> int | None:
    """The id of a token, MASK for an open position, None for what cannot be written."""
    spelled = token
    if alphabet is not None:
        spelled = token.upper()
        spelled = alphabet.reads.get(spelled, spelled)
    if spelled in vocabulary.symbols:
        return vocabulary.encode(spelled)[0]
    bases = set(vocabulary.symbols) <= set("ACGTU")
    if token == MASK_TEXT or (bases and spelled.upper() == ANY_BASE):
        return vocabulary.mask_id
    return None


def alphabet_of(config: Mapping[str, Any]) -> Alphabet | None:
    """The alphabet of a model's domain, None where it has none."""
    if "domain" not in config:
        return None
    return getattr(find_domain(config["domain"]), "alphabet", None)


class GapLaw:
    """Draw the lengths of the gaps of a pattern together: a combination g has the weight
    weights[sum g], or 1 for all.

    With the length law of a training set as weights, each combination is as likely as the length
    of the row it makes. Drawn exactly and without listing combinations: the sum first, then gap
    by gap, by how many ways are left to reach it.
    """

    def __init__(self, choices: Sequence[Sequence[int]], weights: Sequence[float] | None) -> None:
        self.choices = [np.unique(np.asarray(c, np.int64)) for c in choices]
        # ways[j][r]: how many choices of the gaps j, j + 1, ... sum to r
        self.ways = [np.ones(1)]
        for sizes in reversed(self.choices):
            self.ways.insert(0, np.convolve(_indicator(sizes), self.ways[0]))
        self.law = self.ways[0].copy()
        if weights is not None:
            told = np.zeros(len(self.law))
            known = np.asarray(weights, np.float64)[: len(told)]
            told[: len(known)] = known
            self.law *= told

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Lengths (n, gaps) int64."""
        u = uniform((n, 1 + len(self.choices)), rng).double().cpu().numpy()
        left = _choose(self.law, u[:, 0])
        out = np.zeros((n, len(self.choices)), np.int64)
        for j, sizes in enumerate(self.choices):
            rest = left[:, None] - sizes  # (n, sizes)
            ways = self.ways[j + 1]
            inside = (rest >= 0) & (rest < len(ways))
            weights = np.where(inside, ways[np.clip(rest, 0, len(ways) - 1)], 0.0)
            cdf = weights.cumsum(1)
            drawn = (cdf <= u[:, j + 1, None] * cdf[:, -1:]).sum(1)
            out[:, j] = sizes[drawn]
            left = left - out[:, j]
        return torch.from_numpy(out)


def _indicator(sizes: np.ndarray) -> np.ndarray:
    out = np.zeros(int(sizes.max()) + 1)
    out[sizes] = 1
    return out


def _choose(weights: np.ndarray, u: np.ndarray) -> np.ndarray:
    cdf = weights.cumsum()
    return np.searchsorted(cdf, u * cdf[-1], side="right")


def gap_law(pattern: Gapped, sizes: Sizes, counts: Sequence[float], length: int) -> GapLaw:
    """The law of the gaps of `pattern` in rows of at most `length` tokens with their end, `counts`
    being how many training rows have each length. Raises ValueError where they do not fit."""
    if pattern.fixed + pattern.gaps >= length:
        raise ValueError(
            f"the pattern {pattern.text!r} has at least {pattern.fixed + pattern.gaps + 1} tokens "
            f"with its end, the model takes at most {length}"
        )
    if sizes is None:
        return _training_law(pattern, counts, length)
    choices = _each(pattern, sizes)
    longest = sum(max(c) for c in choices)
    if pattern.fixed + longest >= length:
        gaps = f"a gap of {longest}" if pattern.gaps == 1 else f"gaps of {longest}"
        raise ValueError(
            f"the pattern with {gaps} tokens has {pattern.fixed + longest + 1} tokens with its "
            f"end, the model takes at most {length}: {pattern.text!r}"
        )
    return GapLaw(choices, None)


def _training_law(pattern: Gapped, counts: Sequence[float], length: int) -> GapLaw:
    most = length - 1 - pattern.fixed
    weights = [c if n + 1 <= length else 0.0 for n, c in enumerate(counts)][pattern.fixed :]
    law = GapLaw([range(1, most - pattern.gaps + 2)] * pattern.gaps, weights)
    if not law.law.sum() > 0:
        raise ValueError(
            f"no training row is as long as the pattern {pattern.text!r} with its gaps: expected "
            f"{pattern.fixed + pattern.gaps} tokens or more; give the range of every gap"
        )
    return law


def _each(pattern: Gapped, sizes: Sequence[int] | Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """The choices of every gap."""
    if not len(sizes) or isinstance(sizes[0], int | np.integer):
        return [sizes] * pattern.gaps  # type: ignore[list-item]
    if len(sizes) != pattern.gaps:
        raise ValueError(
            f"the pattern {pattern.text!r} has {pattern.gaps} gaps, got lengths for {len(sizes)}"
        )
    return list(sizes)  # type: ignore[arg-type]
