"""Batches of graphs without much padding: rows of about one size together, and back in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Bucket:
    """Rows of a batch whose nodes all stand in the first `nodes` places."""

    rows: Tensor  # (M,) int64
    nodes: int

    def cut(self, values: Tensor, dims: int) -> Tensor:
        """Take the bucket's rows of (B, N, ..) or, with dims = 2, of (B, N, N, ..), cut to its
        size."""
        return self._corner(values[self.rows], dims)

    def put(self, part: Tensor, out: Tensor, dims: int) -> None:
        """Write what belongs to the bucket's rows into its corner of `out`."""
        whole = part.new_zeros(len(self.rows), *out.shape[1:])
        self._corner(whole, dims).copy_(part)
        out[self.rows] = whole

    def _corner(self, values: Tensor, dims: int) -> Tensor:
        for dim in range(1, dims + 1):
            values = values.narrow(dim, 0, self.nodes)
        return values


def buckets(mask: Tensor, width: int = 4, most: int | None = None) -> list[Bucket]:
    """Group the rows of mask (B, N) by node count, rounded up to a multiple of `width`; at most
    `most` rows a group.

    Pairs cost the square of the padded size, so a batch of unlike graphs is cheaper in groups.
    Reading the sizes synchronises with the host once.
    """
    N = mask.shape[1]
    last = (mask * torch.arange(1, N + 1, device=mask.device)).amax(1)
    size = (last + width - 1).div(width, rounding_mode="floor").clamp(min=1) * width
    found = []
    for nodes in size.unique().tolist():
        rows = (size == nodes).nonzero()[:, 0]
        found += [Bucket(part, min(nodes, N)) for part in rows.split(most or len(rows))]
    return found


def unbucket(parts: Sequence[Tensor], groups: Sequence[Bucket], nodes: int, dims: int) -> Tensor:
    """Put what was computed in `groups` back in order: (B, N, ..), or (B, N, N, ..) with dims = 2,
    zero where a group was cut off."""
    rows = sum(len(group.rows) for group in groups)
    out = parts[0].new_zeros(rows, *(nodes,) * dims, *parts[0].shape[1 + dims:])
    for group, part in zip(groups, parts, strict=True):
        group.put(part, out, dims)
    return out
