"""What strings must be like, as a person asks it: fixed positions, motifs, patterns, the grammar.

    model.sample(100, constraints=[sd.Require("TATAAA"), sd.Forbid("GAATTC", both_strands=True)])
    model.sample(100, constraints=["pattern:ACGT????*", "runs:5"])

Each is a regular set of token rows, so all of them together are one automaton (`samplers.grammar`)
and hold by construction. The written form (`str(constraint)`) is what results record and the
command line takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from torch import Tensor

from scidiff.api.motifs import ANY, occurs, places
from scidiff.data.records import Record
from scidiff.data.strands import reverse_complement
from scidiff.data.tokens import FIRST_SYMBOL, Vocabulary
from scidiff.messages import nearest
from scidiff.samplers.automata import (
    Automaton,
    Place,
    all_of,
    avoiding,
    containing,
    spelling,
)
from scidiff.samplers.smiles_grammar import smiles

_BOTH = ":both"  # behind the motifs: on either strand
EXAMPLES = (
    "fixed:0=A,5=T", "forbid:GAATTC,GGATCC", "require:TATAAA", "pattern:ACGT????*", "runs:5",
    "grammar",
)  # fmt: skip


class StringConstraint(Protocol):
    """One thing that is asked of every string. Its `str` is its written form."""

    kind: ClassVar[str]

    @classmethod
    def of(cls, bound: str) -> StringConstraint:
        """Read what stands behind the colon."""
        ...

    def automaton(self, vocabulary: Vocabulary) -> Automaton:
        """The strings that satisfy it, over the tokens of a model (without its EOS and PAD)."""
        ...

    def holds(self, text: str, vocabulary: Vocabulary) -> bool:
        """Whether a finished string satisfies it, found out without the automaton."""
        ...


@dataclass(frozen=True)
class Fixed:
    """These tokens at these positions, counted from 0."""

    tokens: Mapping[int, str]
    kind: ClassVar[str] = "fixed"

    def __post_init__(self) -> None:
        known = isinstance(self.tokens, Mapping) and all(
            isinstance(at, int) and at >= 0 and isinstance(token, str) and token
            for at, token in self.tokens.items()
        )
        if not known or not self.tokens:
            raise ValueError(
                "Fixed takes positions from 0 with their tokens, as in {0: 'A', 5: 'T'}, got "
                f"{self.tokens!r}"
            )

    @classmethod
    def of(cls, bound: str) -> Fixed:
        pairs = [part.partition("=") for part in bound.split(",")]
        if not all(at.strip().isdigit() and token for at, _, token in pairs):
            raise ValueError(f"expected POSITION=TOKEN,..., as in {EXAMPLES[0]!r}, got {bound!r}")
        return cls({int(at): token for at, _, token in pairs})

    def __str__(self) -> str:
        return "fixed:" + ",".join(f"{at}={self.tokens[at]}" for at in sorted(self.tokens))

    def automaton(self, vocabulary: Vocabulary) -> Automaton:
        row: list[Place] = [None] * (max(self.tokens) + 1)
        for at, token in self.tokens.items():
            there = places(token, vocabulary)
            if len(there) != 1:
                raise ValueError(f"position {at} takes one token, got {token!r}")
            row[at] = there[0]
        return spelling([*row, "*"], len(vocabulary))

    def holds(self, text: str, vocabulary: Vocabulary) -> bool:
        tokens = vocabulary.split(text)
        return all(
            at < len(tokens) and occurs(token, tokens[at], vocabulary, whole=True)
            for at, token in self.tokens.items()
        )


@dataclass(frozen=True, init=False)
class Motifs:
    """What Forbid and Require share: motifs of tokens, `?` being any one."""

    motifs: tuple[str, ...]
    both_strands: bool
    kind: ClassVar[str]

    def __init__(self, *motifs: str, both_strands: bool = False) -> None:
        if not motifs or not all(isinstance(m, str) and m.strip(ANY) for m in motifs):
            raise ValueError(
                f"{type(self).__name__} takes motifs with at least one token, got {list(motifs)}"
            )
        object.__setattr__(self, "motifs", motifs)
        object.__setattr__(self, "both_strands", both_strands)

    def __str__(self) -> str:
        return f"{self.kind}:{','.join(self.motifs)}{_BOTH if self.both_strands else ''}"

    def strands(self, motif: str) -> list[str]:
        """The motif, and its reverse complement where both strands are meant."""
        if not self.both_strands:
            return [motif]
        large = motif.upper()  # which has a complement
        return [large, reverse_complement(large)]

    def places(self, motif: str, vocabulary: Vocabulary) -> list[list[Place]]:
        """The motif on its strands, as the automata take it."""
        if self.both_strands and not set("ACGT") >= set(vocabulary.symbols):
            raise ValueError(
                "both_strands is of DNA, a model of A C G T, got one of "
                f"{' '.join(vocabulary.symbols[:20])}"
            )
        return [places(text, vocabulary) for text in self.strands(motif)]


class Forbid(Motifs):
    """None of these motifs (or tokens) anywhere: restriction sites, an element."""

    kind = "forbid"

    @classmethod
    def of(cls, bound: str) -> Forbid:
        return cls(*bound.removesuffix(_BOTH).split(","), both_strands=bound.endswith(_BOTH))

    def automaton(self, vocabulary: Vocabulary) -> Automaton:
        words = [word for motif in self.motifs for word in self.places(motif, vocabulary)]
        return avoiding(words, len(vocabulary))

    def holds(self, text: str, vocabulary: Vocabulary) -> bool:
        motifs = [strand for motif in self.motifs for strand in self.strands(motif)]
        return not any(occurs(motif, text, vocabulary) for motif in motifs)


class Require(Motifs):
    """Every one of these motifs somewhere, with `both_strands` on either strand."""

    kind = "require"

    @classmethod
    def of(cls, bound: str) -> Require:
        return cls(*bound.removesuffix(_BOTH).split(","), both_strands=bound.endswith(_BOTH))

    def automaton(self, vocabulary: Vocabulary) -> Automaton:
        size = len(vocabulary)
        return all_of([containing(self.places(m, vocabulary), size) for m in self.motifs])

    def holds(self, text: str, vocabulary: Vocabulary) -> bool:
        sets = [self.strands(motif) for motif in self.motifs]
        return all(any(occurs(motif, text, vocabulary) for motif in either) for either in sets)


@dataclass(frozen=True)
class Pattern:
    """The whole string, token by token: `?` is any one token, `*` any number of any; in patterns
    of molecules [*] is that gap, too. "*TATA????ACGT*" is a pattern anywhere."""

    text: str
    kind: ClassVar[str] = "pattern"

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text:
            raise ValueError(f"Pattern takes a text such as 'ACGT????*', got {self.text!r}")

    @classmethod
    def of(cls, bound: str) -> Pattern:
        return cls(bound)

    def __str__(self) -> str:
        return f"pattern:{self.text}"

    def automaton(self, vocabulary: Vocabulary) -> Automaton:
        return spelling(places(self.text, vocabulary, gaps=True), len(vocabulary))

    def holds(self, text: str, vocabulary: Vocabulary) -> bool:
        return occurs(self.text, text, vocabulary, whole=True)


@dataclass(frozen=True)
class Runs:
    """No token more than `longest` times in a row: homopolymers."""

    longest: int
    kind: ClassVar[str] = "runs"

    def __post_init__(self) -> None:
        if not isinstance(self.longest, int) or self.longest < 1:
            raise ValueError(f"Runs takes the longest run, 1 or more, got {self.longest!r}")

    @classmethod
    def of(cls, bound: str) -> Runs:
        if not bound.isdigit():
            raise ValueError(f"expected a whole number, as in 'runs:5', got {bound!r}")
        return cls(int(bound))

    def __str__(self) -> str:
        return f"runs:{self.longest}"

    def automaton(self, vocabulary: Vocabulary) -> Automaton:
        ids = range(FIRST_SYMBOL, vocabulary.mask_id)
        words: list[list[Place]] = [[frozenset({i})] * (self.longest + 1) for i in ids]
        return avoiding(words, len(vocabulary))

    def holds(self, text: str, vocabulary: Vocabulary) -> bool:
        tokens = vocabulary.split(text)
        windows = range(len(tokens) - self.longest)
        return all(len(set(tokens[i : i + self.longest + 1])) > 1 for i in windows)


@dataclass(frozen=True)
class Grammar:
    """The grammar of SMILES as far as a regular set can tell (`samplers.smiles_grammar`)."""

    kind: ClassVar[str] = "grammar"

    @classmethod
    def of(cls, bound: str) -> Grammar:
        return cls()

    def __str__(self) -> str:
        return "grammar"

    def automaton(self, vocabulary: Vocabulary) -> Automaton:
        return smiles(vocabulary)

    def holds(self, text: str, vocabulary: Vocabulary) -> bool:
        """Left to the domain, which parses."""
        return True


KINDS: dict[str, type[StringConstraint]] = {
    made.kind: made for made in (Fixed, Forbid, Require, Pattern, Runs, Grammar)
}


def read(asked: str | StringConstraint) -> StringConstraint:
    """A constraint from its written form; objects are handed through. Raises ValueError."""
    if not isinstance(asked, str):
        if not isinstance(asked, tuple(KINDS.values())):
            raise ValueError(f"a constraint is one of {', '.join(EXAMPLES)}, got {asked!r}")
        return asked
    kind, colon, bound = asked.partition(":")
    if kind not in KINDS:
        raise ValueError(
            f"unknown constraint {asked!r}; expected some of {' '.join(EXAMPLES)}"
            f"{nearest(kind, KINDS)}"
        )
    example = next(e for e in EXAMPLES if e.startswith(kind))
    if bool(bound) != (":" in example):
        raise ValueError(f"constraint {asked!r} must be written as {example!r}")
    return KINDS[kind].of(bound)


def broken(text: str, constraints: Iterable[StringConstraint], vocabulary: Vocabulary) -> str:
    """The written form of the first constraint that a finished string breaks, or ""."""
    return next((str(c) for c in constraints if not c.holds(text, vocabulary)), "")


def checked(
    records: Sequence[Record],
    ids: Tensor,
    asked: Sequence[str | StringConstraint] | None,
    vocabulary: Vocabulary,
) -> list[Record]:
    """Records of rows (B, L), one that breaks what was asked being invalid and saying so.

    Constraints hold by construction; this reads the finished text again without the automata, so
    that a mistake in them is seen.
    """
    if not asked or vocabulary.notation == "graph":
        return list(records)
    constraints, out = [read(one) for one in asked], []
    for record, row in zip(records, ids, strict=True):
        wrong = record.valid and broken(vocabulary.decode(row), constraints, vocabulary)
        reason = f"constraint {wrong!r} does not hold"
        out.append(replace(record, obj=None, valid=False, reason=reason) if wrong else record)
    return out
