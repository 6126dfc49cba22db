"""What a network knows of graphs that are written as rows of tokens, see `data.graph_tokens`."""

from __future__ import annotations

from dataclasses import dataclass

from scidiff.data.graph_tokens import triangle
from scidiff.networks.graph_transformer import GraphShape

NODE, PAIR = 1, 2


@dataclass(frozen=True)
class GraphRowsConfig(GraphShape):
    """The shape of a network with its vocabulary and the largest graph it takes."""

    kinds: tuple[int, ...]  # of every id: 0 PAD and EOS, 1 node, 2 pair, 3 MASK
    bonded: tuple[int, ...]  # ids of pairs that are joined
    max_nodes: int

    @property
    def vocab_size(self) -> int:
        return len(self.kinds)

    @property
    def max_length(self) -> int:
        """Positions of the largest graph, and EOS."""
        return triangle(self.max_nodes) + 1
