"""Rewards from what a person types: expressions, names, import paths, their own functions."""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scidiff.rewards import expressions, registry
from scidiff.rewards.scores import (
    Scores,
    Status,
    combined,
    evaluate,
    reward_name,
    several,
    sought,
    terms,
)

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

    @property
    def objectives(self) -> tuple[str, ...]:
        """What `pareto(...)` seeks the front of; empty for a formula of one number."""
        return tuple(ast.unparse(part) for part in expressions.objectives(self._tree))

    def objective_values(self, parts: Mapping[str, Scores]) -> Tensor:
        """The objectives of a `pareto(...)`, (B, O) float64, NaN where a term has no value."""
        told = {source: p.values.masked_fill(~p.ok, math.nan) for source, p in parts.items()}
        found = [expressions.values(part, told.__getitem__)
                 for part in expressions.objectives(self._tree)]
        return torch.stack(torch.broadcast_tensors(*found), -1)

    @property
    def objective_floors(self) -> Tensor:
        """Lower bounds of the objectives, (O,) float64, -inf where there is none."""
        parts = expressions.objectives(self._tree)
        return torch.stack([expressions.interval(part, self._leaf_bounds)[0] for part in parts])

    def _leaf_bounds(self, source: str) -> Tensor:
        bounds = getattr(self._leaves[source], "bounds", (-math.inf, math.inf))
        return torch.tensor(bounds, dtype=torch.float64)

    @property
    def leaves(self) -> Mapping[str, Any]:
        """The rewards that the formula names, source -> reward."""
        return self._leaves

    def parts(self, objects: Sequence[Any]) -> dict[str, Scores]:
        """Score every reward the formula names, source -> Scores."""
        return {source: evaluate(r, objects) for source, r in self._leaves.items()}

    def score(self, objects: Sequence[Any]) -> Scores:
        """Ask every term and combine them, (B,)."""
        return self.combine(self.parts(objects)) if several(self, objects) else Scores.of([])

    def combine(self, parts: Mapping[str, Scores]) -> Scores:
        """Combine the scores of the terms, (B,); a combination that is not finite is FAILED.

        A row with a SKIPPED term has a value where the result does not depend on it.
        """
        status = torch.stack([p.status for p in parts.values()])
        asked = status != Status.SKIPPED
        worst = torch.where(asked, status, int(Status.OK)).amax(0)
        total = expressions.values(self._tree, lambda source: parts[source].values)
        if not asked.all():
            total = torch.where(asked.all(0), total, self.settled(parts))
            worst = torch.where(~asked.all(0) & (worst == Status.OK) & total.isnan(),
                                int(Status.SKIPPED), worst)
        failed = (worst == Status.OK) & ~total.isfinite()
        status = torch.where(failed, int(Status.FAILED), worst).to(torch.int8)
        return Scores(torch.where(status == Status.OK, total, math.nan), status)

    def settled(self, parts: Mapping[str, Scores]) -> Tensor:
        """Values, (B,), that follow from terms that are OK and the bounds of the rest, else NaN.

        "alerts * dock" is 0 where alerts is, whatever dock will say.
        """
        def bounds(row: int, source: str) -> Tensor:
            part = parts[source]
            known = bool(part.status[row] == Status.OK)
            return part.values[row].repeat(2) if known else self._leaf_bounds(source)

        rows = range(len(next(iter(parts.values()))))
        found = [expressions.interval(self._tree, partial(bounds, row)) for row in rows]
        low, high = torch.stack(found).T if found else torch.empty(2, 0, dtype=torch.float64)
        return torch.where(low == high, low, math.nan)


def reward(
    spec: Any = None, *, name: str | None = None, floor: float | None = None, places: bool = False
) -> Any:
    """Make a reward from an expression, a name, "package.module:name", or a callable.

    With `floor` (the score of an invalid object, needed where a reward is unbounded), `name` or
    `places` (it reads where atoms are, so that two structures of one molecule have two scores)
    these are declared on it; without `spec` it is a decorator. Raises ValueError where nothing of
    that name exists, or `spec` is neither text nor callable.
    """
    if spec is None:
        return lambda function: reward(function, name=name, floor=floor, places=places)
    found = _resolve(spec)
    if floor is not None and not math.isfinite(floor):
        raise ValueError(f"floor must be a finite number, got {floor}")
    top = getattr(found, "bounds", (-math.inf, math.inf))[1]
    if floor is not None and floor > top:
        raise ValueError(f"floor must be at most the reward's upper bound {top:g}, got {floor}")
    plain = name is None and floor is None and not places
    return found if plain else Declared(found, name, floor, places)


@dataclass(frozen=True)
class Declared:
    """A reward with what its user declares for it: its name, its floor, that it reads places."""

    reward: Any
    label: str | None = None
    worst: float | None = None
    places: bool = False

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

    @property
    def leaves(self) -> Mapping[str, Any]:
        """Terms of the reward underneath."""
        return terms(self.reward)

    @property
    def objectives(self) -> tuple[str, ...]:
        """What the reward underneath seeks the front of."""
        return sought(self.reward)

    def objective_values(self, parts: Mapping[str, Scores]) -> Tensor:
        """See Expression.objective_values."""
        values: Tensor = self.reward.objective_values(parts)
        return values

    @property
    def objective_floors(self) -> Tensor:
        """See Expression.objective_floors."""
        floors: Tensor = self.reward.objective_floors
        return floors

    def combine(self, parts: Mapping[str, Scores]) -> Scores:
        """Combine them as the reward underneath does."""
        return combined(self.reward, parts)

    def settled(self, parts: Mapping[str, Scores]) -> Tensor:
        """What follows from some of them, as the reward underneath sees it."""
        known: Callable[..., Tensor] | None = getattr(self.reward, "settled", None)
        rows = len(next(iter(parts.values())))
        return known(parts) if known else torch.full((rows,), math.nan, dtype=torch.float64)


def _resolve(spec: Any) -> Any:
    if isinstance(spec, str):
        text = spec.strip()
        if not _PATH.fullmatch(text):
            return Expression(text)
        found = registry.from_path(text)
        spec = _made(text, found) if inspect.isclass(found) else found
    if inspect.isclass(spec) or not (callable(spec) or hasattr(spec, "score")):
        raise ValueError("a reward is an expression, 'package.module:name', or a callable on a "
                         f"list of objects, got {spec!r}")
    return spec


def _made(path: str, found: type) -> Any:
    try:
        return found()
    except TypeError as error:
        module, _, name = path.partition(":")
        raise ValueError(f"reward {path!r} is a class that cannot be made without arguments "
                         f"({error}); expected a class without arguments or an instance: write "
                         f"for example my_reward = {name}(...) in {module!r} and name "
                         f"'{module}:my_reward'") from error


__all__ = ["Declared", "Expression", "reward"]
