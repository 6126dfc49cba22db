"""What a campaign has found: every distinct object it has asked about."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scidiff.core import uniform
from scidiff.rewards.scoring import Objectives, Scorer, Scores, Status, require_floor, sought


class Pool:
    """Every distinct object that was asked about, in the order asked: a live view of what a
    `Scorer` remembers. Values are those of the reward itself, without a discount.

    `starts` are the numbers of objects that had been asked when each round began; `parents` maps
    the key of an object to that of the one it was made from, where a strategy tells.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.starts = scorer, list[int]()
        self.parents: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.scorer.texts)

    @property
    def keys(self) -> list[str]:
        return list(self.scorer.texts)

    @property
    def texts(self) -> list[str]:
        return list(self.scorer.texts.values())

    @property
    def values(self) -> list[float]:
        """NaN where an object has no value."""
        return [self.scorer.answer(key).value for key in self.scorer.texts]

    @property
    def status(self) -> list[Status]:
        return [self.scorer.answer(key).status for key in self.scorer.texts]

    def objects(self, rows: Sequence[int]) -> list[Any]:
        """Objects as they are encoded again: their texts, or molecules in space as they were
        asked."""
        keys, texts, placed = self.keys, self.texts, self.scorer.points
        return [placed.get(keys[row], texts[row]) for row in rows]

    def parts(self) -> dict[str, Scores]:
        """What each term of the reward gave; empty for a reward of one term."""
        return self.scorer.parts_of(self.keys)

    @property
    def rounds(self) -> list[int]:
        """The round in which each object was asked."""
        return [bisect_right(self.starts, row) - 1 for row in range(len(self))]

    @property
    def objectives(self) -> Objectives:
        """All objects by what the reward's `pareto(...)` holds, or by its terms where it has
        several."""
        return self.scorer.objectives_of(self.keys)

    @property
    def floor(self) -> float:
        """The value of an invalid object; RewardError where the reward declares none."""
        return require_floor(self.scorer.reward)

    def best(self, n: int | None = None, first: int = 0) -> list[int]:
        """Row numbers of the n best scored objects from row `first` on, best first; of equal ones
        the earlier one."""
        values, status = self.values, self.status
        scored = [row for row in range(first, len(self)) if status[row] == Status.OK]
        return sorted(scored, key=lambda row: -values[row])[:n]

    def memory(self) -> dict[str, Any]:
        """All of it as JSON holds it."""
        return {"scorer": self.scorer.memory(), "starts": self.starts, "parents": self.parents}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from a `memory`."""
        self.scorer.recall(memory["scorer"])
        self.starts, self.parents = list(memory["starts"]), dict(memory["parents"])


class Directed(Pool):
    """A live view of a pool along one direction of its objectives: values are those of
    `pareto.scalarised` for `weights` (O,), so whoever climbs them climbs towards one part of the
    front. The best objects are those of the best fronts, by their values within each."""

    def __init__(self, pool: Pool, weights: Tensor) -> None:
        super().__init__(pool.scorer)
        self.starts, self.parents, self.weights = pool.starts, pool.parents, weights
        self._fronts: list[int] = []  # of each object, for as many as there were

    @property
    def floor(self) -> float:
        return 0.0

    @property
    def values(self) -> list[float]:
        return self.objectives.along(self.weights).tolist()

    def best(self, n: int | None = None, first: int = 0) -> list[int]:
        if len(self._fronts) != len(self):
            self._fronts = self.objectives.ranks().tolist()
        return sorted(super().best(first=first), key=lambda row: self._fronts[row])[:n]


def directed(pool: Pool, rng: torch.Generator) -> Pool:
    """The pool of a reward of one number; of a `pareto(...)`, the view along a direction drawn
    evenly from the simplex."""
    names = sought(pool.scorer.reward)
    if not names:
        return pool
    gaps = -uniform((len(names),), rng).double().cpu().clamp(min=1e-12).log()
    return Directed(pool, gaps / gaps.sum())
