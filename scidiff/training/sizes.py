"""The networks a recipe can ask for, by `kind`, and how each is built for a vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from scidiff.data.graph_tokens import bonded_ids, kinds, node_count, node_symbols, triangle
from scidiff.data.points import BOND_CLASSES
from scidiff.data.tokens import Vocabulary
from scidiff.networks.conditioning import Standard
from scidiff.networks.gdss import GDSSNetwork, GDSSNetworkConfig
from scidiff.networks.graph_score import GraphScoreNetwork, GraphScoreNetworkConfig
from scidiff.networks.graph_tokens import GraphTokenNetwork, GraphTokenNetworkConfig
from scidiff.networks.graph_transformer import GraphShape
from scidiff.networks.point_blocks import PointBlockNetwork, PointBlockNetworkConfig
from scidiff.networks.points import PointScoreNetwork, PointScoreNetworkConfig
from scidiff.networks.ppgn import GraphBlockNetwork, GraphBlockNetworkConfig
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
    time: bool = False  # read t: needed by a flow, of no use to masked diffusion

    notation: ClassVar[str | None] = None  # the domain's
    processes: ClassVar[tuple[str, ...]] = ("masked", "block", "autoregressive", "flow")
    takes_conditions: ClassVar[bool] = True
    __pydantic_config__ = _FORBID

    def build(
        self, vocabulary: Vocabulary, longest: int, conditions: Standard = ()
    ) -> nn.Module:
        """A fresh network for rows of at most `longest` tokens, drawn from torch's generator."""
        return TokenTransformer(
            TokenTransformerConfig(
                len(vocabulary), self.max_length or longest,
                self.width, self.depth, self.heads, self.expand, self.time, conditions,
            )
        )  # fmt: skip


@dataclass(frozen=True)
class GraphTransformerSize(GraphShape):
    """A transformer over nodes and pairs of graphs given as token rows."""

    kind: Literal["graph_transformer"]
    max_nodes: int | None = None  # default: the largest training graph
    time: bool = False  # read t: needed by a flow, of no use to masked diffusion

    notation: ClassVar[str | None] = "graph"
    processes: ClassVar[tuple[str, ...]] = ("masked", "flow")
    takes_conditions: ClassVar[bool] = True
    __pydantic_config__ = _FORBID

    @property
    def max_length(self) -> int | None:
        return _positions(self.max_nodes)

    def build(
        self, vocabulary: Vocabulary, longest: int, conditions: Standard = ()
    ) -> nn.Module:
        """A fresh network for rows of at most `longest` tokens, drawn from torch's generator."""
        return GraphTokenNetwork(
            GraphTokenNetworkConfig(
                tuple(kinds(vocabulary)),
                bonded_ids(vocabulary),
                self.max_nodes or node_count(longest),
                self.time,
                conditions,
                **self.shape(),
            )
        )


@dataclass(frozen=True)
class GraphBlocksSize(GraphShape):
    """A transformer that writes graphs block by block."""

    kind: Literal["graph_blocks"]
    max_nodes: int | None = None  # default: the largest training graph
    causal: bool = False  # trained on all blocks in one pass; without walks

    notation: ClassVar[str | None] = "graph"
    processes: ClassVar[tuple[str, ...]] = ("graph_blocks",)
    takes_conditions: ClassVar[bool] = False
    __pydantic_config__ = _FORBID

    @property
    def max_length(self) -> int | None:
        return _positions(self.max_nodes)

    def build(
        self, vocabulary: Vocabulary, longest: int, conditions: Standard = ()
    ) -> nn.Module:
        """A fresh network for rows of at most `longest` tokens, drawn from torch's generator."""
        return GraphBlockNetwork(
            GraphBlockNetworkConfig(
                tuple(kinds(vocabulary)),
                bonded_ids(vocabulary),
                self.max_nodes or node_count(longest),
                self.causal,
                **self.shape(),
            )
        )


@dataclass(frozen=True)
class GDSSSize:
    """The pair of score networks of Jo et al. 2022."""

    kind: Literal["gdss"]
    max_nodes: int | None = None  # default: the largest training graph
    features: int | None = None  # default: as many as there are node types
    hidden: int = 32
    depth_x: int = 3
    depth_a: int = 5
    attention: bool = False  # in the network of X
    linears: int = 2
    c_init: int = 2
    c_hidden: int = 8
    c_final: int = 4
    attention_dim: int = 32
    heads: int = 4

    notation: ClassVar[str | None] = "graph"
    processes: ClassVar[tuple[str, ...]] = ("graph_sde",)
    takes_conditions: ClassVar[bool] = False
    __pydantic_config__ = _FORBID

    @property
    def max_length(self) -> int | None:
        return _positions(self.max_nodes)

    def build(
        self, vocabulary: Vocabulary, longest: int, conditions: Standard = ()
    ) -> nn.Module:
        """Fresh networks, drawn from torch's generator; they take graphs of any size."""
        return GDSSNetwork(
            GDSSNetworkConfig(
                self.features or len(node_symbols(vocabulary)),
                self.hidden, self.depth_x, self.depth_a, self.attention, self.linears,
                self.c_init, self.c_hidden, self.c_final, self.attention_dim, self.heads,
            )
        )  # fmt: skip


