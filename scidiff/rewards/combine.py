"""Rewards from what a person types: expressions, names, import paths, their own functions."""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scidiff.rewards import expressions, registry
from scidiff.rewards.scoring import Scores, Status, evaluate, reward_name

_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Expression:
    """A reward written as a formula of rewards, such as "0.7*qed + 0.3*sa".

    Every reward it names is asked once a batch. A row takes the worst status of its terms. Raises
    ValueError for a formula that cannot be read.
    """

    source: str
    _tree: ast.expr = field(init=False, repr=False, compare=False)
    _leaves: Mapping[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tree, leaves = expressions.parse(self.source)
        object.__setattr__(self, "_tree", tree)
        object.__setattr__(self, "_leaves", leaves)

    @property
    def name(self) -> str:
        return " ".join(self.source.split())

    @property
    def bounds(self) -> tuple[float, float]:
        """Interval that the value provably lies in; infinite ends are unknown."""
        low, high = expressions.interval(self._tree, self._leaf_bounds).tolist()
        return low, high

    @property
    def floor(self) -> float | None:
        """The lower bound, so the score of an invalid object; None where it is unbounded.

        A formula that is one reward keeps the floor that reward declares.
        """
        if ast.unparse(self._tree) in self._leaves:
            return getattr(next(iter(self._leaves.values())), "floor", None)
        low = self.bounds[0]
        return low if math.isfinite(low) else None

    def __call__(self, objects: Sequence[Any]) -> list[float]:
        """Values alone, NaN where there is none."""
        return self.score(objects).values.tolist()

    def _leaf_bounds(self, source: str) -> Tensor:
        bounds = getattr(self._leaves[source], "bounds", (-math.inf, math.inf))
        return torch.tensor(bounds, dtype=torch.float64)

    def parts(self, objects: Sequence[Any]) -> dict[str, Scores]:
        """Score every reward the formula names, source -> Scores."""
        return {source: evaluate(r, objects) for source, r in self._leaves.items()}

    def score(self, objects: Sequence[Any]) -> Scores:
        """Combine the terms, (B,); a combination that is not finite is FAILED."""
        if not objects:
            return Scores.of([])
        parts = self.parts(objects)
        worst = torch.stack([p.status for p in parts.values()]).amax(0)
        total = expressions.values(self._tree, lambda source: parts[source].values)
        failed = (worst == Status.OK) & ~total.isfinite()
        status = torch.where(failed, int(Status.FAILED), worst).to(torch.int8)
        return Scores(torch.where(status == Status.OK, total, math.nan), status)


def reward(spec: Any = None, *, name: str | None = None, floor: float | None = None) -> Any:
    """Make a reward from an expression, a name, "package.module:name", or a callable.

    With `floor` (the score of an invalid object, needed where a reward is unbounded) or `name`,
    these are declared on it; without `spec` it is a decorator. Raises ValueError where nothing of
    that name exists, or `spec` is neither text nor callable.
    """
    if spec is None:
        return lambda function: reward(function, name=name, floor=floor)
    found = _resolve(spec)
    if floor is not None and not math.isfinite(floor):
        raise ValueError(f"floor must be a finite number, got {floor}")
    return found if name is None and floor is None else Declared(found, name, floor)


@dataclass(frozen=True)
class Declared:
    """A reward with the name or the floor that its user declares for it."""

    reward: Any
    label: str | None = None
    worst: float | None = None

    @property
    def name(self) -> str:
        return self.label or reward_name(self.reward)

    @property
    def floor(self) -> float | None:
        return getattr(self.reward, "floor", None) if self.worst is None else self.worst

    def __call__(self, objects: Sequence[Any]) -> list[float]:
        """Values alone, NaN where there is none."""
        return self.score(objects).values.tolist()

    def score(self, objects: Sequence[Any]) -> Scores:
        """Ask the reward itself, with the checks of `scoring.evaluate`."""
        return evaluate(self.reward, objects)

    def parts(self, objects: Sequence[Any]) -> dict[str, Scores]:
        """Terms of the reward underneath; empty where it has none."""
        return components(self.reward, objects)


def components(reward: Any, objects: Sequence[Any]) -> dict[str, Scores]:
    """Terms of a reward that is made of several, name -> Scores; empty for a single term."""
    parts: Callable[..., dict[str, Scores]] | None = getattr(reward, "parts", None)
    found = parts(objects) if parts else {}
    return found if len(found) > 1 else {}


def _resolve(spec: Any) -> Any:
    if isinstance(spec, str):
        text = spec.strip()
        if not _PATH.fullmatch(text):
            return Expression(text)
        found = registry.from_path(text)
        spec = found() if inspect.isclass(found) else found
    if inspect.isclass(spec) or not (callable(spec) or hasattr(spec, "score")):
        raise ValueError("a reward is an expression, 'package.module:name', or a callable on a "
                         f"list of objects, got {spec!r}")
    return spec


__all__ = ["Declared", "Expression", "components", "reward"]
