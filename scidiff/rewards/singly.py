"""Rewards that programs give object by object, and the packages that they need."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scidiff.core import ScidiffError
from scidiff.rewards.scores import Answer, Status, several

SEEDS = 2**31 - 2  # programs are given seed + 1: to some of them 0 is no seed


class ExtraMissing(ScidiffError):
    """A reward was asked for whose optional packages are not installed."""


class Refused(ScidiffError):
    """An object that a program cannot be asked about, or has no answer for, and why."""


class Singly(ABC):
    """A reward that is asked object by object: where one has no value the row says why."""

    @abstractmethod
    def value(self, obj: Any) -> float:
        """Score one object.

        Raises a ScidiffError that says why there is none.
        """

    def answers(self, objects: Sequence[Any]) -> list[Answer]:
        """Ask for every object."""
        return [self._answer(obj) for obj in several(self, objects)]

    def __call__(self, objects: Sequence[Any]) -> list[float]:
        """Values alone, NaN where there is none."""
        return [a.value for a in self.answers(objects)]

    def _answer(self, obj: Any) -> Answer:
        try:
            return Answer(self.value(obj), Status.OK)
        except ScidiffError as why:
            return Answer(math.nan, Status.FAILED, str(why))


def package(module: str, extra: str, who: str) -> Path:
    """Folder of an optional package, which is not imported.

    Raises ExtraMissing naming the extra that installs it.
    """
    found = find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise ExtraMissing(f"{who} needs {module}: pip install 'scidiff[{extra}]'")
    return Path(found.submodule_search_locations[0])


def versions(*distributions: str) -> str:
    """Name the versions of what decides a score, as the cache tells one from the next."""
    return ", ".join(f"{name} {_version(name)}" for name in distributions)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # put there by other means than an installer
        return "unknown"


def check_seed(seed: int, who: str) -> None:
    """Raise ValueError for a seed that programs do not take."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise ValueError(f"{who}: seed must be a whole number from 0 to {SEEDS - 1:,}, "
                         f"got {seed!r}")
