"""A reward on states that is asked once for each distinct clean state."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from scidiff.guidance.lookahead import Reward, as_scores
from scidiff.rewards.scoring import Scores, Status


class Distinct:
    """A reward on states that is asked once for each distinct clean state: where a look-ahead did
    not change, nothing is asked. A `Scorer` does the same for decoded objects.

    `key` maps states to one hashable a row, by default what they hold (`contents`).
    """

    def __init__(
        self, reward: Reward, key: Callable[[Any], Sequence[Hashable]] | None = None
    ) -> None:
        self.reward, self.key = reward, key or contents
        self.asked = self.cache_hits = 0
        self._known: dict[Hashable, tuple[float, int]] = {}

    @property
    def floor(self) -> float | None:
        return getattr(self.reward, "floor", None)

    def __call__(self, x: Any) -> Scores:
        keys = self.key(x)
        fresh = {key: row for row, key in enumerate(keys) if key not in self._known}
        if fresh:
            rows = torch.tensor(list(fresh.values()))
            told = as_scores(self.reward(x[rows.to(_device(x))]))
            pairs = zip(told.values.tolist(), told.status.tolist(), strict=True)
            self._known.update(zip(fresh, pairs, strict=True))
        self.asked += len(fresh)
        self.cache_hits += len(keys) - len(fresh)
        scores = Scores.of((v, Status(s)) for v, s in (self._known[key] for key in keys))
        return scores.to(_device(x))


def contents(x: Any) -> list[bytes]:
    """What tells a clean state of tokens or continuous parts from another, row by row."""
    held = (x.ids,) if hasattr(x, "ids") else (*x.parts, x.mask)
    rows = [leaf.cpu().flatten(1).numpy() for leaf in held if leaf is not None]
    return [b"".join(leaf[i].tobytes() for leaf in rows) for i in range(len(x))]


def _device(x: Any) -> torch.device:
    return (x.ids if hasattr(x, "ids") else x.parts[0]).device
