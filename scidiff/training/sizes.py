"""The networks a recipe can ask for, by `kind`, and how each is built for a vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from scidiff.data.graph_tokens import EDGES, kinds, node_count, triangle
from scidiff.data.tokens import FIRST_SYMBOL, Vocabulary
from scidiff.networks.graph_tokens import GraphTokenNetwork, GraphTokenNetworkConfig
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig

_FORBID = {"extra": "forbid"}  # an unknown key of a recipe is an error


@dataclass(frozen=True)
class TokenTransformerSize:
    """A transformer over strings."""

    kind: Literal["token_transformer"] = "token_transformer"
    max_length: int | None = None  # tokens with EOS; default: the longest training row
    width: int = 256
    depth: int = 4
    heads: int = 4
    expand: int = 4

    notation: ClassVar[str | None] = None  # the domain's
    __pydantic_config__ = _FORBID

    def build(self, vocabulary: Vocabulary, longest: int) -> nn.Module:
        """A fresh network for rows of at most `longest` tokens, drawn from torch's generator."""
        return TokenTransformer(
            TokenTransformerConfig(
                len(vocabulary), self.max_length or longest,
                self.width, self.depth, self.heads, self.expand,
            )
        )  # fmt: skip


@dataclass(frozen=True)
class GraphTransformerSize:
    """A transformer over nodes and pairs of graphs given as token rows."""

    kind: Literal["graph_transformer"]
    max_nodes: int | None = None  # default: the largest training graph
    width: int = 128
    edge_width: int = 48
    depth: int = 5
    heads: int = 8
    expand: int = 2
    walks: int = 8
    triangle: bool = True
    orthogonal: bool = False
    time: bool = False

    notation: ClassVar[str | None] = "graph"
    __pydantic_config__ = _FORBID

    @property
    def max_length(self) -> int | None:
        """Positions of the largest graph, and EOS."""
        return None if self.max_nodes is None else triangle(self.max_nodes) + 1

    def build(self, vocabulary: Vocabulary, longest: int) -> nn.Module:
        """A fresh network for rows of at most `longest` tokens, drawn from torch's generator."""
        joined = [s for s in EDGES[1:] if s in vocabulary.symbols]
        bonded = [vocabulary.symbols.index(s) + FIRST_SYMBOL for s in joined]
        return GraphTokenNetwork(
            GraphTokenNetworkConfig(
                tuple(kinds(vocabulary)), tuple(bonded), self.max_nodes or node_count(longest),
                self.width, self.edge_width, self.depth, self.heads, self.expand, self.walks,
                self.triangle, self.orthogonal, self.time,
            )
        )  # fmt: skip


NetworkSize = TokenTransformerSize | GraphTransformerSize
SIZES: dict[str, type[NetworkSize]] = {
    "token_transformer": TokenTransformerSize,
    "graph_transformer": GraphTransformerSize,
}
