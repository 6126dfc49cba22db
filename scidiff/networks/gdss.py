"""The score networks of GDSS on dense graphs, and their published weights (Jo et al. 2022).

Own code from the equations: all channels of an attention layer are one stacked weight and one
einsum, so a layer is a few large products instead of a loop. The networks take no time input; the
VP ones predict -sigma * score (the noise), the VE ones the score itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scidiff.data.graphs import GraphState
from scidiff.networks.gdss_execution import Pairs, columns, in_groups
from scidiff.processes.gaussian import Component, per_row
from scidiff.processes.graph_sde import graph_components
from scidiff.processes.schedules import VE, Schedule, alpha


@dataclass(frozen=True)
class GDSSConfig:
    """Sizes of one score network; `attention` says whether node features pass through graph
    multi-head attention (all edge networks, and the node network of ZINC250k v2)."""

    features: int  # F
    hidden: int  # width of a node representation
    depth: int  # layers
    attention: bool = False
    linears: int = 2  # layers of the MLP on edges
    c_init: int = 2  # channels of A, A^2, .. at the start
    c_hidden: int = 8
    c_final: int = 4
    attention_dim: int = 32
    heads: int = 4

    def channels(self) -> list[int]:
        """Edge channels before the first layer, between layers, behind the last."""
        return [self.c_init, *[self.c_hidden] * (self.depth - 1), self.c_final]


# ---------------------------------------------------------------- layers


def normalised(A: Tensor) -> Tensor:
    """D^-1/2 A D^-1/2 of A (.., N, N) with ones on the diagonal, degrees clamped to at least 1
    (A is signed and noisy)."""
    scale = A.sum(-1).clamp(min=1).rsqrt()
    return scale[..., None] * A * scale[..., None, :]


def looped(A: Tensor) -> Tensor:
    """A (.., N, N) with ones on the diagonal."""
    eye = torch.eye(A.shape[-1], dtype=torch.bool, device=A.device)
    return torch.where(eye, torch.ones((), dtype=A.dtype, device=A.device), A)


def powers(A: Tensor, count: int) -> Tensor:
    """Stack A, A^2, .., A^count of A (B, N, N): (count, B, N, N)."""
    stack = [A]
    for _ in range(count - 1):
        stack.append(stack[-1] @ A)
    return torch.stack(stack)


def pair_mask(mask: Tensor) -> Tensor:
    """Mark pairs of present nodes, (B, N) -> (B, N, N) bool."""
    return mask[:, :, None] & mask[:, None, :]


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ELU between them."""
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(a, b), nn.ELU()]
    return nn.Sequential(*layers[:-1])


class GraphConvolution(nn.Module):
    """X -> norm(A) X W_c + b_c for every channel c of A at once: (C, B, N, out)."""

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
        """X (B, N, F), A_normalised (C, B, N, N)."""
        projected = (X.flatten(0, 1) @ self.weight).unflatten(1, X.shape[:2])
        return A_normalised @ projected + self.bias[:, None, None]


class GraphAttention(nn.Module):
    """Graph multi-head attention on node features and C edge channels (Jo et al. 2022, app. B).

    Each channel has its own query, key and value convolutions. Edges: attention tanh(Q K^T /
    sqrt(d)), averaged over heads and symmetrised, beside the old channels through an MLP, plus its
    transpose: twice its value on each pair. The diagonal is read by nobody. Nodes: tanh of an MLP
    on the values of all channels.
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

    def forward(
        self, X: Tensor, E: Tensor, mask: Tensor, pairs: Pairs, last: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(B, N, width), (C_in, B, T), (B, N) -> (B, N, hidden), (C_out, B, T).

        Behind the last layer of a node network nobody reads the edges: they stay as they are.
        """
        q, k, v = self.qkv(X, normalised(pairs.unfold(E, 1.0))).split(self.split, -1)
        nodes = self.nodes(v.permute(1, 2, 0, 3).flatten(2)) * mask[..., None]
        return nodes.tanh(), E if last else self._attend(q, k, E, mask, pairs)

    def _attend(self, q: Tensor, k: Tensor, E: Tensor, mask: Tensor, pairs: Pairs) -> Tensor:
        q, k = (m.unflatten(-1, (self.heads, -1)).transpose(2, 3) for m in (q, k))  # (C,B,H,N,d)
        attention = (q * self.scale @ k.mT).tanh().mean(2)
        edges = columns(self.edges, torch.cat([pairs.fold(attention), E]))
        return 2 * edges * pairs.fold(pair_mask(mask).to(E))


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
        seen, A_normalised = [X], normalised(looped(A))[None]
        for layer in self.layers:
            seen.append(layer(seen[-1], A_normalised).squeeze(0).tanh())
        return seen

    def _attend(self, X: Tensor, A: Tensor, mask: Tensor) -> list[Tensor]:
        pairs = Pairs(A.shape[-1], A.device)
        seen, E = [X], pairs.fold(powers(A, self.config.c_init))
        for layer in self.layers:
            X, E = layer(seen[-1], E, mask, pairs, last=layer is self.layers[-1])
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
        """(B, N, F), symmetric (B, N, N), (B, N) -> (B, N, N) symmetric, zero on the diagonal and
        where a node is absent."""
        pairs = Pairs(A.shape[-1], A.device)
        E = pairs.fold(powers(A, self.config.c_init))
        seen = [E]
        for layer in self.layers:
            X, E = layer(X, E, mask, pairs)
            seen.append(E)
        score = columns(self.final, torch.cat(seen))[0]
        return pairs.unfold(score, 0.0) * pair_mask(mask)


