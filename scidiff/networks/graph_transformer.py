"""A transformer over dense graphs: node and edge features, attention that sees edges, and a
triangle product.

Equivariant to the order of the nodes: nothing but features, edges and masks tells nodes apart.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import orthogonal

from scidiff.networks.conditioning import time_features


@dataclass(frozen=True, kw_only=True)
class GraphShape:
    """How large a graph transformer is, whatever it reads and says."""

    width: int = 128
    edge_width: int = 48
    depth: int = 5
    heads: int = 8
    expand: int = 2  # MLP width / width, for nodes and edges
    walks: int = 8  # random-walk features, powers 1 .. walks of the normalised adjacency
    triangle: bool = True
    orthogonal: bool = False  # value and output maps are orthogonal (Cayley), for deep stacks

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(
                f"width must be a multiple of heads = {self.heads}, got {self.width}"
            )

    def shape(self) -> dict[str, Any]:
        """The sizes alone, as keyword arguments."""
        return {f.name: getattr(self, f.name) for f in fields(GraphShape)}


@dataclass(frozen=True)
class GraphTransformerConfig(GraphShape):
    node_features: int  # F of X
    edge_features: int  # features of a pair
    node_out: int
    edge_out: int
    time: bool = False  # read t


def random_walks(weights: Tensor, steps: int) -> Tensor:
    """Powers 1 .. steps of D^-1/2 W D^-1/2 for symmetric W (B, N, N): (B, N, N, steps).

    The symmetric form of the relative random-walk probabilities (Ma et al. 2023, GRIT): entry (i,
    j) of power k is large where walks of length k join i and j, and its diagonal counts rings.
    """
    scale = weights.abs().sum(-1).clamp(min=1).rsqrt()
    walk = scale[:, :, None] * weights * scale[:, None, :]
    powers = [walk]
    for _ in range(steps - 1):
        powers.append(powers[-1] @ walk)
    return torch.stack(powers, -1)


class _MLP(nn.Module):
    """Normalise, widen, squared ReLU, narrow; the last map starts at zero."""

    def __init__(self, width: int, expand: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.up = nn.Linear(width, expand * width, bias=False)
        self.down = nn.Linear(expand * width, width, bias=False)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(self.norm(x))).square())


class Triangle(nn.Module):
    """e_ij += W_o (gate_ij * norm(sum_k l_ik r_jk + r_ik l_jk)): each pair hears of the pairs that
    close a triangle with it (Jumper et al. 2021, alg. 11; Maron et al. 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.inner = nn.RMSNorm(width), nn.RMSNorm(width)
        self.sides = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, e: Tensor, pairs: Tensor) -> Tensor:
        """e (B, N, N, D) symmetric, pairs (B, N, N, 1) -> (B, N, N, D) symmetric."""
        left, right, gate = (self.sides(self.norm(e))).chunk(3, -1)
        left, right = ((m * pairs).permute(0, 3, 1, 2) for m in (left, right))
        product = left @ right.mT
        product = (product + product.mT).permute(0, 2, 3, 1)
        return self.out(self.inner(product.float()) * gate.sigmoid())


