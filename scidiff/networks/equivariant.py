"""Networks on atoms in space: what a molecule says of its positions turns with the molecule.

`EGNN` reads all pairs of a small molecule, scalars and vectors only; `tensor_products.E3Net`
passes spherical tensors along the pairs within a radius. Both are asked in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scidiff.networks.conditioning import (
    ConditionEmbedding,
    Standard,
    check_standard,
    time_features,
)

Said = tuple[Tensor, Tensor, Tensor | None]
"""Displacements (B, N, 3), features (B, N, F), features of pairs (B, N, N, E) or None."""

_NEAR = 0.1  # distances are sqrt(d^2 + _NEAR^2): smooth where two atoms lie on each other


@dataclass(frozen=True)
class PointNetConfig:
    """How large a network on points is, and what it reads. Lengths are those of the positions
    that it is given."""

    features: int  # F, read and said of every atom
    edge_features: int = 0  # E, read and said of every pair
    kind: str = "egnn"  # or "e3"
    width: int = 128
    edge_width: int = 64  # of messages
    depth: int = 6
    heads: int = 4
    vectors: int = 16  # vector channels of an atom
    radial: int = 16  # Gaussians on distances, 0 .. cutoff
    cutoff: float = 5.0  # and where "e3" stops to see; "egnn" sees all pairs
    lmax: int = 2  # of "e3"
    reflections: bool = True  # of "e3": False tells mirror images apart
    conditions: Standard = ()  # mean and spread of each number given

    def __post_init__(self) -> None:
        for name in ("features", "width", "edge_width", "depth", "heads", "vectors", "lmax"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.radial < 2 or self.cutoff <= 0:
            raise ValueError(
                f"radial must be at least 2 and cutoff positive, got {self.radial}, {self.cutoff}"
            )
        if self.edge_width % self.heads or self.width % self.heads:
            raise ValueError(
                f"width and edge_width must be multiples of heads = {self.heads}, "
                f"got {self.width} and {self.edge_width}"
            )
        check_standard(self.conditions)


def point_network(config: PointNetConfig) -> nn.Module:
    """Make the network that `config.kind` names. Raises ValueError where there is none."""
    if config.kind == "egnn":
        return EGNN(config)
    if config.kind == "e3":
        from scidiff.networks.tensor_products import E3Net

        return E3Net(config)
    raise ValueError(f"kind must be 'egnn' or 'e3', got {config.kind!r}")


# ---------------------------------------------------------------- geometry


def separations(positions: Tensor) -> tuple[Tensor, Tensor]:
    """Distances d_ij = sqrt(|x_i - x_j|^2 + 0.01) (B, N, N, 1) and (x_i - x_j) / d_ij
    (B, N, N, 3): smooth everywhere, and as good as unit vectors a bond length away."""
    between = positions[:, :, None] - positions[:, None]
    distance = (between.square().sum(-1, keepdim=True) + _NEAR**2).sqrt()
    return distance, between / distance


class Radial(nn.Module):
    """Gaussians of a distance at even places on [0, cutoff], and its logarithm beyond."""

    centres: Tensor

    def __init__(self, count: int, cutoff: float) -> None:
        super().__init__()
        self.register_buffer("centres", torch.linspace(0, cutoff, count), persistent=False)
        self.spread = cutoff / (count - 1)

    def forward(self, distance: Tensor) -> Tensor:
        """(..., 1) -> (..., count + 1)."""
        near = torch.exp(-0.5 * ((distance - self.centres) / self.spread).square())
        return torch.cat([near, distance.log()], -1)


def without_mean(x: Tensor, mask: Tensor) -> Tensor:
    """x (B, N, 3) less its mean over the atoms that are there; zero at the others."""
    present = mask[..., None].to(x.dtype)
    x = x * present
    return (x - x.sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp(min=1)) * present


def given_edges(edges: Tensor | None, config: PointNetConfig) -> Tensor:
    """The features of pairs that a network asks for; ValueError where they are left out."""
    if edges is None or edges.shape[-1] != config.edge_features:
        got = None if edges is None else tuple(edges.shape)
        raise ValueError(f"edges must be (B, N, N, {config.edge_features}), got {got}")
    return edges


class Told(nn.Module):
    """What every atom of a molecule is told: the time, and a condition that may be hidden."""

    def __init__(self, conditions: Standard, width: int) -> None:
        super().__init__()
        self.time, self.more = nn.Linear(64, width), nn.Linear(width, width)
        self.asked = ConditionEmbedding(conditions, width) if conditions else None

    def forward(self, t: Tensor, condition: Tensor | None, shown: Tensor | None) -> Tensor:
        """t (B,), condition (B, C) in its own units, shown (B,) bool or None for all:
        (B, 1, D)."""
        told = self.more(F.silu(self.time(time_features(t, 64).to(self.time.weight.dtype))))
        if self.asked is None:
            if condition is not None:
                raise ValueError("this network was made without conditions and is given some")
            return told[:, None]
        if condition is None:
            return (told + self.asked.hidden(len(t)))[:, None]
        everyone = torch.ones(len(t), dtype=torch.bool, device=t.device)
        asked = self.asked(condition, everyone if shown is None else shown)
        return (told + asked)[:, None]


class Modulated(nn.Module):
    """rms_norm(h) (1 + a(c)) + b(c), a and b zero at first (Peebles and Xie 2023, adaLN)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_shift = nn.Linear(width, 2 * width)
        nn.init.zeros_(self.scale_shift.weight)
        nn.init.zeros_(self.scale_shift.bias)

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        """h (B, N, D), told (B, 1, D) or (B, N, D)."""
        scale, shift = self.scale_shift(F.silu(told)).chunk(2, -1)
        return F.rms_norm(h, h.shape[-1:]) * (1 + scale) + shift


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


