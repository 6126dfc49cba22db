"""What token rows hold: strings, or graphs as the triangle of their matrix. Blank rows, rows with
something given, and what may be set for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from scidiff.api.constraining import graph_constraints, string_automaton, string_rows
from scidiff.api.gaps import Gapped, Sizes, alphabet_of, gap_law, one_range
from scidiff.api.scaffold import (
    RowLaw,
    Scaffold,
    around,
    names_of,
    node_law,
    node_weights,
    scaffold_rows,
)
from scidiff.api.settings import GraphRequest, StringRequest
from scidiff.core import Rng, uniform
from scidiff.data.graph_tokens import node_count, triangle
from scidiff.data.tokens import EOS, PAD, Vocabulary
from scidiff.domains.domain import find_domain
from scidiff.samplers.automata import Automaton
from scidiff.samplers.canvas import Canvas, FixedCanvas, LengthLaw
from scidiff.samplers.constraints import Constraint


class Rows(Protocol):
    """One kind of content of token rows."""

    @property
    def length(self) -> int:
        """L, the model's."""
        ...

    @property
    def requests(self) -> tuple[type, ...]:
        """What may be asked of every row that is drawn, however it is drawn."""
        ...

    @property
    def writes_end(self) -> bool:
        """Whether a masked network gives PAD and EOS a probability inside a row."""
        ...

    def canvas(self, request: Any) -> Canvas:
        """Rows of the training set's sizes, as asked."""
        ...

    def constraints(self, request: Any) -> list[Constraint]:
        """What no step may break, as asked."""
        ...

    def automaton(self, request: Any) -> Automaton | None:
        """The rows that are asked for, where they are a regular set."""
        ...

    def given(self, pattern: str, sizes: Sizes, n: int, rng: Rng) -> Tensor:
        """Rows (n, L) that hold `pattern` and hide what it leaves open, of sizes drawn from
        `sizes`."""
        ...


@dataclass(frozen=True)
class StringRows:
    """Rows are strings."""

    vocabulary: Vocabulary
    config: Mapping[str, Any]
    length: int
    requests: tuple[type, ...] = (StringRequest,)
    writes_end: bool = True

    def canvas(self, request: StringRequest | None) -> Canvas:
        """Rows of the training set's lengths; with constraints of those that they allow, what
        must stand there being given."""
        counts, mask_id = self.config["length_counts"], self.vocabulary.mask_id
        if request is None or not request.constraints:
            return LengthLaw(counts, mask_id, self.length)
        self.automaton(request)
        return RowLaw(
            *string_rows(request.constraints, self.vocabulary, counts, self.length), mask_id
        )

    def constraints(self, request: StringRequest) -> list[Constraint]:
        return []

    def automaton(self, request: StringRequest) -> Automaton | None:
        """None where nothing is asked. Raises ValueError where nothing satisfies it."""
        if not request.constraints:
            return None
        sizes = [n for n, count in enumerate(self.config["length_counts"]) if count > 0]
        return string_automaton(request.constraints, self.vocabulary, sizes)

    def given(self, pattern: str, sizes: Sizes, n: int, rng: Rng) -> Tensor:
        """Rows of the pattern with its gaps hidden, EOS and PAD."""
        read = Gapped.read(pattern, self.vocabulary, alphabet_of(self.config))
        law = gap_law(read, sizes, self.config["length_counts"], self.length)
        return read.rows(law.draw(n, rng), self.length)


