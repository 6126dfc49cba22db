"""Which of many scored objects to hand on: good ones that differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scidiff.chem.molecules import fingerprints
from scidiff.rewards.minmax import counted, minmax

MOST = 2_000  # objects that are compared: the better half of them the best, the rest at even ranks
PRICES = tuple(2 ** (j / 4) for j in range(-64, 33))  # of a pair of equals, in ranges of values


def portfolio(
    kind: str,
    objects: Sequence[Any],
    values: Sequence[float],
    n: int,
    diversity: float,
    keep: int = 0,
) -> list[int]:
    """Rows of n objects, best first, which are at least `diversity` `apart`. The `keep` best are
    among them whatever they are like.

    Of such sets it looks for the largest sum of values: greedily for sum_i v_i - price sum_{i<j}
    T_ij, at the lowest of `PRICES` that is diverse enough. The first ones taken pay for few pairs,
    so that the best objects stay and the others keep away from them. Where no price is high
    enough the most diverse set that was met is handed on, where there are n objects or fewer all
    of them.
    """
    if not 0 <= diversity <= 1:
        raise ValueError(f"diversity must lie in [0, 1], got {diversity}")
    worth = torch.as_tensor(values, dtype=torch.float64)
    order = worth.argsort(descending=True, stable=True)
    if len(order) <= n:
        return order.tolist()
    rows = _compared(order)
    alike = similarities(kind, [objects[row] for row in rows.tolist()])
    found, best = torch.arange(n), -1.0
    for price in (0.0, *PRICES):
        span = float(worth[rows].max() - worth[rows].min()) or 1.0
        taken = _greedy(worth[rows], price * span * alike, n, keep)
        told = apart(alike[taken][:, taken])
        if told > best:
            found, best = taken, told
        if best >= diversity:
            break
    return sorted(rows[found].tolist(), key=lambda row: (-float(worth[row]), row))


def apart(alike: Tensor) -> float:
    """1 - mean similarity of two different objects of some, given those of all pairs (B, B); 1
    where there are no two."""
    B = len(alike)
    return 1 - float((alike.sum() - alike.diagonal().sum()) / max(1, B * (B - 1)))


def comparison(kind: str, objects: Sequence[Any]) -> str:
    """The kind by which objects are compared: "places" of sequences of one length."""
    aligned = kind == "sequence" and len({len(sequence) for sequence in objects}) == 1
    return "places" if aligned else kind


def similarities(kind: str, objects: Sequence[Any]) -> Tensor:
    """T of all pairs (B, B) float64 in [0, 1]: Tanimoto on Morgan bits of molecules as
    `internal_diversity` has it, the share of equal letters of "places", of other kinds the min-max
    kernel."""
    if kind == "places":
        letters = torch.tensor([[ord(letter) for letter in word] for word in objects])
        same = sum((hot := (letters == code).float()) @ hot.T for code in letters.unique())
        return torch.as_tensor(same).double() / letters.shape[1]
    if kind != "molecule":
        features = counted(kind, objects)
        return minmax(features, features)
    bits: NDArray[np.uint8] = np.unpackbits(fingerprints(objects), axis=1)
    x = torch.from_numpy(bits).float()
    both, size = (x @ x.T).double(), x.sum(1).double()
    return both / (size[:, None] + size - both).clamp_min(1)


def _compared(order: Tensor) -> Tensor:
    """At most `MOST` of the rows, the best first."""
    if len(order) <= MOST:
        return order
    rest = order[MOST // 2:]
    even = torch.linspace(0, len(rest) - 1, MOST - MOST // 2).round().long()
    return torch.cat([order[: MOST // 2], rest[even]])


def _greedy(worth: Tensor, price: Tensor, n: int, keep: int) -> Tensor:
    """Take n rows one by one, the first `keep` as they stand, then each time the one that adds
    most to sum v - sum_{pairs} price."""
    left, taken = worth.clone(), list[int]()
    for i in range(n):
        row = i if i < keep else int(left.argmax())
        taken.append(row)
        left = left - price[row]
        left[taken] = -torch.inf
    return torch.tensor(taken)