class GraphBlock(nn.Module):
    """Attention biased and gated by edges, then node and edge MLPs; edges hear of their ends and
    of triangles.

    a_ij = softmax_j(q_i k_j / sqrt(d) + b(e_ij)); x_i += W_o sum_j a_ij (v_j * (1 + g(e_ij)));
    e_ij += W_p (u_i * u_j) + W_s (w_i + w_j).
    """

    def __init__(self, config: GraphTransformerConfig) -> None:
        super().__init__()
        D, E, self.heads = config.width, config.edge_width, config.heads
        self.node_norm, self.edge_norm = nn.RMSNorm(D), nn.RMSNorm(E)
        self.qk = nn.Linear(D, 2 * D, bias=False)
        self.value = nn.Linear(D, D, bias=False)
        self.out = nn.Linear(D, D, bias=False)
        self.edge_bias = nn.Linear(E, 2 * config.heads, bias=False)
        self.ends = nn.Linear(D, 2 * E, bias=False)
        self.pair = nn.Linear(E, E, bias=False)
        self.end_norm = nn.RMSNorm(D)
        self.triangle = Triangle(E) if config.triangle else None
        self.node_mlp, self.edge_mlp = _MLP(D, config.expand), _MLP(E, config.expand)
        if config.orthogonal:
            for layer in (self.value, self.out):
                orthogonal(layer, orthogonal_map="cayley")
        else:
            nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.pair.weight)

    def forward(
        self, x: Tensor, e: Tensor, present: Tensor, pairs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """x (B, N, D), e (B, N, N, E), present (B, 1, 1, N) bool, pairs (B, N, N, 1)."""
        x = x + self._attend(self.node_norm(x), self.edge_norm(e), present)
        x = x + self.node_mlp(x)
        u, w = self.ends(self.end_norm(x)).chunk(2, -1)
        e = e + self.pair(u[:, :, None] * u[:, None]) + w[:, :, None] + w[:, None]
        if self.triangle is not None:
            e = e + self.triangle(e, pairs)
        return x, e + self.edge_mlp(e)

    def _attend(self, x: Tensor, e: Tensor, present: Tensor) -> Tensor:
        B, N, D = x.shape
        q, k = self.qk(x).view(B, N, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = (F.rms_norm(z, z.shape[-1:]) for z in (q, k))
        v = self.value(x).view(B, N, self.heads, -1).transpose(1, 2)
        bias, gate = self.edge_bias(e).permute(0, 3, 1, 2).chunk(2, 1)  # (B, H, N, N) each
        score = (q @ k.mT).float() * q.shape[-1] ** -0.5 + bias
        weight = score.masked_fill(~present, float("-inf")).softmax(-1)
        y = (weight * (1 + gate)).to(v.dtype) @ v
        return self.out(y.transpose(1, 2).reshape(B, N, D))


class GraphTransformer(nn.Module):
    """Node features (B, N, F) and symmetric edge features (B, N, N, F_e) to outputs of both."""

    def __init__(self, config: GraphTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.nodes_in = nn.Linear(config.node_features + config.walks, config.width)
        self.edges_in = nn.Linear(config.edge_features + config.walks, config.edge_width)
        self.time_in = nn.Linear(64, config.width) if config.time else None
        self.blocks = nn.ModuleList(GraphBlock(config) for _ in range(config.depth))
        self.node_norm = nn.RMSNorm(config.width)
        self.edge_norm = nn.RMSNorm(config.edge_width)
        self.node_head = nn.Linear(config.width, config.node_out)
        self.edge_head = nn.Linear(config.edge_width, config.edge_out)
        for head in (self.node_head, self.edge_head):
            nn.init.zeros_(head.weight)

    def forward(
        self, X: Tensor, E: Tensor, weights: Tensor, mask: Tensor, t: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """X (B, N, F), E (B, N, N, F_e), weights (B, N, N) of the walks, mask (B, N) bool, t (B,).

        Returns (B, N, node_out) and (B, N, N, edge_out), symmetric where E is; what absent nodes
        hold never reaches the others.
        """
        if self.config.walks:
            walks = random_walks(weights, self.config.walks)
            E = torch.cat([E, walks], -1)
            X = torch.cat([X, walks.diagonal(dim1=1, dim2=2).mT], -1)
        x, e = self.nodes_in(X).float(), self.edges_in(E).float()  # the residual stream
        if self.time_in is not None:
            if t is None:
                raise ValueError("this network reads the time: t must be (B,), got None")
            x = x + self.time_in(time_features(t, 64))[:, None]
        present = mask[:, None, None, :]
        pairs = (mask[:, :, None] & mask[:, None, :])[..., None].to(e.dtype)
        for block in self.blocks:
            x, e = block(x, e, present, pairs)
        return self.node_head(self.node_norm(x)), self.edge_head(self.edge_norm(e))
