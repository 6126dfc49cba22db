"""From a reward on objects to checked scores: dedupe, in-run cache, budget, statuses.

Imports torch and the standard library only. A reward is any callable
`Sequence[Object] -> Sequence[float]`, or an object with `score(objects) -> Scores`. It only ever
sees valid objects, larger is better, and it may declare `floor`, the score of an invalid object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from scidiff.core import ScidiffError, Stacked
from scidiff.data.records import Record


class Status(IntEnum):
    """What became of one object: an invalid one is not a failed program, and neither is a 0."""

    OK = 0
    INVALID = 1  # the object breaks a rule of its domain; the reward never saw it
    FAILED = 2  # the reward raised, or returned something that is not a finite number
    TIMEOUT = 3
    SKIPPED = 4  # never asked: the budget was spent


class RewardError(ScidiffError):
    """A reward that cannot be used at all: it returns the wrong thing, or raises on everything."""


@dataclass(frozen=True)
class Scores(Stacked):
    """One score a row, with what became of it.

    Where the status is INVALID the value is the reward's floor, or NaN where none is declared;
    for FAILED, TIMEOUT and SKIPPED it is NaN.
    """

    values: Tensor  # (B,) float64
    status: Tensor  # (B,) int8, a `Status`

    def __post_init__(self) -> None:
        shape = self.values.shape[:1]
        for name, dtype in (("values", torch.float64), ("status", torch.int8)):
            got = getattr(self, name)
            if got.dtype != dtype or got.shape != shape:
                raise ValueError(f"{name} must be {dtype} of shape {tuple(shape)}, "
                                 f"got {got.dtype} of shape {tuple(got.shape)}")
        bad = (self.status == Status.OK) & ~self.values.isfinite()
        if bad.any():
            row = int(bad.nonzero()[0])
            raise ValueError("a row with status OK needs a finite value, "
                             f"got {float(self.values[row])} in row {row}")

    @property
    def ok(self) -> Tensor:
        """Rows that the reward scored, (B,) bool."""
        return self.status == Status.OK

    @classmethod
    def of(cls, rows: Iterable[tuple[float, Status]]) -> Scores:
        """Build from (value, status) pairs."""
        pairs = list(rows)
        return cls(torch.tensor([v for v, _ in pairs], dtype=torch.float64),
                   torch.tensor([int(s) for _, s in pairs], dtype=torch.int8))


@dataclass(frozen=True)
class NamedReward:
    """A function of objects, its name and the range of its values: a decorated reward."""

    function: Callable[[Sequence[Any]], Sequence[float]]
    name: str
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def __call__(self, objects: Sequence[Any]) -> Sequence[float]:
        return self.function(objects)

    @property
    def floor(self) -> float | None:
        """The lowest value it can take; None where there is none."""
        return self.bounds[0] if math.isfinite(self.bounds[0]) else None


def bounded(low: float, high: float) -> Callable[[Callable[..., Sequence[float]]], NamedReward]:
    """Declare, as a decorator, that a reward's values lie in [low, high]; its floor is `low`."""
    return lambda function: NamedReward(function, function.__name__, (low, high))


def reward_name(reward: Any) -> str:
    """Say which reward it is, for messages and columns."""
    named = getattr(reward, "name", None) or getattr(reward, "__name__", None)
    return str(named or type(reward).__name__)


def require_floor(reward: Any) -> float:
    """Return the score of an invalid object.

    Raises RewardError where the reward declares none: an invented floor would decide the weights
    of a guided run.
    """
    floor = getattr(reward, "floor", None)
    if floor is None or not math.isfinite(floor):
        raise RewardError(f"reward {reward_name(reward)!r} has no floor, and an invalid object "
                          "must be scored: declare its score with scidiff.reward(your_function, "
                          "floor=0.0), or wrap the term in window(..., low, high)")
    return float(floor)


def evaluate(reward: Any, objects: Sequence[Any]) -> Scores:
    """Call a reward once and check what it returns; NaN and infinities become FAILED rows.

    Raises RewardError when it returns the wrong number of values or something that is not a
    number; whatever the reward itself raises goes through.
    """
    if not objects:
        return Scores.of([])
    returned = reward.score(objects) if hasattr(reward, "score") else reward(objects)
    if isinstance(returned, Scores):
        _check_length(reward, len(returned), len(objects))
        return returned
    values = _numbers(reward, returned)
    _check_length(reward, len(values), len(objects))
    return Scores.of((v, Status.OK) if math.isfinite(v) else (math.nan, Status.FAILED)
                     for v in values)


