"""What is hidden between the joints of a row can become pieces of molecules: a constraint."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache

from torch import Tensor

from scidiff.data.tokens import EOS, FIRST_SYMBOL, Vocabulary
from scidiff.samplers.pieces import Kind, Reading, kind_of, read, whole

HIDDEN = -1  # in place of the number of a kind
MOST_KNOWN = 2_000_000  # answers remembered


class PieceReader:
    """Reads pieces over the tokens of a vocabulary, some hidden; what it meets it remembers."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        kinds = [None] * FIRST_SYMBOL + [kind_of(s) for s in vocabulary.symbols]
        self.kinds = list(dict.fromkeys(kind for kind in kinds if kind))
        number = {kind: i for i, kind in enumerate(self.kinds)}
        none = len(self.kinds)  # of what is in no piece
        self.seen = [number[kind] if kind else none for kind in kinds] + [HIDDEN]  # of each token
        self.states, self.number = [Reading()], {Reading(): 0}
        self.steps: dict[tuple[int, int], int | None] = {(0, none): None}
        self.known: dict[tuple[int, tuple[int, ...]], bool] = {}

    def possible(self, piece: tuple[int, ...], state: int = 0) -> bool:
        """Whether tokens of these kinds, some hidden, can go on from a state and end a piece, with
        what is hidden written plainly.

        All that a row could still be is too much to look through. This is a part of it that holds
        whatever was possible before, so that no row gets stuck.
        """
        if not piece:
            return whole(self.states[state])
        key = state, piece
        if key not in self.known:
            kinds = self._plain(state) if piece[0] == HIDDEN else piece[:1]
            after, rest = (self._step(state, kind) for kind in kinds), piece[1:]
            self.known[key] = any(s is not None and self.possible(rest, s) for s in after)
        return self.known[key]

    def _plain(self, state: int) -> list[int]:
        """Kinds that lead on to an end without more branches, or more rings than an aromatic atom
        needs, those first that end sooner."""
        at = self.states[state]
        spots = [level.spot for level in at.levels if level.spot]
        open_, top = at.open, spots[-1] if spots else None
        begun, aromatic = top is None or top.begun, bool(top and top.kind.pi)

        def rank(kind: str, what: Hashable) -> int | None:
            if kind == "ring":
                return 1 if what in open_ else None if begun else 6
            if isinstance(what, Kind):
                if not what.pi:
                    return 3 if what.room == 4 else None
                return {"must": 2 if aromatic else 4, "may": None}.get(what.pi, 5)
            return {")": 0, "=": 7 if aromatic else None}.get(str(what))

        ranked = [(rank(*kind), i) for i, kind in enumerate(self.kinds) if kind[0] != "join"]
        return [i for r, i in sorted((r, i) for r, i in ranked if r is not None)]

    def _step(self, state: int, kind: int) -> int | None:
        key = state, kind
        if key not in self.steps:
            fits = kind < len(self.kinds)
            after = read(self.states[state], self.kinds[kind]) if fits else None
            if after is not None and after not in self.number:
                self.number[after] = len(self.states)
                self.states.append(after)
            self.steps[key] = None if after is None else self.number[after]
        return self.steps[key]


@lru_cache(maxsize=4)
def reader(vocabulary: Vocabulary) -> PieceReader:
    """The reader of a vocabulary, which all rows share."""
    return PieceReader(vocabulary)


class Filling:
    """A constraint (`constraints.Constraint`): what rows hide can become pieces of molecules.

    Labels and dots stand already, as many labels twice as there are dots: of pieces that form a
    tree. What is hidden is anything else. `before` tokens in front and `behind` at the end of
    every row are given and not read.
    """

    def __init__(self, vocabulary: Vocabulary, before: int = 0, behind: int = 0) -> None:
        self.before, self.behind, self.reader = before, behind, reader(vocabulary)
        self.dot = vocabulary.symbols.index(".") + FIRST_SYMBOL
        self.labels = {
            i for i, s in enumerate(vocabulary.symbols, FIRST_SYMBOL) if s.startswith("%")
        }

    def __call__(self, ids: Tensor) -> Tensor:
        """Which rows (B, L) can still become pieces, (B,)."""
        if len(self.reader.known) > MOST_KNOWN:
            self.reader.known.clear()
        return ids.new_tensor([self._fine(row) for row in ids.tolist()]).bool()

    def _fine(self, row: list[int]) -> bool:
        if EOS not in row:
            return False
        row = row[: row.index(EOS)]
        if sum(token in self.labels for token in row) != 2 * row.count(self.dot):
            return False
        rest, start = row[self.before : len(row) - self.behind], 0
        dots = [i for i, token in enumerate(rest) if token == self.dot]
        for end in [*dots, len(rest)]:
            piece = tuple(self.reader.seen[token] for token in rest[start:end])
            if piece and not self.reader.possible(piece):
                return False
            start = end + 1
        return True