@dataclass(frozen=True)
class GDSSNetworkConfig:
    """Sizes of both score networks; `attention` is about the one of X."""

    features: int
    hidden: int = 32
    depth_x: int = 3
    depth_a: int = 5
    attention: bool = False
    linears: int = 2
    c_init: int = 2
    c_hidden: int = 8
    c_final: int = 4
    attention_dim: int = 32
    heads: int = 4

    def one(self, depth: int, attention: bool) -> GDSSConfig:
        """Sizes of one of the two."""
        return GDSSConfig(
            self.features, self.hidden, depth, attention, self.linears, self.c_init,
            self.c_hidden, self.c_final, self.attention_dim, self.heads,
        )  # fmt: skip


class GDSSNetwork(nn.Module):
    """The pair of score networks that is trained and stored together; they share no weights."""

    def __init__(self, config: GDSSNetworkConfig) -> None:
        super().__init__()
        self.config, self.features = config, config.features
        self.network_x = NodeScore(config.one(config.depth_x, config.attention))
        self.network_a = EdgeScore(config.one(config.depth_a, True))

    def denoiser(self, schedule_x: Schedule, schedule_a: Schedule) -> GraphDenoiser:
        """The clean guesses of both networks under these schedules."""
        return GraphDenoiser(self.network_x, self.network_a, schedule_x, schedule_a)


class GraphDenoiser(nn.Module):
    """Both networks with their schedules: the clean guess D = (x + sigma^2 score) / alpha of X and
    of A, in the state's dtype.

    The networks are heads as published: score = -output / sigma for VP, score = output for VE.
    """

    def __init__(
        self,
        network_x: nn.Module,
        network_a: nn.Module,
        schedule_x: Schedule,
        schedule_a: Schedule,
    ) -> None:
        super().__init__()
        self.network_x, self.network_a = network_x, network_a
        self.components: tuple[Component, ...] = graph_components(schedule_x, schedule_a)
        self.rows = 0  # network rows evaluated so far

    def forward(self, x: GraphState, t: Tensor) -> tuple[Tensor, Tensor]:
        """Clean guesses (B, N, F) and (B, N, N) at time t, () or (B,)."""
        self.rows += len(x)
        schedule_x, schedule_a = (c.schedule for c in self.components)
        out_x, out_a = in_groups(self._both, x.X, x.A, x.mask)
        return clean_guess(schedule_x, x.X, out_x, t), clean_guess(schedule_a, x.A, out_a, t)

    def _both(self, X: Tensor, A: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.network_x(X, A, mask), self.network_a(X, A, mask)


def clean_guess(schedule: Schedule, x: Tensor, output: Tensor, t: Tensor) -> Tensor:
    """D = (x - sigma output) / alpha for a noise head (VP), x + sigma^2 output for a score head
    (VE)."""
    sigma = per_row(schedule.sigma(t), x)
    if isinstance(schedule, VE):
        return x + sigma**2 * output.to(x)
    return (x - sigma * output.to(x)) / per_row(alpha(schedule, t), x)
