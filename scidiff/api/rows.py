"""What token rows hold: strings, or graphs as the triangle of their matrix. Blank rows, rows with
something given, and what may be set for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from scidiff.api.scaffold import RowLaw, Scaffold, node_weights, scaffold_rows
from scidiff.api.settings import GraphRequest, TokenSettings
from scidiff.data.graph_tokens import node_count, triangle
from scidiff.data.tokens import EOS, PAD, Vocabulary
from scidiff.domains.domain import find_domain
from scidiff.samplers.canvas import Canvas, FixedCanvas, LengthLaw


class Rows(Protocol):
    """One kind of content of token rows."""

    @property
    def length(self) -> int:
        """L, the model's."""
        ...

    @property
    def records(self) -> tuple[type, ...]:
        """What may be set when rows are drawn."""
        ...

    @property
    def writes_end(self) -> bool:
        """Whether a masked network gives PAD and EOS a probability inside a row."""
        ...

    def canvas(self, request: Any) -> Canvas:
        """Rows of the training set's sizes, as asked."""
        ...

    def gaps(self, pattern: str, sizes: Sequence[int]) -> tuple[Tensor, int]:
        """Rows (G, L) that hold `pattern` and hide something of each of `sizes`, and where what is
        hidden begins."""
        ...


@dataclass(frozen=True)
class StringRows:
    """Rows are strings."""

    vocabulary: Vocabulary
    config: Mapping[str, Any]
    length: int
    records: tuple[type, ...] = (TokenSettings,)
    writes_end: bool = True

    def canvas(self, request: Any) -> Canvas:
        return LengthLaw(self.config["length_counts"], self.vocabulary.mask_id, self.length)

    def gaps(self, pattern: str, sizes: Sequence[int]) -> tuple[Tensor, int]:
        """Rows prefix + g MASK + suffix + EOS."""
        prefix, suffix = (self.vocabulary.encode(part) for part in split_pattern(pattern))
        longest = len(prefix) + max(sizes) + len(suffix) + 1
        if longest > self.length:
            raise ValueError(
                f"the pattern with a gap of {max(sizes)} tokens has {longest} tokens with its "
                f"end, the model takes at most {self.length}"
            )
        hide = [self.vocabulary.mask_id]
        rows = [[*prefix, *(hide * g), *suffix, EOS] for g in sizes]
        ids = torch.tensor([row + [PAD] * (self.length - len(row)) for row in rows])
        return ids, len(prefix)


@dataclass(frozen=True)
class GraphRows:
    """Rows are graphs, see `data.graph_tokens`."""

    vocabulary: Vocabulary
    config: Mapping[str, Any]
    length: int
    records: tuple[type, ...] = (TokenSettings, GraphRequest)
    writes_end: bool = False

    def canvas(self, request: GraphRequest) -> Canvas:
        """Graphs of the training set's node counts or of `nodes`, around the scaffold if there is
        one."""
        law = node_weights(self.config["length_counts"])
        most = node_count(self.length - 1)
        if request.nodes is not None:
            if request.nodes > most:
                raise ValueError(
                    f"the model takes graphs of at most {most} nodes, got {request.nodes}"
                )
            law = [float(n == request.nodes) for n in range(request.nodes + 1)]
        if request.scaffold is not None:
            return self._around(request.scaffold, law)
        counts = torch.zeros(triangle(len(law) - 1) + 1)
        counts[[triangle(n) for n in range(len(law))]] = torch.tensor(law, dtype=torch.float32)
        return LengthLaw(counts, self.vocabulary.mask_id, self.length)

    def _around(self, text: str, law: Sequence[float]) -> Canvas:
        scaffold = self._scaffold(text)
        sizes = [n for n in range(len(scaffold) + 1, len(law)) if law[n] > 0]
        if not sizes:
            raise ValueError(
                f"the scaffold has {len(scaffold)} nodes and graphs of at most {len(law) - 1} are "
                "drawn: nothing is left to write"
            )
        rows = scaffold_rows(scaffold, sizes, self.vocabulary, self.length)
        return RowLaw(rows, [law[n] for n in sizes], self.vocabulary.mask_id)

    def gaps(self, pattern: str, sizes: Sequence[int]) -> tuple[Tensor, int]:
        """Rows of the pattern's graph and g new nodes, which are joined to it beside a [*], or
        anywhere if there is none."""
        scaffold = self._scaffold(pattern)
        wanted = [len(scaffold) + g for g in sizes]
        ids = scaffold_rows(scaffold, wanted, self.vocabulary, self.length)
        return ids, triangle(len(scaffold))

    def _scaffold(self, text: str) -> Scaffold:
        return Scaffold.of(find_domain(self.config["domain"]).spell(text))


def blank(rows: Rows, mask_id: int) -> Canvas:
    """Rows of the full length, for a network that writes its own end."""
    return FixedCanvas.blank(rows.length, mask_id)


ROWS: Mapping[str, type[StringRows] | type[GraphRows]] = {"graph": GraphRows}
"""By notation; every other one is of strings."""


def split_pattern(pattern: str) -> tuple[str, str]:
    """Cut a pattern at its one [*]."""
    parts = pattern.split("[*]")
    if len(parts) != 2:
        raise ValueError(
            "an infill pattern has exactly one [*] where tokens are to be written, "
            f"got {len(parts) - 1} in {pattern!r}"
        )
    return parts[0], parts[1]
