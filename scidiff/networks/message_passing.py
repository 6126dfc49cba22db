"""A message-passing network for large sparse graphs, whose cost grows with edges and not with
pairs.

Graphs of a batch are one disjoint union, as torch-geometric stores them: nodes (M, .), edges
(2, E) with both directions of each, edge values (E, .).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import ResGatedGraphConv

from scidiff.core import Rng, uniform
from scidiff.networks.conditioning import time_features


@dataclass(frozen=True)
class MessagePassingConfig:
    node_features: int
    edge_features: int
    node_out: int
    edge_out: int
    width: int = 64
    depth: int = 4
    rank: int = 16  # of the head for pairs
    time: bool = False  # read t

    def __post_init__(self) -> None:
        for name in ("width", "depth", "rank"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def mlp(wide: int, width: int) -> nn.Sequential:
    """Two layers down to `width`; the last starts at zero, so that a fresh layer passes on what
    it reads."""
    layers = nn.Sequential(nn.Linear(wide, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
    nn.init.zeros_(layers[2].weight)  # type: ignore[arg-type]
    nn.init.zeros_(layers[2].bias)  # type: ignore[arg-type]
    return layers


class Layer(nn.Module):
    """Gated graph convolution (Bresson and Laurent 2017), x_i += W x_i + sum_j gate_ij * V x_j,
    then an MLP on nodes and one on edges, e_ij += MLP(x_i + x_j, x_i * x_j, e_ij)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.node_norm, self.edge_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.end_norm = nn.RMSNorm(width)
        self.convolution = ResGatedGraphConv(width, width, edge_dim=width)
        self.nodes, self.edges = mlp(width, width), mlp(3 * width, width)

    def forward(self, x: Tensor, e: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        """x (M, D), e (E, D), ends (2, E) -> the same shapes."""
        edge = self.edge_norm(e)
        x = x + self.convolution(self.node_norm(x), ends, edge)
        x = x + self.nodes(self.end_norm(x))
        seen = self.end_norm(x)
        a, b = seen[ends[0]], seen[ends[1]]
        return x, e + self.edges(torch.cat([a + b, a * b, edge], -1))


class MessagePassing(nn.Module):
    """What a sparse graph says of its nodes, of its edges, and of pairs that are not joined.

    The pair head is of low rank: sum_r w_r u_ir u_jr + v (x_i + x_j), for each output. It models
    the type of any pair from the two nodes alone, so the edges between M nodes cost M rank, and
    only pairs that are asked for are ever written down: train it on `absent_pairs`, each weighing
    as many pairs as it stands for.
    """

    def __init__(self, config: MessagePassingConfig) -> None:
        super().__init__()
        self.config, D = config, config.width
        self.nodes_in = nn.Linear(config.node_features, D)
        self.edges_in = nn.Linear(config.edge_features, D)
        self.time_in = nn.Linear(64, D) if config.time else None
        self.layers = nn.ModuleList(Layer(D) for _ in range(config.depth))
        self.node_norm, self.edge_norm = nn.RMSNorm(D), nn.RMSNorm(D)
        self.node_head = nn.Linear(D, config.node_out)
        self.edge_head = nn.Linear(D, config.edge_out)
        self.factors = nn.Linear(D, config.rank, bias=False)
        self.mix = nn.Linear(config.rank, config.edge_out)
        self.ends = nn.Linear(D, config.edge_out, bias=False)

    def forward(
        self,
        x: Tensor,
        ends: Tensor,
        e: Tensor,
        pairs: Tensor | None = None,
        t: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (M, F), ends (2, E) int64, e (E, F_e), pairs (2, Q) int64, t (M,) of the node's graph.

        Returns outputs of nodes (M, node_out), of edges (E, edge_out), the same in both
        directions where e is, and of pairs (Q, edge_out).
        """
        h, e = self.nodes_in(x), self.edges_in(e)
        if self.time_in is not None:
            if t is None:
                raise ValueError("this network reads the time: t must be (M,), got None")
            h = h + self.time_in(time_features(t, 64))
        for layer in self.layers:
            h, e = layer(h, e, ends)
        h = self.node_norm(h)
        pairs = ends[:, :0] if pairs is None else pairs
        return self.node_head(h), self.edge_head(self.edge_norm(e)), self._pairs(h, pairs)

    def _pairs(self, h: Tensor, pairs: Tensor) -> Tensor:
        (i, j), u, v = pairs, self.factors(h), self.ends(h)
        return self.mix(u[i] * u[j]) + v[i] + v[j]


def absent_pairs(sizes: Tensor, ends: Tensor, count: int, rng: Rng) -> Tensor:
    """Draw `count` pairs (2, count) evenly, with repeats, from all pairs i > j of one graph that
    are not joined.

    sizes: nodes of each graph of the union (G,). Each draw stands for n_absent / count pairs, with
    n_absent = sum n (n - 1) / 2 - E / 2. Raises ValueError where every pair is joined.
    """
    sizes = sizes.to(rng.device)
    total = int(sizes.sum())
    joined = (ends.amax(0) * total + ends.amin(0)).to(rng.device).unique()
    if count and len(joined) >= int((sizes * (sizes - 1) // 2).sum()):
        raise ValueError("there is no absent pair to draw: every pair is joined")
    found = [ends.new_zeros(2, 0, device=rng.device)]
    while (left := count - sum(part.shape[1] for part in found)) > 0:
        drawn = _any_pairs(sizes, left, rng)
        found.append(drawn[:, ~torch.isin(drawn[0] * total + drawn[1], joined)])
    return torch.cat(found, 1).to(ends.device)


def _any_pairs(sizes: Tensor, count: int, rng: Rng) -> Tensor:
    """Pairs i > j of one graph each, evenly over all of them: (2, count)."""
    u = uniform((3, count), rng).double()
    law = (sizes * (sizes - 1) / 2).double().cumsum(0)
    graph = torch.searchsorted(law, u[0] * law[-1], right=True).clamp(max=len(sizes) - 1)
    n, first = sizes[graph], F.pad(sizes.cumsum(0), (1, 0))[graph]
    i = (u[1] * n).long()
    j = (u[2] * (n - 1)).long()
    j = j + (j >= i)  # uniform over the others
    return first + torch.stack([torch.maximum(i, j), torch.minimum(i, j)])
