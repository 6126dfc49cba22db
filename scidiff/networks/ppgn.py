"""A graph transformer that writes graphs block by block: attention and the matrix products of PPGN
under one mask, so that nothing leaks from a later block (Pard, Zhao et al. 2024, arXiv
2402.03687)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scidiff.data.buckets import buckets
from scidiff.data.graph_order import Blocks, at_positions, certain
from scidiff.data.graph_tokens import entries
from scidiff.networks.conditioning import time_features
from scidiff.networks.graph_rows import NODE, PAIR, GraphRowsConfig
from scidiff.networks.graph_transformer import (
    GraphBlock,
    GraphTransformerConfig,
    random_walks,
)
from scidiff.networks.graph_views import (
    View,
    by_position,
    last_block,
    noisy_copies,
    one_block,
    two_copies,
)

PLACE = 3  # features of a pair's place: same block, nearness of the blocks, being written
TIME = 64


@dataclass(frozen=True)
class GraphBlockNetworkConfig(GraphRowsConfig):
    causal: bool = False  # a clean node sees no later block than its own: all blocks in one pass

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.causal and self.walks:
            raise ValueError(
                "walks must be 0 in a causal network: walks through the whole graph would show "
                f"every block the later ones, got {self.walks}"
            )

    def block(self) -> GraphTransformerConfig:
        """One layer without its triangle, which is not masked."""
        V = self.vocab_size
        return GraphTransformerConfig(V, V, V, V, True, **{**self.shape(), "triangle": False})

    def training_bytes(self, rows: int, nodes: int, parallel: bool) -> int:
        """What a float32 training step keeps for its gradients, about: it grows with the square
        of the nodes, which are twice as many where all blocks are told at once."""
        nodes = nodes * (1 + parallel)
        # counted in the tensors that autograd saves, which a test compares with this
        layer = (20 + 2.5 * self.expand) * self.edge_width + 9 * self.heads
        pair = self.depth * layer + 4 * self.vocab_size
        node = self.depth * (20 + 3 * self.expand) * self.width
        return round(4 * rows * nodes * (nodes * pair + node))


class MaskedProduct(nn.Module):
    """e_ij += W_o (gate_ij * norm(sum_k l_ik r_jk + r_ik l_jk)) over the nodes k that the later of
    i and j sees: PPGN (Maron et al. 2019) as `Triangle`, which it is where all see all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.inner = nn.RMSNorm(width), nn.RMSNorm(width)
        self.sides = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, e: Tensor, sees: Tensor) -> Tensor:
        """e (B, N, N, D) symmetric, sees (B, N, N) bool -> (B, N, N, D) symmetric."""
        left, right, gate = self.sides(self.norm(e)).chunk(3, -1)
        left, right = (m.permute(0, 3, 1, 2) for m in (left, right))
        seen = sees[:, None]
        product = (left * seen) @ right.mT + (right * seen) @ left.mT
        product = torch.where(seen, product, product.mT).permute(0, 2, 3, 1)
        return self.out(self.inner(product.float()) * gate.sigmoid())


