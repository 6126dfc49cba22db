"""What a reward returns, checked: values, statuses, floors. Torch and the standard library only.

A reward is any callable `Sequence[Object] -> Sequence[float]`, or an object with
`score(objects) -> Scores`. It only ever sees valid objects, larger is better, and it may declare
`name`, `version` (scores of another version are forgotten), `floor` (the score of an invalid
object), `bounds`, `cost` (seconds an object, 0 for what is asked without thought), `places`
(True: it reads where atoms are, so that two structures of one molecule are two objects to it) and
`kind` (what it scores, one of KINDS or several: it is refused for other objects).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from importlib import import_module
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scidiff.core import ScidiffError, Stacked


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


class Answer(NamedTuple):
    """What became of one object, and why where it has no value."""

    value: float
    status: Status
    message: str = ""


NO_NUMBER = "the reward returned no finite number"
SKIPPED = Answer(math.nan, Status.SKIPPED)


@dataclass(frozen=True)
class NamedReward:
    """A function of objects, its name and the range of its values: a decorated reward."""

    function: Callable[[Sequence[Any]], Sequence[float]]
    name: str
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def __call__(self, objects: Sequence[Any]) -> Sequence[float]:
        return self.function(several(self, objects))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as an import: where a decorator put this, pickle looks for the function."""
        where = self.function.__module__, self.function.__qualname__
        if getattr(import_module(where[0]), where[1], None) is self:
            return _imported, where
        return NamedReward, (self.function, self.name, self.bounds)

    @property
    def kind(self) -> Kind | None:
        """What it scores, where its function says so."""
        return getattr(self.function, "kind", None)

    @property
    def floor(self) -> float | None:
        """The lowest value it can take; None where there is none."""
        return self.bounds[0] if math.isfinite(self.bounds[0]) else None


def _imported(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


def bounded(low: float, high: float) -> Callable[[Callable[..., Sequence[float]]], NamedReward]:
    """Declare, as a decorator, that a reward's values lie in [low, high]; its floor is `low`."""
    return lambda function: NamedReward(function, function.__name__, (low, high))


KINDS = ("molecule", "graph", "sequence", "dna", "rna", "peptide")
Kind = str | tuple[str, ...]


def of_kind(kind: Kind, rewards: Mapping[str, Any]) -> dict[str, Any]:
    """Declare what kind of objects rewards score."""
    for made in rewards.values():
        made = getattr(made, "function", made)
        declared: Any = made if isinstance(made, type | FunctionType) else type(made)
        declared.kind = kind
    return dict(rewards)


def kinds(reward: Any) -> tuple[str, ...]:
    """What a reward says that it scores; empty where it says nothing of the sort."""
    said = getattr(reward, "kind", None)
    found = said if isinstance(said, tuple) else (said,)
    return found if all(isinstance(k, str) and k in KINDS for k in found) else ()


def require_kind(reward: Any, kind: str, domain: str) -> None:
    """Raise RewardError where a term of a reward says that it scores other objects than those of
    a domain ("dna") and its kind ("sequence")."""
    for term in terms(reward).values():
        own = kinds(term)
        if own and not {kind, domain} & set(own):
            got = domain if domain in KINDS else kind
            raise RewardError(f"reward {reward_name(term)!r} scores {' or '.join(own)}, and the "
                              f"model writes {got}; scidiff rewards list says what each scores")


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


def several(reward: Any, objects: Sequence[Any]) -> Sequence[Any]:
    """The objects; ValueError where it is one: the letters of a text are not objects."""
    if isinstance(objects, str | bytes) or not hasattr(objects, "__len__"):
        one = repr(objects) if isinstance(objects, str | bytes) else type(objects).__name__
        raise ValueError(f"reward {reward_name(reward)!r} is asked about a list of objects, got "
                         f"{one}; for one object write [{one}]")
    return objects


def evaluate(reward: Any, objects: Sequence[Any]) -> Scores:
    """Call a reward once and check what it returns; NaN and infinities become FAILED rows.

    Raises RewardError when it returns the wrong number of values or something that is not a
    number, ValueError where it is asked for one object and not a list; whatever the reward itself
    raises goes through.
    """
    if not several(reward, objects):
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


def answers(reward: Any, objects: Sequence[Any]) -> list[Answer]:
    """Call a reward once, as `evaluate`; one that says why objects failed has `answers` itself."""
    own: Callable[[Sequence[Any]], list[Answer]] | None = getattr(reward, "answers", None)
    if own is not None:
        return own(objects)
    scores = evaluate(reward, objects)
    return [Answer(v, Status(s), NO_NUMBER if s == Status.FAILED else "")
            for v, s in zip(scores.values.tolist(), scores.status.tolist(), strict=True)]


def terms(reward: Any) -> Mapping[str, Any]:
    """The rewards that a reward is made of, source -> reward; of a plain one, itself.

    A reward made of several has `leaves`, this mapping, and `combine(parts) -> Scores`.
    """
    leaves: Mapping[str, Any] | None = getattr(reward, "leaves", None)
    return leaves or {reward_name(reward): reward}


def sought(reward: Any) -> tuple[str, ...]:
    """The objectives of which a reward seeks the front, as `pareto(...)` does; empty for a reward
    of one number."""
    names: tuple[str, ...] = getattr(reward, "objectives", ())
    return names


def combined(reward: Any, parts: Mapping[str, Scores]) -> Scores:
    """Scores of a reward from those of its `terms`."""
    if getattr(reward, "leaves", None):
        made: Scores = reward.combine(parts)
        return made
    return next(iter(parts.values()))


def cost(reward: Any) -> float:
    """Seconds that a reward takes for an object, as it declares; 0 where it declares nothing."""
    return float(getattr(reward, "cost", 0.0))


def written(answers: Mapping[str, Answer]) -> dict[str, list[Any]]:
    """Answers as JSON holds them; `read` takes them back."""
    return {key: [None if math.isnan(a.value) else a.value, int(a.status), a.message]
            for key, a in answers.items()}


def read(rows: Mapping[str, Sequence[Any]]) -> dict[str, Answer]:
    """What `written` wrote."""
    return {key: Answer(math.nan if value is None else value, Status(status), message)
            for key, (value, status, message) in rows.items()}
