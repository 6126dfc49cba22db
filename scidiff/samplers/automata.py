"""Finite automata over token rows: sets of rows that can be recognised from left to right.

An automaton is explored from a rule on Python values, then trimmed to states that matter and
minimised (Moore 1956), so that a person writes readable rules and batches see small tables.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeVar

import torch
from torch import Tensor

from scidiff.data.tokens import EOS, PAD

Q = TypeVar("Q", bound=Hashable)
MOST_STATES = 200_000  # an automaton that explores more is refused


@dataclass(frozen=True)
class Automaton:
    """A deterministic automaton with S states over V tokens in K classes, without dead states."""

    classes: Tensor  # (V,) int64, the class of each token
    step: Tensor  # (S, K) int64, the next state; S where no accepted row goes on
    start: int
    accepting: Tensor  # (S,) bool

    def __post_init__(self) -> None:
        S, K = self.step.shape
        if len(self.accepting) != S or int(self.classes.max()) >= K:
            raise ValueError(
                f"step (S, K) must fit accepting (S,) and classes in 0..K - 1, got {S, K}, "
                f"{tuple(self.accepting.shape)} and classes up to {int(self.classes.max())}"
            )

    def __len__(self) -> int:
        """S; 0 where no row at all is accepted."""
        return len(self.step)

    @property
    def vocab_size(self) -> int:
        return len(self.classes)

    def accepts(self, ids: Tensor) -> Tensor:
        """Which rows (B, L) that hide nothing are in the set, (B,) bool."""
        dead = self.step.new_full((1, self.step.shape[1]), len(self))
        table = torch.cat([self.step, dead]).to(ids.device)
        classes = self.classes.to(ids.device)[ids]
        state = torch.full_like(ids[:, 0], self.start)
        for at in classes.unbind(1):
            state = table[state, at]
        return torch.cat([self.accepting, torch.zeros(1, dtype=torch.bool)]).to(ids.device)[state]

    def lengths(self, longest: int) -> Tensor:
        """Whether a row of each length 0 .. `longest` is accepted, (longest + 1,) bool."""
        reached = torch.zeros(len(self) + 1, dtype=torch.bool)
        reached[self.start] = bool(len(self))
        found = []
        for _ in range(longest + 1):
            found.append((reached[:-1] & self.accepting).any())
            after = torch.zeros_like(reached)
            after[self.step[reached[:-1]].flatten()] = True
            reached, reached[-1] = after, False
        return torch.stack(found)

    def __and__(self, other: Automaton) -> Automaton:
        """Rows that are in both sets: the product automaton."""
        if self.vocab_size != other.vocab_size:
            raise ValueError(
                "automata must be over the same tokens, got "
                f"{self.vocab_size} and {other.vocab_size}"
            )
        tables, sizes = (self.step.tolist(), other.step.tolist()), (len(self), len(other))
        fine = self.accepting.tolist(), other.accepting.tolist()

        def advance(pair: tuple[int, int], label: Any) -> tuple[int, int] | None:
            a, b = tables[0][pair[0]][label[0]], tables[1][pair[1]][label[1]]
            return None if a == sizes[0] or b == sizes[1] else (a, b)

        labels = list(zip(self.classes.tolist(), other.classes.tolist(), strict=True))
        first = (self.start, other.start) if len(self) and len(other) else None
        return explored(first, advance, lambda p: fine[0][p[0]] and fine[1][p[1]], labels)


def explored(
    start: Q | None,
    advance: Callable[[Q, Any], Q | None],
    accepts: Callable[[Q], bool],
    labels: Sequence[Hashable],
) -> Automaton:
    """Explore the automaton of a rule: `advance(state, label)` is the next state or None, `labels`
    (V,) says what the rule sees of each token; tokens with one label are one class, and nothing
    goes on with the label None.

    Raises ValueError where the rule has more than MOST_STATES states.
    """
    kinds = list(dict.fromkeys(labels))
    number: dict[Q, int] = {} if start is None else {start: 0}
    queue, table = list(number), []
    for state in queue:
        row = []
        for label in kinds:
            after = None if label is None else advance(state, label)
            if after is not None and after not in number:
                number[after] = len(number)
                queue.append(after)
            row.append(-1 if after is None else number[after])
        table.append(row)
        if len(number) > MOST_STATES:
            raise ValueError(
                f"the constraints need more than {MOST_STATES} states; expected fewer or shorter "
                "motifs, or fewer of them together"
            )
    step = torch.tensor(table, dtype=torch.int64).reshape(len(table), len(kinds))
    accepting = torch.tensor([accepts(q) for q in queue], dtype=torch.bool)
    index = {kind: i for i, kind in enumerate(kinds)}
    return _minimal(torch.tensor([index[label] for label in labels]), step, accepting)


def _minimal(classes: Tensor, step: Tensor, accepting: Tensor) -> Automaton:
    """Drop dead states (-1 is none), merge states that accept the same rows and tokens that do
    the same; the start is state 0."""
    S = len(step)
    step = torch.where(step < 0, S, step)
    alive = accepting
    while not torch.equal(more := accepting | _padded(alive)[step].any(1), alive):
        alive = more
    if not S or not alive[0]:
        return Automaton(
            torch.zeros_like(classes), step.new_zeros(0, 1), 0, accepting.new_zeros(0)
        )
    rows = alive.nonzero()[:, 0]
    renamed = torch.full((S + 1,), len(rows))  # the last one is the state that is none
    renamed[rows] = torch.arange(len(rows))
    return _merged(classes, renamed[step[rows]], accepting[rows])


def _padded(of_states: Tensor) -> Tensor:
    """Append what holds of the state that is none: nothing."""
    return torch.cat([of_states, of_states.new_zeros(1)])


def _merged(classes: Tensor, step: Tensor, accepting: Tensor) -> Automaton:
    """Moore's algorithm: split blocks of states by where they go until none splits; then one state
    a block, in the order of their first states, and one class a column."""
    none = step.new_full((1,), -1)
    block, count = accepting.long(), 0
    while len(names := block.unique()) > count:
        count = len(names)
        onward = torch.cat([block, none])[step]
        finer = torch.cat([block[:, None], onward], 1)
        block = torch.unique(finer, dim=0, return_inverse=True)[1]
    states = torch.arange(len(step))
    first = torch.full((count,), len(step)).scatter_reduce(0, block, states, "amin")
    order = first.argsort()
    place = torch.cat([order.argsort(), order.new_tensor([count])])
    table = place[torch.cat([block, order.new_tensor([count])])[step[first[order]]]]
    columns, joined = torch.unique(table, dim=1, return_inverse=True)
    return Automaton(joined[classes], columns, 0, accepting[first[order]])


# ---------------------------------------------------------------- what automata are made of


def everything(vocab_size: int) -> Automaton:
    """Accept every row."""
    return explored(0, lambda q, label: 0, lambda q: True, [0] * vocab_size)


def all_of(parts: Sequence[Automaton]) -> Automaton:
    """Rows that are in every one of the sets; small ones are multiplied first."""
    return reduce(lambda a, b: a & b, sorted(parts, key=len))


Place = frozenset[int] | str | None
"""What may stand at one place of a motif: some tokens, or None for any; "*", of patterns only, is
any number of any tokens."""


def spelling(places: Sequence[Place], vocab_size: int) -> Automaton:
    """Rows that hold exactly these places.

    Subset construction: the state is the set of places at which a row may stand.
    """
    motif = tuple(places)

    def closed(at: set[int]) -> frozenset[int]:
        for i in sorted(at):
            while i < len(motif) and motif[i] == "*":
                at.add(i := i + 1)
        return frozenset(at)

    def advance(at: frozenset[int], token: Hashable) -> frozenset[int] | None:
        after = {i for i in at if i < len(motif) and motif[i] == "*"}
        after |= {i + 1 for i in at if i < len(motif) and _stands(motif[i], token)}
        return closed(after) if after else None

    labels = _labels(motif, vocab_size)
    return explored(closed({0}), advance, lambda at: len(motif) in at, labels)


def containing(motifs: Sequence[Sequence[Place]], vocab_size: int) -> Automaton:
    """Rows that hold at least one of the motifs somewhere (Aho and Corasick 1975, with gaps)."""
    return _search(motifs, vocab_size, found=True)


def avoiding(motifs: Sequence[Sequence[Place]], vocab_size: int) -> Automaton:
    """Rows that hold none of the motifs anywhere."""
    return _search(motifs, vocab_size, found=False)


def _search(motifs: Sequence[Sequence[Place]], vocab_size: int, found: bool) -> Automaton:
    """The state is the set of (motif, places matched), or "found"."""
    words = [tuple(m) for m in motifs]
    if not all(words) or any("*" in word for word in words):
        raise ValueError(f"a motif is one place or more, none of them '*', got {motifs}")

    def advance(at: Any, token: Hashable) -> Hashable | None:
        if at == "found":
            return at
        tries = [*at, *((w, 0) for w in range(len(words)))]
        after = {(w, i + 1) for w, i in tries if _stands(words[w][i], token)}
        if any(i == len(words[w]) for w, i in after):
            return "found" if found else None
        return frozenset(after)

    labels = _labels([p for word in words for p in word], vocab_size)
    start: Hashable = frozenset()
    return explored(start, advance, lambda at: (at == "found") == found, labels)


def _stands(place: Place, token: Hashable) -> bool:
    return place is None or (isinstance(place, frozenset) and token in place)


def _labels(motif: Sequence[Place], vocab_size: int) -> list[Hashable]:
    """Tokens that some place names are themselves, all others are alike."""
    named = {token for place in motif if isinstance(place, frozenset) for token in place}
    return [v if v in named else "other" for v in range(vocab_size)]


def symbols_only(inner: Automaton) -> Automaton:
    """Rows of the set that hold neither PAD nor EOS nor MASK, the last token."""
    table, S = inner.step.tolist(), len(inner)
    fine, labels = inner.accepting.tolist(), list[Hashable](inner.classes.tolist())
    labels[PAD] = labels[EOS] = labels[-1] = None

    def advance(state: int, label: int) -> int | None:
        after = table[state][label]
        return None if after == S else int(after)

    start = inner.start if S else None
    return explored(start, advance, lambda state: fine[state], labels)


def ended(inner: Automaton) -> Automaton:
    """Rows that are in the set up to their end: the end of the row, or EOS and PAD behind it.
    Neither PAD nor EOS nor MASK, the last token, may stand before."""
    table, S = inner.step.tolist(), len(inner)
    fine, labels = inner.accepting.tolist(), list[Hashable](inner.classes.tolist())
    labels[PAD], labels[EOS], labels[-1] = "pad", "end", None

    def advance(state: int, label: Any) -> int | None:
        if state < 0 or label in ("pad", "end"):
            over = label == "pad" if state < 0 else label == "end" and fine[state]
            return -1 if over else None
        after = table[state][label]
        return None if after == S else int(after)

    start = inner.start if S else None
    return explored(start, advance, lambda state: state < 0 or fine[state], labels)