class MaskedBlock(nn.Module):
    """`GraphBlock` among the nodes that see each other, then the product."""

    def __init__(self, config: GraphBlockNetworkConfig) -> None:
        super().__init__()
        self.inner = GraphBlock(config.block())
        self.product = MaskedProduct(config.edge_width) if config.triangle else None

    def forward(self, x: Tensor, e: Tensor, sees: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, N, D), e (B, N, N, E), sees (B, N, N) bool."""
        x, e = self.inner(x, e, sees[:, None], e)
        return x, e if self.product is None else e + self.product(e, sees)


class GraphBlockNetwork(nn.Module):
    """Tells the clean tokens of a block at any noise, and how large the next one is and of what
    degree. As a token network its trunk output is its log-probabilities (B, L, V).

    Equivariant to the order of nodes within a block: only blocks tell nodes apart.
    """

    kinds: Tensor
    bonded: Tensor

    def __init__(self, config: GraphBlockNetworkConfig) -> None:
        super().__init__()
        self.config, self.mask_id = config, config.vocab_size - 1
        V, D, E, N = config.vocab_size, config.width, config.edge_width, config.max_nodes
        self.nodes_in = nn.Linear(V + 1 + config.walks, D)
        self.edges_in = nn.Linear(V + PLACE + config.walks, E)
        self.time_in = nn.Linear(TIME, D)
        self.size_in, self.degree_in = nn.Embedding(N + 1, D), nn.Embedding(N + 1, D)
        self.blocks = nn.ModuleList(MaskedBlock(config) for _ in range(config.depth))
        self.node_norm, self.edge_norm = nn.RMSNorm(D), nn.RMSNorm(E)
        self.node_head, self.edge_head = nn.Linear(D, V), nn.Linear(E, V)
        self.next = NextBlockHead(D, N)
        for head in (self.node_head, self.edge_head):
            nn.init.zeros_(head.weight)
        joined = torch.zeros(V).index_fill(0, torch.tensor(config.bonded), 1.0)
        self.register_buffer("kinds", torch.tensor(config.kinds), persistent=False)
        self.register_buffer("bonded", joined, persistent=False)

    @property
    def max_length(self) -> int:
        return self.config.max_length

    @property
    def trunk_width(self) -> int:
        """Channels of what `bidirectional` returns."""
        return self.config.vocab_size

    # ---- what a process or a sampler asks

    def bidirectional(self, ids: Tensor, t: Tensor) -> Tensor:
        """Log-probabilities (B, L, V) of the whole of noisy ids (B, L) as one block at times t
        (B,)."""
        view = one_block(ids, t)
        return self._normalised(by_position(*self._heads(*self.seen(view))), ids, view.noisy)

    def last_block(
        self, ids: Tensor, blocks: Blocks, noisy: Tensor, t: Tensor, most: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, L, V) of rows whose nodes `noisy` (B, N), those of the last block,
        are being written: what is clean is certain. Beside them the node features (B, N, D), which
        of clean nodes know nothing of noisy ones.

        Rows of about one size are evaluated together, at most `most` of them, which the host has
        to wait for.
        """
        view = last_block(ids, blocks, noisy, t, self.config.causal)
        N, D = view.block.shape[1], self.config.width
        told = torch.zeros(*ids.shape, self.config.vocab_size, device=ids.device)
        features = torch.zeros(*view.block.shape, D, device=ids.device)
        for group in buckets(view.block >= 0, most=most):
            x, e = self.seen(view[group.rows].cut(group.nodes))
            logits = by_position(*self._heads(x, e)).float()
            told = told.index_copy(0, group.rows, F.pad(
                logits, (0, 0, 0, ids.shape[1] - logits.shape[1])))  # fmt: skip
            wide = F.pad(x, (0, 0, 0, N - group.nodes)).float()
            features = features.index_copy(0, group.rows, wide)
        return self._normalised(told, ids, noisy), features

    def all_blocks(
        self, clean: Tensor, noisy: Tensor, blocks: Blocks, t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`last_block` of every block at once, in one pass over twice the nodes: the node features
        (B, N, D) are those of the clean copies. Raises ValueError where the network is not
        causal."""
        if not self.config.causal:
            raise ValueError("all blocks at once need a network with causal = True, got False")
        x, e = self.seen(two_copies(clean, noisy, blocks, t))
        logits = noisy_copies(*self._heads(x, e), blocks.block)
        return self._normalised(logits, noisy, blocks.block >= 0), x[:, : blocks.block.shape[1]]

    def log_probs(self, trunk: Tensor) -> Tensor:
        """The trunk's output is log-probabilities already, (..., V) float32."""
        return trunk

    def training_bytes(self, rows: int, nodes: int, parallel: bool) -> int:
        """What a training step keeps, see the config's."""
        return self.config.training_bytes(rows, nodes, parallel)

    # ---- inside

    def seen(self, view: View) -> tuple[Tensor, Tensor]:
        """Features of nodes (B, N, D) and pairs (B, N, N, E) of a view."""
        X, E = self._features(view)
        x, e = self.nodes_in(X), self.edges_in(E).float()
        zero = torch.zeros_like(view.t)
        clock = [self.time_in(time_features(t, TIME))[:, None] for t in (view.t, zero)]
        x = x + torch.where(view.noisy[..., None], *clock)
        x = (x + self.size_in(view.size) + self.degree_in(view.degree)).float()
        for block in self.blocks:
            x, e = block(x, e, view.sees)
        return x, e

    def _features(self, view: View) -> tuple[Tensor, Tensor]:
        """One-hot ids, the place of a pair among the blocks, and walks."""
        kind = self.nodes_in.weight.dtype
        ids = F.one_hot(view.matrix, self.config.vocab_size).to(kind)
        apart = (view.block[:, :, None] - view.block[:, None]).abs()
        place = torch.stack([apart == 0, 1 / (1 + apart), view.written], -1).to(kind)
        X = [ids.diagonal(dim1=1, dim2=2).mT, view.noisy[..., None].to(kind)]
        E = [ids, place]
        if self.config.walks:
            walks = self._walks(view)
            X, E = [*X, walks.diagonal(dim1=1, dim2=2).mT], [*E, walks]
        return torch.cat(X, -1), torch.cat(E, -1)

    def _walks(self, view: View) -> Tensor:
        """Walks (B, N, N, walks) among clean nodes alone, and through everything where a pair is
        being written."""
        N = view.matrix.shape[1]
        joined = self.bonded[view.matrix] * ~torch.eye(N, dtype=torch.bool).to(view.matrix.device)
        through = random_walks(joined, self.config.walks)
        among = random_walks(joined * ~view.written, self.config.walks)
        return torch.where(view.written[..., None], through, among)

    def _heads(self, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        return self.node_head(self.node_norm(x)), self.edge_head(self.edge_norm(e))

    def _normalised(self, logits: Tensor, ids: Tensor, noisy: Tensor) -> Tensor:
        """Leave to every position (B, L) what may stand there: of the `noisy` nodes (B, N) and
        their pairs what is of their kind, elsewhere what does, for certain."""
        L = ids.shape[1]
        logits = F.pad(logits.float(), (0, 0, 0, L - logits.shape[1]))
        i, j = (index.to(ids.device) for index in entries(noisy.shape[1]))
        kind = F.pad(torch.where(i == j, NODE, PAIR), (0, L - len(i)), value=NODE)
        foreign = kind[:, None] != self.kinds
        told = logits.masked_fill(foreign, float("-inf")).log_softmax(-1)
        written = at_positions(noisy, L, 0)[..., None]
        return torch.where(written, told, certain(ids, self.config.vocab_size))


class NextBlockHead(nn.Module):
    """How many nodes the next block has (0: none, the graph is finished) and, given that, of which
    degree they are, from the clean nodes so far."""

    def __init__(self, width: int, max_nodes: int) -> None:
        super().__init__()
        self.max_nodes = max_nodes
        self.norm = nn.RMSNorm(width)
        self.summary = nn.Linear(2 * width, width)
        self.so_far, self.size_in = (nn.Embedding(max_nodes + 1, width) for _ in range(2))
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.size_head = nn.Linear(width, max_nodes + 1)
        self.degree_head = nn.Linear(width, max_nodes + 1)

    def state(self, x: Tensor, prefix: Tensor, last: Tensor) -> Tensor:
        """What is known of graphs that end with a block, (B, K, D): the mean of node features
        (B, N, D) over the `prefix` (B, K, N) bool and over its `last` block."""
        x = self.norm(x.float())
        means = [
            (who.to(x) / who.sum(-1, keepdim=True).clamp(min=1)) @ x for who in (prefix, last)
        ]
        return self.summary(torch.cat(means, -1)) + self.so_far(prefix.sum(-1))

    def log_size(self, state: Tensor, nodes: Tensor) -> Tensor:
        """log p(size) (.., max_nodes + 1) after graphs of `nodes` (..) nodes: none that would make
        the graph larger than the network knows."""
        logits = self.size_head(F.silu(self.hidden[0](state))).float()
        size = torch.arange(self.max_nodes + 1, device=logits.device)
        beyond = size > self.max_nodes - nodes[..., None]
        return logits.masked_fill(beyond, float("-inf")).log_softmax(-1)

    def log_degree(self, state: Tensor, size: Tensor) -> Tensor:
        """log p(degree | size) (.., max_nodes + 1)."""
        told = self.hidden[1](state + self.size_in(size))
        return self.degree_head(F.silu(told)).float().log_softmax(-1)
