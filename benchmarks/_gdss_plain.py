"""The score networks of GDSS as they stand in the paper: whole padded matrices, every channel and
both halves of every symmetric one. `graphs.py` times the shipped ones against these."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

from scidiff.networks import gdss_weights
from scidiff.networks.gdss import GDSSConfig, GraphDenoiser, mlp

# ---------------------------------------------------------------- layers


def normalised(A: Tensor) -> Tensor:
    """D^-1/2 A D^-1/2 of A (.., N, N) with ones on the diagonal, degrees clamped to at least 1
    (A is signed and noisy)."""
    eye = torch.eye(A.shape[-1], dtype=torch.bool, device=A.device)
    A = torch.where(eye, torch.ones((), dtype=A.dtype, device=A.device), A)
    scale = A.sum(-1).clamp(min=1).rsqrt()
    return scale[..., None] * A * scale[..., None, :]


def powers(A: Tensor, count: int) -> Tensor:
    """Stack A, A^2, .., A^count of A (B, N, N): (B, count, N, N)."""
    stack = [A]
    for _ in range(count - 1):
        stack.append(stack[-1] @ A)
    return torch.stack(stack, 1)


def pair_mask(mask: Tensor) -> Tensor:
    """Mark pairs of present nodes, (B, N) -> (B, N, N) bool."""
    return mask[:, :, None] & mask[:, None, :]


class GraphConvolution(nn.Module):
    """X -> norm(A) X W_c + b_c for every channel c of A at once: (B, C, N, out)."""

    def __init__(self, channels: int, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, width_in, width_out))
        self.bias = nn.Parameter(torch.zeros(channels, width_out))
        nn.init.uniform_(
            self.weight,
            -((6 / (width_in + width_out)) ** 0.5),
            (6 / (width_in + width_out)) ** 0.5,
        )

    def forward(self, X: Tensor, A_normalised: Tensor) -> Tensor:
        projected = torch.einsum("bnf,cfd->bcnd", X, self.weight)
        return A_normalised @ projected + self.bias[:, None]


class GraphAttention(nn.Module):
    """Graph multi-head attention on node features and C edge channels (Jo et al. 2022, app. B).

    Each channel has its own query, key and value convolutions. Edges: attention tanh(Q K^T /
    sqrt(d)), averaged over heads and symmetrised, beside the old channels through an MLP, plus its
    transpose. Nodes: tanh of an MLP on the values of all channels.
    """

    def __init__(
        self, config: GDSSConfig, width: int, attention_dim: int, c_in: int, c_out: int
    ) -> None:
        super().__init__()
        self.heads, self.split = config.heads, (attention_dim, attention_dim, config.hidden)
        self.scale = 1 / math.sqrt(config.hidden)
        self.qkv = GraphConvolution(c_in, width, sum(self.split))
        inner = 2 * max(c_in, c_out)
        self.edges = mlp(2 * c_in, *[inner] * (config.linears - 1), c_out)
        self.nodes = mlp(c_in * config.hidden, inner, config.hidden)

    def forward(self, X: Tensor, A: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, width), (B, C_in, N, N) -> (B, N, hidden), (B, C_out, N, N)."""
        q, k, v = self.qkv(X, normalised(A)).split(self.split, -1)
        q, k = (m.unflatten(-1, (self.heads, -1)).transpose(2, 3) for m in (q, k))  # (B,C,H,N,d)
        attention = (q @ k.mT * self.scale).tanh().mean(2)
        attention = (attention + attention.mT) / 2
        edges = self.edges(torch.cat([attention, A], 1).movedim(1, -1)).movedim(-1, 1)
        nodes = self.nodes(v.transpose(1, 2).flatten(2)) * mask[..., None]
        return nodes.tanh(), (edges + edges.mT) * pair_mask(mask)[:, None]


def _attention_layers(config: GDSSConfig) -> nn.ModuleList:
    c = config.channels()
    layers = [GraphAttention(config, config.features, config.hidden, c[0], c[1])]
    for i in range(1, config.depth):
        layers.append(GraphAttention(config, config.hidden, config.attention_dim, c[i], c[i + 1]))
    return nn.ModuleList(layers)


# ---------------------------------------------------------------- networks


class NodeScore(nn.Module):
    """Score of X: graph convolutions, or attention layers, then an MLP on all node features seen
    on the way."""

    def __init__(self, config: GDSSConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.features, *[config.hidden] * config.depth]
        self.layers = (
            _attention_layers(config)
            if config.attention
            else nn.ModuleList(
                GraphConvolution(1, a, b) for a, b in zip(widths, widths[1:], strict=False)
            )
        )
        total = sum(widths)
        self.final = mlp(total, 2 * total, 2 * total, config.features)

    def forward(self, X: Tensor, A: Tensor, mask: Tensor) -> Tensor:
        """(B, N, F), (B, N, N), (B, N) -> (B, N, F), zero on absent nodes."""
        seen = self._attend(X, A, mask) if self.config.attention else self._convolve(X, A)
        return self.final(torch.cat(seen, -1)) * mask[..., None]

    def _convolve(self, X: Tensor, A: Tensor) -> list[Tensor]:
        seen, A_normalised = [X], normalised(A)[:, None]
        for layer in self.layers:
            seen.append(layer(seen[-1], A_normalised).squeeze(1).tanh())
        return seen

    def _attend(self, X: Tensor, A: Tensor, mask: Tensor) -> list[Tensor]:
        seen, channels = [X], powers(A, self.config.c_init)
        for layer in self.layers:
            X, channels = layer(seen[-1], channels, mask)
            seen.append(X.tanh())
        return seen


class EdgeScore(nn.Module):
    """Score of A: attention layers on (X, A, A^2, ..), then an MLP on all edge channels seen on
    the way."""

    def __init__(self, config: GDSSConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = _attention_layers(config)
        total = sum(config.channels())
        self.final = mlp(total, 2 * total, 2 * total, 1)

    def forward(self, X: Tensor, A: Tensor, mask: Tensor) -> Tensor:
        """(B, N, F), (B, N, N), (B, N) -> (B, N, N) symmetric, zero on the diagonal and where a
        node is absent."""
        channels = powers(A, self.config.c_init)
        seen = [channels]
        for layer in self.layers:
            X, channels = layer(X, channels, mask)
            seen.append(channels)
        score = self.final(torch.cat(seen, 1).movedim(1, -1)).squeeze(-1)
        score = (score + score.mT) / 2  # symmetric to rounding as published; here bit for bit
        eye = torch.eye(A.shape[-1], dtype=torch.bool, device=A.device)
        return score * (pair_mask(mask) & ~eye)


def plain(weights: Path, denormals: bool) -> GraphDenoiser:
    """The denoiser of a file with these networks.

    denormals: keep the weights below 1e-30, which the shipped reader takes for 0: products with
    such numbers cost the CPU many times as much.
    """
    with patch.object(gdss_weights, "_flushed", lambda v: v) if denormals else nullcontext():
        read = gdss_weights.read_gdss(weights)
    node, edge = NodeScore(read.network_x.config), EdgeScore(read.network_a.config)
    node.load_state_dict(read.network_x.state_dict())
    edge.load_state_dict(read.network_a.state_dict())
    return GraphDenoiser(node, edge, *(c.schedule for c in read.components)).eval()
