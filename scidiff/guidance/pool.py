"""What a campaign has found: every distinct object it has asked about."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from scidiff.rewards.scoring import Scorer, Scores, Status


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

    def best(self, n: int | None = None, first: int = 0) -> list[int]:
        """Row numbers of the n best scored objects from row `first` on, best first; of equal ones
        the earlier one."""
        answers = [self.scorer.answer(key) for key in list(self.scorer.texts)[first:]]
        scored = [row for row, a in enumerate(answers) if a.status == Status.OK]
        return [first + row for row in sorted(scored, key=lambda row: -answers[row].value)[:n]]

    def memory(self) -> dict[str, Any]:
        """All of it as JSON holds it."""
        return {"scorer": self.scorer.memory(), "starts": self.starts, "parents": self.parents}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from a `memory`."""
        self.scorer.recall(memory["scorer"])
        self.starts, self.parents = list(memory["starts"]), dict(memory["parents"])
