"""Token rows of graphs through the graph transformer: log-probabilities of every node and pair."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scidiff.data.graph_tokens import (
    bonded_ids,
    entries,
    kinds,
    node_count,
    typed_matrix,
)
from scidiff.data.tokens import Vocabulary
from scidiff.networks.conditioning import ConditionEmbedding, check_standard
from scidiff.networks.graph_rows import NODE, PAIR, GraphRowsConfig
from scidiff.networks.graph_transformer import GraphTransformer, GraphTransformerConfig


@dataclass(frozen=True)
class GraphTokenNetworkConfig(GraphRowsConfig):
    time: bool = False
    conditions: tuple[tuple[float, float], ...] = ()  # mean and spread of each number given

    def __post_init__(self) -> None:
        super().__post_init__()
        check_standard(self.conditions)

    def transformer(self) -> GraphTransformerConfig:
        """The network inside: ids are one-hot features, log-probabilities come out."""
        V = self.vocab_size
        X = V + self.width if self.conditions else V
        return GraphTransformerConfig(X, V, V, V, self.time, **self.shape())


class GraphTokenNetwork(nn.Module):
    """A token network whose positions are nodes and pairs; its trunk output is its
    log-probabilities (B, L, V).

    Nodes are drawn from node types, pairs from edge types, and PAD and EOS are certain where they
    stand: a row's size is given.

    With `conditions` it is a `ConditionalNetwork`: `given` adds an MLP of the standardised numbers
    to every node, and a learned vector where they are hidden, as they are without `given`.
    """

    kinds: Tensor
    bonded: Tensor

    def __init__(self, config: GraphTokenNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.mask_id = config.vocab_size - 1
        self.inner = GraphTransformer(config.transformer())
        joined = torch.zeros(config.vocab_size).index_fill(0, torch.tensor(config.bonded), 1.0)
        asked = config.conditions
        self.asked = ConditionEmbedding(asked, config.width) if asked else None
        self.register_buffer("kinds", torch.tensor(config.kinds), persistent=False)
        self.register_buffer("bonded", joined, persistent=False)

    def extended(self, vocabulary: Vocabulary) -> GraphTokenNetwork:
        """A copy for a vocabulary that has more symbols behind the old ones; the new ones are
        read as nothing and start as likely as an average one."""
        config = replace(
            self.config, kinds=tuple(kinds(vocabulary)), bonded=bonded_ids(vocabulary)
        )
        bigger = GraphTokenNetwork(config)
        state, keep = self.state_dict(), self.mask_id  # every id but MASK stays
        for key in ("inner.nodes_in.weight", "inner.edges_in.weight"):
            wide = torch.zeros_like(bigger.state_dict()[key])
            wide[:, :keep], wide[:, len(config.kinds) - 1 :] = (
                state[key][:, :keep], state[key][:, keep:]
            )  # fmt: skip
            state[key] = wide
        for head in ("inner.node_head", "inner.edge_head"):
            for key in (f"{head}.weight", f"{head}.bias"):
                rows = state[key].mean(0).expand_as(bigger.state_dict()[key]).clone()
                rows[:keep] = state[key][:keep]
                state[key] = rows
        bigger.load_state_dict(state)
        return bigger

    @property
    def blocks(self) -> nn.ModuleList:
        return self.inner.blocks

    @property
    def max_length(self) -> int:
        return self.config.max_length

    @property
    def trunk_width(self) -> int:
        """Channels of what `bidirectional` returns."""
        return self.config.vocab_size

    def bidirectional(self, ids: Tensor, t: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, L, V) at every position of ids (B, L), given all that is not
        MASK; t (B,) where the network reads the time."""
        return self.told(ids, t, None if self.asked is None else self.asked.hidden(len(ids)))

    def given(self, condition: Tensor, shown: Tensor) -> GivenGraphs:
        """The network for rows with conditions (B, C) in their own units, hidden where not
        `shown` (B,) bool."""
        if self.asked is None:
            raise ValueError("this network was made without conditions and is given none")
        return GivenGraphs(self, self.asked(condition, shown))

    def told(self, ids: Tensor, t: Tensor | None, condition: Tensor | None) -> Tensor:
        """`bidirectional` with an embedded condition (B, D), which every node reads."""
        if t is not None and not self.config.time:
            raise ValueError("this network does not read the time: t must be None, got (B,)")
        B, L = ids.shape
        N = node_count(L)
        matrix = typed_matrix(ids)
        features = F.one_hot(matrix, self.config.vocab_size).to(self.inner.nodes_in.weight.dtype)
        nodes = matrix.diagonal(dim1=1, dim2=2)
        mask = self.kinds[nodes] % 2 == 1
        off = ~torch.eye(N, dtype=torch.bool, device=ids.device)
        X = features.diagonal(dim1=1, dim2=2).mT
        if condition is not None:
            X = torch.cat([X, condition.to(X)[:, None].expand(-1, N, -1)], -1)
        x, e = self.inner(X, features, self.bonded[matrix] * off, mask, t)
        i, j = (index.to(ids.device) for index in entries(N))
        logits = torch.where((i == j)[:, None], x[:, i], e[:, i, j]).float()
        return self._normalised(logits, mask, i, j, L)

    def _normalised(self, logits: Tensor, mask: Tensor, i: Tensor, j: Tensor, L: int) -> Tensor:
        """Leave to every position what may stand there; behind the graph that is PAD and EOS,
        which is said as a constant: a bound over symbols alone has no gradient there."""
        kind = torch.where(i == j, NODE, PAIR)
        foreign = kind[:, None] != self.kinds  # (M, V)
        told = logits.masked_fill(foreign, float("-inf")).log_softmax(-1)
        ends = torch.where(self.kinds == 0, -torch.log(torch.tensor(2.0)), float("-inf")).to(told)
        inside = mask[:, i] & mask[:, j]  # (B, M)
        rest = (0, 0, 0, L - told.shape[1])
        return torch.where(F.pad(inside, rest[2:])[..., None], F.pad(told, rest), ends)

    def log_probs(self, trunk: Tensor) -> Tensor:
        """The trunk's output is log-probabilities already, (..., V) float32."""
        return trunk


@dataclass(frozen=True)
class GivenGraphs:
    """A graph network bound to the conditions of its rows."""

    network: GraphTokenNetwork
    condition: Tensor  # (B, D) embedded, the learned vector where it is hidden

    def bidirectional(self, ids: Tensor, t: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, L, V) of ids (B, L), row by row under its condition."""
        return self.network.told(ids, t, self.condition)

    def log_probs(self, trunk: Tensor) -> Tensor:
        """The trunk's output is log-probabilities already, (..., V) float32."""
        return trunk