# ---------------------------------------------------------------- the light network


class PointLayer(nn.Module):
    """Messages between all pairs, then each atom for itself.

    m_ij = silu(W silu(L h_i + R h_j + W_d phi(d_ij) + W_e e_ij)), a_ij = softmax_j(w m_ij);
    h_i += W_o sum_j a_ij (V h_j, m_ij);  e_ij += W_s (m_ij + m_ji);
    v_i += sum_j g(m_ij) (x_i - x_j) / d_ij + sum_j k(m_ij) v_j, over sqrt(n);
    (h_i, v_i) += MLP(h_i, |U v_i|), x_i += w . v_i.
    Scalar messages of distances are those of EGNN (Satorras et al. 2021, arXiv 2102.09844), vector
    channels those of PaiNN (Schuett et al. 2021, arXiv 2102.03150), edges that are carried along
    those of MiDi (Vignac et al. 2023, arXiv 2302.09048).
    """

    def __init__(self, config: PointNetConfig) -> None:
        super().__init__()
        D, E, self.heads, self.vectors = (
            config.width,
            config.edge_width,
            config.heads,
            config.vectors,
        )
        self.norm, self.end_norm = Modulated(D), Modulated(D)
        self.ends = nn.Linear(D, 2 * E)
        self.distance = nn.Linear(config.radial + 1, E, bias=False)
        self.edge = nn.Linear(E, E, bias=False) if config.edge_features else None
        self.message = nn.Linear(E, E)
        self.pair = nn.Linear(E, config.heads + 2 * config.vectors)
        self.value = nn.Linear(D, D, bias=False)
        self.out = _zero(nn.Linear(D + config.heads * E, D))
        self.edge_out = _zero(nn.Linear(E, E)) if config.edge_features else None
        self.mix = nn.Linear(config.vectors, 2 * config.vectors, bias=False)
        self.up = nn.Linear(D + config.vectors, 2 * D)
        self.down = _zero(nn.Linear(2 * D, D + config.vectors))
        self.move = _zero(nn.Linear(config.vectors, 1, bias=False))

    def forward(
        self,
        h: Tensor,
        v: Tensor,
        x: Tensor,
        e: Tensor | None,
        phi: tuple[Tensor, Tensor],
        told: Tensor,
        share: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """h (B, N, D), v (B, N, 3, S), x (B, N, 3), e (B, N, N, E), phi: radial features
        (B, N, N, R) and directions (B, N, N, 3), told (B, 1, D), share (B, N): 1 / sqrt(n) of
        the atoms that are there, 0 of the others."""
        s = self.norm(h, told)
        m = self._messages(s, e, phi[0])
        heard, v_heard = self._hear(s, v, m, phi[1], share)
        h, v = h + heard, v + v_heard
        if e is not None and self.edge_out is not None:
            e = e + self.edge_out(m + m.transpose(1, 2))
        u, w = self.mix(v / (1 + v.square().mean((-1, -2), keepdim=True)).sqrt()).chunk(2, -1)
        length = (w.square().sum(-2) + _NEAR**2).sqrt()
        both = F.silu(self.up(torch.cat([self.end_norm(h, told), length], -1)))
        more, gate = self.down(both).split([h.shape[-1], self.vectors], -1)
        v = v + (1 + gate[..., None, :]) * u
        return h + more, v, x + self.move(v)[..., 0], e

    def _messages(self, s: Tensor, e: Tensor | None, radial: Tensor) -> Tensor:
        left, right = self.ends(s).chunk(2, -1)
        m = left[:, :, None] + right[:, None] + self.distance(radial)
        if e is not None and self.edge is not None:
            m = m + self.edge(F.rms_norm(e, e.shape[-1:]))
        return F.silu(self.message(F.silu(m)))

    def _hear(
        self, s: Tensor, v: Tensor, m: Tensor, direction: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sums over the other atoms: (B, N, D) and (B, N, 3, S)."""
        B, N, D = s.shape
        S, H = self.vectors, self.heads
        score, push, carry = self.pair(m).split([H, S, S], -1)
        least = torch.finfo(m.dtype).min
        a = score.transpose(2, 3).masked_fill((share == 0)[:, None, None], least).softmax(-1)
        value = self.value(s).view(B, N, H, D // H).transpose(1, 2)
        nodes = (a.transpose(1, 2) @ value).transpose(1, 2)  # (B, N, H, D / H)
        heard = self.out(torch.cat([nodes.flatten(2), (a @ m).flatten(2)], -1))
        seen = direction * share[:, None, :, None]
        moved = seen.transpose(2, 3) @ push  # (B, N, 3, S)
        v = v * share[..., None, None]
        carried = carry.permute(0, 3, 1, 2) @ v.permute(0, 3, 1, 2)  # (B, S, N, 3)
        return heard, moved + carried.permute(0, 2, 3, 1)


class EGNN(nn.Module):
    """Displacements and features of all atoms of small molecules, from all their pairs.

    Equivariant to rotations, reflections and the order of atoms, invariant to translations. What
    absent atoms hold never reaches the others, and nothing is said of them.
    """

    def __init__(self, config: PointNetConfig) -> None:
        super().__init__()
        self.config, D, E = config, config.width, config.edge_width
        self.told = Told(config.conditions, D)
        self.atoms = nn.Linear(config.features, D)
        self.edges = nn.Linear(config.edge_features, E) if config.edge_features else None
        self.radial = Radial(config.radial, config.cutoff)
        self.blocks = nn.ModuleList(PointLayer(config) for _ in range(config.depth))
        self.norm = Modulated(D)
        self.head = _zero(nn.Linear(D, config.features))
        self.edge_head = _zero(nn.Linear(E, config.edge_features)) if self.edges else None

    def forward(
        self,
        positions: Tensor,
        features: Tensor,
        mask: Tensor,
        t: Tensor,
        edges: Tensor | None = None,
        condition: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Said:
        """positions (B, N, 3), features (B, N, F), mask (B, N) bool, t (B,), symmetric edges
        (B, N, N, E), condition (B, C) in its own units, shown (B,) bool: all by default.

        Returns displacements (B, N, 3) of mean zero over the atoms that are there, features
        (B, N, F) and symmetric edges (B, N, N, E); zeros where nothing is.
        """
        told = self.told(t, condition, shown)
        x = positions * mask[..., None]
        h = self.atoms(features) + told
        e = None if self.edges is None else self.edges(given_edges(edges, self.config))
        v = x.new_zeros(*x.shape, self.config.vectors)
        share = mask / mask.sum(1, keepdim=True).clamp(min=1).sqrt()
        for layer in self.blocks:
            distance, direction = separations(x)
            h, v, x, e = layer(h, v, x, e, (self.radial(distance), direction), told, share)
        said = self.head(self.norm(h, told)) * mask[..., None]
        if e is None or self.edge_head is None:
            return without_mean(x - positions, mask), said, None
        pairs = mask[:, :, None] & mask[:, None, :]
        bonds = self.edge_head(F.rms_norm(e, e.shape[-1:])) * pairs[..., None]
        return without_mean(x - positions, mask), said, bonds
