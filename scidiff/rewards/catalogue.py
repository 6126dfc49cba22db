"""What there is to ask for by name: every installed reward, its range, its arguments and what it
says."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

from scidiff.messages import nearest
from scidiff.rewards.registry import find, installed
from scidiff.rewards.scores import kinds


@dataclass(frozen=True)
class RewardInfo:
    """A reward as a formula names it."""

    name: str
    arguments: str  # as they stand behind the name, "" for a reward that takes none
    of: str  # what it scores, such as "dna, rna"; "" where that depends on its arguments
    range: str
    what: str  # its first paragraph
    text: str  # all that it says of itself


def rewards() -> list[RewardInfo]:
    """Every reward that loads, by name."""
    return [_described(name, made) for name, made in sorted(installed().items())]


def info(name: str) -> RewardInfo:
    """One of them. Raises ValueError for a name that nothing has, with the nearest."""
    found = find(name)
    if found is None:
        raise ValueError(f"no reward is called {name!r}{nearest(name, installed())}")
    return _described(name, found)


def _described(name: str, made: Any) -> RewardInfo:
    text = inspect.getdoc(getattr(made, "function", made)) or ""
    what = " ".join(text.split("\n\n")[0].split())
    return RewardInfo(name, _arguments(made), ", ".join(kinds(made)), _range(made), what, text)


def _arguments(made: Any) -> str:
    if not inspect.isclass(made):
        return ""
    taken = inspect.signature(made).parameters.values()
    written = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in taken]
    return f"({', '.join(written)})"


def _range(made: Any) -> str:
    """The values it can take, as far as its class says."""
    bounds = getattr(made, "bounds", None)
    if isinstance(bounds, property):
        return "by its arguments"
    if not isinstance(bounds, tuple):
        return "unbounded"
    low, high = bounds
    match math.isfinite(low), math.isfinite(high):
        case True, True:
            return f"{low:g} to {high:g}"
        case True, False:
            return f"{low:g} and above"
        case False, True:
            return f"{high:g} and below"
    return "unbounded"