@dataclass(frozen=True)
class GraphRows:
    """Rows are graphs, see `data.graph_tokens`."""

    vocabulary: Vocabulary
    config: Mapping[str, Any]
    length: int
    requests: tuple[type, ...] = (GraphRequest,)
    writes_end: bool = False

    def canvas(self, request: GraphRequest) -> Canvas:
        """Graphs of the training set's node counts or of `nodes`, around the scaffold if there is
        one."""
        law = self._law(request)
        if request.scaffold is not None:
            sizes = [n for n, weight in enumerate(law) if weight > 0]
            rows = self._starts(request, sizes)
            return RowLaw(rows, [law[n] for n in sizes], self.vocabulary.mask_id)
        counts = torch.zeros(triangle(len(law) - 1) + 1, dtype=torch.float64)
        counts[[triangle(n) for n in range(len(law))]] = torch.tensor(law, dtype=torch.float64)
        return LengthLaw(counts, self.vocabulary.mask_id, self.length)

    def constraints(self, request: GraphRequest) -> list[Constraint]:
        """Raises ValueError for one that no row can satisfy when nothing is written yet."""
        sizes = [n for n, weight in enumerate(self._law(request)) if weight > 0]
        for asked in request.constraints:
            [alone] = graph_constraints([asked], self.vocabulary, self.length)
            if not alone(self._starts(request, sizes)).any():
                whole, part = names_of(self._kind)
                given = "" if request.scaffold is None else " around the scaffold"
                raise ValueError(f"constraint {asked!r} can hold for none of the {whole} of "
                                 f"{_span(sizes)} {part}{given} that are drawn")
        return graph_constraints(request.constraints, self.vocabulary, self.length)

    def _law(self, request: GraphRequest) -> list[float]:
        """How often a row that is drawn has n nodes, n = 0, 1, ..."""
        law = node_law(node_weights(self.config["length_counts"]), request.nodes, self._kind)
        if request.scaffold is None:
            return law
        return around(law, len(self._scaffold(request.scaffold)), self._kind)

    def _starts(self, request: GraphRequest, sizes: Sequence[int]) -> Tensor:
        """Rows (R, L) before anything is written, one for each number of nodes."""
        if request.scaffold is not None:
            scaffold = self._scaffold(request.scaffold)
            return scaffold_rows(scaffold, sizes, self.vocabulary, self.length, self._kind)
        place = torch.arange(self.length)
        ends = torch.tensor([triangle(n) for n in sizes])[:, None]
        rows = torch.where(place < ends, self.vocabulary.mask_id, PAD)
        return torch.where(place == ends, EOS, rows)

    def automaton(self, request: GraphRequest) -> None:
        return None

    def gaps(self, pattern: str, sizes: Sequence[int]) -> tuple[Tensor, int]:
        """Rows of the pattern's graph and g new nodes, which are joined to it beside a [*], or
        anywhere if there is none."""
        scaffold = self._scaffold(pattern)
        wanted, most = [len(scaffold) + g for g in sizes], node_count(self.length - 1)
        if max(wanted) > most:
            part = names_of(self._kind)[1]
            raise ValueError(f"the pattern has {len(scaffold)} {part} and the model takes at most "
                             f"{most}: a gap is of at most {max(0, most - len(scaffold))} new "
                             f"ones, got {max(sizes)}")
        ids = scaffold_rows(scaffold, wanted, self.vocabulary, self.length, self._kind)
        return ids, triangle(len(scaffold))

    def given(self, pattern: str, sizes: Sizes, n: int, rng: Rng) -> Tensor:
        """Rows of `gaps`, all sizes equally likely."""
        rows, _ = self.gaps(pattern, one_range(sizes))
        return rows[(uniform((n,), rng).cpu() * len(rows)).long()]

    def _scaffold(self, text: str) -> Scaffold:
        return Scaffold.of(text, find_domain(self.config["domain"]).spell)

    @property
    def _kind(self) -> str:
        return str(find_domain(self.config["domain"]).kind)


def _span(sizes: Sequence[int]) -> str:
    low, high = min(sizes), max(sizes)
    return f"{low}" if low == high else f"{low} to {high}"


def blank(rows: Rows, mask_id: int) -> Canvas:
    """Rows of the full length, for a network that writes its own end."""
    return FixedCanvas.blank(rows.length, mask_id)


ROWS: Mapping[str, type[StringRows] | type[GraphRows]] = {"graph": GraphRows}
"""By notation; every other one is of strings."""
