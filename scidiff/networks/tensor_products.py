"""A network on points whose atoms hold spherical tensors and speak through tensor products."""

from __future__ import annotations

import math

import torch
from e3nn import o3
from e3nn.nn import Gate
from torch import Tensor, nn
from torch.nn import functional as F

from scidiff.networks.equivariant import (
    Modulated,
    PointNetConfig,
    Radial,
    Said,
    Told,
    given_edges,
    separations,
    without_mean,
)


def spherical(lmax: int, reflections: bool) -> o3.Irreps:
    """One irrep for each degree 0 .. lmax. Degree l takes (-1)^l from a reflection; without
    `reflections` every one counts as even, so that cross products are vectors too."""
    return o3.Irreps.spherical_harmonics(lmax, p=-1 if reflections else 1)


def pairs_within(distance: Tensor, mask: Tensor, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """Rows b, atoms i and their neighbours j != i closer than the cutoff: (M,) each.

    distance (B, N, N), mask (B, N) bool. Exact and fast for molecules, from all distances.
    """
    there = mask[:, :, None] & mask[:, None] & (distance < cutoff)
    itself = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    b, i, j = (there & ~itself).nonzero(as_tuple=True)
    return b, i, j


def fade(distance: Tensor, cutoff: float) -> Tensor:
    """(1 + cos(pi d / cutoff)) / 2: what a neighbour says fades out before it is not seen."""
    return (1 + (math.pi * distance / cutoff).cos()) / 2


def gather(values: Tensor, i: Tensor, atoms: int) -> Tensor:
    """Sum what comes to each atom: values (Q, ...), i (Q,) -> (atoms, ...)."""
    return values.new_zeros(atoms, *values.shape[1:]).index_add(0, i, values)


class Convolution(nn.Module):
    """y_i = W sum_j fade(d_ij) R(phi_ij) . (x_j (x) Y(r_ij)) / sqrt(1 + n_i).

    A tensor product, path by path, each channel weighed by a network of what the pair is (Thomas
    et al. 2018, arXiv 1802.08219; Batzner et al. 2022, arXiv 2101.03164).
    """

    def __init__(self, held: o3.Irreps, seen: o3.Irreps, said: o3.Irreps, pair: int) -> None:
        super().__init__()
        paths, products = [], list[tuple[int, o3.Irrep]]()
        for a, (count, x) in enumerate(held):
            for s, (_, y) in enumerate(seen):
                for z in x * y:
                    if z in said:
                        paths.append((a, s, len(products), "uvu", True))
                        products.append((count, z))
        middle = o3.Irreps(products)
        self.product = o3.TensorProduct(
            held, seen, middle, paths, internal_weights=False, shared_weights=False
        )
        self.weights = nn.Linear(pair, self.product.weight_numel)
        self.linear = o3.Linear(middle.simplify(), said)

    def forward(
        self, x: Tensor, y: Tensor, pair: Tensor, share: Tensor, i: Tensor, j: Tensor
    ) -> Tensor:
        """x (M, held), y (Q, seen), pair (Q, E), share (Q, 1), ends i and j (Q,) -> (M, said)."""
        message = self.product(x[j], y, self.weights(pair) * share)
        return self.linear(gather(message, i, len(x)))


class TensorLayer(nn.Module):
    """x += gate(convolution(x) + W x): scalars go through silu, every other irrep is multiplied by
    the sigmoid of a scalar of its own (Weiler et al. 2018, arXiv 1807.02547)."""

    def __init__(self, held: o3.Irreps, seen: o3.Irreps, config: PointNetConfig) -> None:
        super().__init__()
        D, E = config.width, config.edge_width
        higher = held[1:]
        gates = o3.Irreps([(higher.num_irreps, (0, 1))])
        self.gate = Gate(held[:1], [F.silu], gates, [torch.sigmoid], higher)
        self.width = D
        self.norm = Modulated(D)
        self.ends = nn.Linear(D, 2 * E)
        self.radial = nn.Linear(config.radial + 1, E, bias=False)
        self.edge = nn.Linear(E, E, bias=False) if config.edge_features else None
        self.convolution = Convolution(held, seen, self.gate.irreps_in, E)
        self.own = o3.Linear(held, self.gate.irreps_in)
        self.end_norm = Modulated(D)
        self.up, self.down = nn.Linear(D, 2 * D), nn.Linear(2 * D, D)

    def forward(
        self, x: Tensor, told: Tensor, e: Tensor | None, near: tuple[Tensor, ...]
    ) -> Tensor:
        """x (B, N, held), told (B, 1, D), e (Q, E) of the pairs; near: Y (Q, seen), phi (Q, R),
        share (Q, 1) and the ends i and j of all pairs (Q,) in the flattened atoms."""
        y, phi, share, i, j = near
        scalars, tensors = x.split([self.width, x.shape[-1] - self.width], -1)
        size = (1 + tensors.square().mean(-1, keepdim=True)).sqrt()
        s = self.norm(scalars, told)
        seen = torch.cat([s, tensors / size], -1).flatten(0, 1)
        left, right = self.ends(s).flatten(0, 1).chunk(2, -1)
        pair = left[i] + right[j] + self.radial(phi)
        if e is not None and self.edge is not None:
            pair = pair + self.edge(e)
        heard = self.convolution(seen, y, F.silu(pair), share, i, j)
        x = x + self.gate(heard + self.own(seen)).view_as(x)
        more = self.down(F.silu(self.up(self.end_norm(x[..., : self.width], told))))
        return x + F.pad(more, (0, x.shape[-1] - self.width))


class E3Net(nn.Module):
    """Displacements and features of all atoms, from spherical tensors up to degree lmax.

    An atom holds `width` scalars and `vectors` tensors of each degree, and sees those within
    `cutoff`. Equivariant to rotations, the order of atoms and, with `reflections`, mirrors;
    invariant to translations. Pairs of atoms are spoken of however far they are.
    """

    def __init__(self, config: PointNetConfig) -> None:
        super().__init__()
        self.config, D, E = config, config.width, config.edge_width
        seen = spherical(config.lmax, config.reflections)
        higher = [(config.vectors, ir) for _, ir in seen[1:]]
        held = o3.Irreps([(D, (0, 1)), *higher])
        self.rest = held.dim - D
        # solid, not normalised: smooth where atoms coincide and the direction is short
        self.harmonics = o3.SphericalHarmonics(seen, normalize=False, normalization="norm")
        self.told = Told(config.conditions, D)
        self.atoms = nn.Linear(config.features, D)
        self.edges = nn.Linear(config.edge_features, E) if config.edge_features else None
        self.radial = Radial(config.radial, config.cutoff)
        self.blocks = nn.ModuleList(TensorLayer(held, seen, config) for _ in range(config.depth))
        self.norm = Modulated(D)
        self.head = nn.Linear(D, config.features)
        self.move = o3.Linear(held, o3.Irreps([(1, seen[1].ir)]))
        self.ends = nn.Linear(D, E)
        self.between = nn.Linear(config.radial + 1, E)
        self.edge_head = nn.Linear(E, config.edge_features) if self.edges else None
        self._say_nothing()

    @torch.no_grad()
    def _say_nothing(self) -> None:
        for layer in (self.head, self.move, self.edge_head):
            for p in () if layer is None else layer.parameters():
                p.zero_()

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
        told, (B, N) = self.told(t, condition, shown), mask.shape
        distance, direction = separations(positions * mask[..., None])
        b, i, j = pairs_within(distance[..., 0], mask, self.config.cutoff)
        near = self._near(distance[b, i, j], direction[b, j, i], b * N + i, b * N + j, B * N)
        e = None if self.edges is None else self.edges(given_edges(edges, self.config))
        kept = None if e is None else F.rms_norm(e, e.shape[-1:])[b, i, j]
        x = F.pad(self.atoms(features) + told, (0, self.rest))
        for layer in self.blocks:
            x = layer(x, told, kept, near)
        s = self.norm(x[..., : self.config.width], told)
        moved = without_mean(self.move(x), mask)
        return moved, self.head(s) * mask[..., None], self._bonds(s, e, distance, mask)

    def _near(
        self, distance: Tensor, direction: Tensor, i: Tensor, j: Tensor, atoms: int
    ) -> tuple[Tensor, ...]:
        y = self.harmonics(direction)
        weight = fade(distance, self.config.cutoff)
        share = weight / (1 + gather(weight, i, atoms)[i]).sqrt()
        return y, self.radial(distance), share, i, j

    def _bonds(self, s: Tensor, e: Tensor | None, distance: Tensor, mask: Tensor) -> Tensor | None:
        if e is None or self.edge_head is None:
            return None
        ends = self.ends(s)
        between = ends[:, :, None] + ends[:, None] + self.between(self.radial(distance)) + e
        pairs = mask[:, :, None] & mask[:, None]
        return self.edge_head(F.silu(between)) * pairs[..., None]