def _check_length(reward: Any, got: int, expected: int) -> None:
    if got != expected:
        raise RewardError(f"reward {reward_name(reward)!r} returned {got} values for {expected} "
                          "objects; it must return one number for each object it is given")


def _numbers(reward: Any, returned: Any) -> list[float]:
    found = returned.tolist() if hasattr(returned, "tolist") else returned
    if isinstance(found, str | bytes | dict) or not isinstance(found, Iterable):
        raise RewardError(f"reward {reward_name(reward)!r} returned {type(returned).__name__}; "
                          "it takes a list of objects and must return a list of numbers")
    values = list(found)
    for row, v in enumerate(values):
        if v is not None and (isinstance(v, str | bytes) or not hasattr(v, "__float__")):
            raise RewardError(f"reward {reward_name(reward)!r} returned {type(v).__name__} {v!r} "
                              f"for object {row}; expected a number, or None for no value")
    return [math.nan if v is None else float(v) for v in values]


def text_key(record: Record) -> str:
    """Key of a record that is its own canonical form (sequences)."""
    return record.text


@dataclass
class Scorer:
    """Score decoded records: invalid ones set aside, the rest deduped, remembered and counted.

    `key` maps a valid record to its canonical form: records with one key are one object and cost
    one question. `budget` is the number of distinct objects that may be asked; past it rows come
    back SKIPPED and `spent` is True, so that a run ends with what it has. An object that failed is
    remembered too and not asked again. Larger `patience` forgives a reward that raises at first.
    """

    reward: Any
    key: Callable[[Record], str] = text_key
    budget: int | None = None
    patience: int = 16  # raising on each of this many first objects is a broken reward
    asked: int = 0  # distinct objects
    cache_hits: int = 0  # rows answered without asking
    calls: int = 0  # times the reward was entered
    messages: dict[str, str] = field(default_factory=dict)  # key -> why it failed
    _known: dict[str, tuple[float, Status]] = field(default_factory=dict, repr=False)
    _answered: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget <= 0:
            raise ValueError("budget counts distinct objects and must be at least 1, "
                             f"got {self.budget}")

    @property
    def name(self) -> str:
        return reward_name(self.reward)

    @property
    def floor(self) -> float | None:
        """The declared score of an invalid object, None where there is none (`require_floor`)."""
        return getattr(self.reward, "floor", None)

    @property
    def spent(self) -> bool:
        return self.budget is not None and self.asked >= self.budget

    def score(self, records: Sequence[Record]) -> Scores:
        """Score every record; rows keep their place.

        Raises RewardError when the reward returns the wrong thing or raises on everything.
        """
        keys = [self.key(r) if r.valid else None for r in records]
        fresh = {k: r for k, r in zip(keys, records, strict=True)
                 if k is not None and k not in self._known}
        chosen = list(fresh)[:None if self.budget is None else max(self.budget - self.asked, 0)]
        self.cache_hits += sum(k is not None for k in keys) - len(fresh)
        self._ask(chosen, [fresh[k].obj for k in chosen])
        floor = math.nan if self.floor is None else float(self.floor)
        return Scores.of((floor, Status.INVALID) if k is None
                         else self._known.get(k, (math.nan, Status.SKIPPED)) for k in keys)

    __call__ = score

    def _ask(self, keys: list[str], objects: list[Any]) -> None:
        if not keys:
            return
        self.asked += len(keys)
        try:
            self._remember(keys, self._enter(objects))
        except RewardError:
            raise
        except Exception as error:  # foreign code; one bad object must not cost its batch
            if len(keys) == 1:
                self._fail(keys[0], error)
            else:
                for k, o in zip(keys, objects, strict=True):
                    self._ask_one(k, o)

    def _ask_one(self, key: str, obj: Any) -> None:
        try:
            self._remember([key], self._enter([obj]))
        except RewardError:
            raise
        except Exception as error:  # as in _ask
            self._fail(key, error)

    def _enter(self, objects: list[Any]) -> Scores:
        self.calls += 1
        return evaluate(self.reward, objects)

    def _remember(self, keys: list[str], scores: Scores) -> None:
        self._answered |= bool(scores.ok.any())
        for k, v, s in zip(keys, scores.values.tolist(), scores.status.tolist(), strict=True):
            self._known[k] = (v, Status(s))
            if s == Status.FAILED:
                self.messages[k] = "the reward returned no finite number"

    def _fail(self, key: str, error: Exception) -> None:
        self._known[key] = (math.nan, Status.FAILED)
        self.messages[key] = f"{type(error).__name__}: {error}"
        if not self._answered and len(self.messages) >= self.patience:
            raise RewardError(f"reward {self.name!r} raised on each of its first {self.asked} "
                              f"objects, the last time {self.messages[key]}") from error