@dataclass(frozen=True)
class GraphScoreSize(GraphShape):
    """A transformer that guesses clean node features and edge values at any noise."""

    kind: Literal["graph_score"]
    max_nodes: int | None = None  # default: the largest training graph
    features: int | None = None  # default: as many as there are node types
    spread_x: float = 0.5  # root mean square of the entries of X, and of A
    spread_a: float = 0.5

    notation: ClassVar[str | None] = "graph"
    processes: ClassVar[tuple[str, ...]] = ("graph_sde",)
    takes_conditions: ClassVar[bool] = False
    __pydantic_config__ = _FORBID

    @property
    def max_length(self) -> int | None:
        return _positions(self.max_nodes)

    def build(
        self, vocabulary: Vocabulary, longest: int, conditions: Standard = ()
    ) -> nn.Module:
        """A fresh network, drawn from torch's generator; it takes graphs of any size."""
        features = self.features or len(node_symbols(vocabulary))
        config = GraphScoreNetworkConfig(features, self.spread_x, self.spread_a, **self.shape())
        return GraphScoreNetwork(config)


@dataclass(frozen=True)
class PointsSize:
    """An equivariant network of molecules in space, see `networks.equivariant`."""

    kind: Literal["points"]
    layers: Literal["egnn", "e3"] = "egnn"
    bonds: bool = True  # read and said of every pair
    width: int = 128
    edge_width: int = 48
    depth: int = 5
    heads: int = 4
    vectors: int = 16
    radial: int = 20
    cutoff: float = 4.0  # in the units of the positions, see `PointSystem`
    lmax: int = 2
    reflections: bool = True

    max_length: ClassVar[int | None] = None  # it takes molecules of any size
    notation: ClassVar[str | None] = "points"
    processes: ClassVar[tuple[str, ...]] = ("points",)
    takes_conditions: ClassVar[bool] = True
    __pydantic_config__ = _FORBID

    def build(
        self, vocabulary: Vocabulary, longest: int, conditions: Standard = ()
    ) -> nn.Module:
        """A fresh network, drawn from torch's generator."""
        return PointScoreNetwork(
            PointScoreNetworkConfig(
                len(vocabulary.symbols), BOND_CLASSES if self.bonds else 0, self.layers,
                self.width, self.edge_width, self.depth, self.heads, self.vectors, self.radial,
                self.cutoff, self.lmax, self.reflections, conditions,
            )
        )  # fmt: skip


@dataclass(frozen=True)
class PointBlocksSize:
    """Transformers that write atoms and then place them block by block, see
    `networks.point_blocks`."""

    kind: Literal["point_blocks"]
    max_atoms: int | None = None  # default: the largest training molecule
    width: int = 128
    heads: int = 4
    sequence_depth: int = 3
    token_depth: int = 1
    depth: int = 5
    head_depth: int = 0
    expand: int = 2
    spatial: int = 4

    notation: ClassVar[str | None] = "points"
    processes: ClassVar[tuple[str, ...]] = ("point_blocks",)
    takes_conditions: ClassVar[bool] = False
    __pydantic_config__ = _FORBID

    @property
    def max_length(self) -> int | None:
        return self.max_atoms

    def build(
        self, vocabulary: Vocabulary, longest: int, conditions: Standard = ()
    ) -> nn.Module:
        """A fresh network for molecules of at most `longest` atoms, drawn from torch's
        generator. Raises ValueError where training molecules are larger than `max_atoms`."""
        atoms = self.max_atoms or longest
        if longest > atoms:
            raise ValueError(
                f"network.max_atoms must be at least {longest}, the atoms of the largest "
                f"training molecule, got {atoms}"
            )
        return PointBlockNetwork(
            PointBlockNetworkConfig(
                len(vocabulary), atoms, self.width, self.heads, self.sequence_depth,
                self.token_depth, self.depth, self.head_depth, self.expand, self.spatial,
            )
        )  # fmt: skip


def _positions(max_nodes: int | None) -> int | None:
    """Positions of the largest graph, and EOS."""
    return None if max_nodes is None else triangle(max_nodes) + 1


NetworkSize = (
    TokenTransformerSize
    | GraphTransformerSize
    | GraphBlocksSize
    | GDSSSize
    | GraphScoreSize
    | PointsSize
    | PointBlocksSize
)
SIZES: dict[str, type[NetworkSize]] = {
    "token_transformer": TokenTransformerSize,
    "graph_transformer": GraphTransformerSize,
    "graph_blocks": GraphBlocksSize,
    "gdss": GDSSSize,
    "graph_score": GraphScoreSize,
    "points": PointsSize,
    "point_blocks": PointBlocksSize,
}
