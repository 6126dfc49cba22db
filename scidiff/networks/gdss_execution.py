"""How networks on dense graphs run fast with the same output: every pair once, graphs of one size
together, in groups that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scidiff.data.buckets import Bucket, buckets, unbucket

CELLS = 8000  # entries of A in a group on a CPU: 98 graphs of 9 nodes, 15 of 23, 5 of 38


class Pairs:
    """The pairs of N nodes as one axis of length T = N (N - 1) / 2: symmetric (.., N, N) to
    (.., T) and back."""

    def __init__(self, nodes: int, device: torch.device) -> None:
        self.nodes = nodes
        i, j = torch.tril_indices(nodes, nodes, -1, device=device)
        self.lower, self.upper = i * nodes + j, j * nodes + i
        k = torch.arange(nodes, device=device)
        high, low = torch.maximum(k[:, None], k), torch.minimum(k[:, None], k)
        place = torch.where(high == low, len(i), high * (high - 1) // 2 + low)
        self.place = place.flatten()

    def fold(self, full: Tensor) -> Tensor:
        """Mean of the entries (i, j) and (j, i): (.., N, N) -> (.., T)."""
        flat = full.flatten(-2)
        return (flat.index_select(-1, self.lower) + flat.index_select(-1, self.upper)) / 2

    def unfold(self, pairs: Tensor, diagonal: float) -> Tensor:
        """Give both entries their pair's value: (.., T) -> (.., N, N) symmetric."""
        flat = F.pad(pairs, (0, 1), value=diagonal)
        return flat.index_select(-1, self.place).unflatten(-1, (self.nodes, self.nodes))


def columns(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Apply an MLP to the columns of x (F_in, ..): (F_out, ..).

    With the features in front a layer is one product of matrices and no layout changes.
    """
    shape = x.shape[1:]
    x = x.flatten(1)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            x = torch.addmm(layer.bias[:, None], layer.weight, x)
        else:
            x = layer(x)
    return x.unflatten(1, shape)


Graphs = Callable[..., tuple[Tensor, Tensor]]


def in_groups(
    network: Graphs, X: Tensor, A: Tensor, mask: Tensor, *rest: Tensor
) -> tuple[Tensor, Tensor]:
    """Run (X, A, mask, *rest) -> ((B, N, .), (B, N, N)) on groups of graphs of like size, cut to
    it; rows come back in order. `rest` holds one entry a row, (B, ..).

    A graph gets the output that it has alone, up to rounding (1e-6 of the largest entry): sums
    are taken in another order in a larger group. On other devices than the CPU, and while a step
    is compiled, the batch runs whole: there the host is not to wait for the sizes.
    """
    if X.device.type != "cpu" or torch.compiler.is_compiling() or not len(mask):
        return network(X, A, mask, *rest)
    groups = [part for group in buckets(mask, width=2) for part in _cut(group)]
    said = [
        network(g.cut(X, 1), g.cut(A, 2), g.cut(mask, 1), *(v[g.rows] for v in rest))
        for g in groups
    ]
    return (
        unbucket([x for x, _ in said], groups, mask.shape[1], 1),
        unbucket([a for _, a in said], groups, mask.shape[1], 2),
    )


def _cut(group: Bucket) -> list[Bucket]:
    most = max(1, CELLS // group.nodes**2)
    return [Bucket(rows, group.nodes) for rows in group.rows.split(most)]
