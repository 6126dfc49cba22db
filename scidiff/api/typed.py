"""Checks of type at the public edge: what a person gives against the annotations that stand in
the code, of functions and of records of settings."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from pathlib import Path
from reprlib import Repr
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

_short = Repr()
_short.maxstring = _short.maxother = 60


def _listed(value: Any) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool | np.bool_)


def _pair_of(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: _listed(value) and len(value) == 2 and all(map(kind, value))


def _number(value: Any) -> bool:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        return False
    return not math.isnan(value)


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", _whole),
    "float": ("a number", _number),
    "bool": ("True or False", lambda v: isinstance(v, bool | np.bool_)),
    "str": ("text", lambda v: isinstance(v, str)),
    "Path": ("a path", lambda v: isinstance(v, Path)),
    "tuple[str, ...]": ("a list", _listed),
    "tuple[float, float]": ("a pair of numbers", _pair_of(_number)),
    "dict[str, Any]": ("a dictionary", lambda v: isinstance(v, dict)),
    "Mapping[str, Any]": (
        "a mapping such as {'cell': 'K562'}",
        lambda v: isinstance(v, Mapping),
    ),
    "None": ("None", lambda v: v is None),
}
KINDS["Asked"] = KINDS["Mapping[str, Any]"]
KINDS["Span"] = ("a pair of whole numbers", _pair_of(_whole))
MANY = {
    "Sequence[str]": ("str", "a list of texts"),
    "Sequence[int]": ("int", "a list of whole numbers"),
    "Sequence[Span]": ("Span", "a list of pairs of whole numbers"),
}
KINDS |= {many: (words, _listed) for many, (_, words) in MANY.items()}


def check_type(name: str, value: Any, annotation: Any) -> None:
    """Raise ValueError where `value` is of none of the kinds of an annotation as it is written
    ("int | None"); one that has a part outside `KINDS` is not checked."""
    parts = str(annotation).split(" | ")
    if not all(part in KINDS for part in parts):
        return
    if not any(KINDS[part][1](value) for part in parts):
        expected = " or ".join(KINDS[part][0] for part in parts)
        text = "the text " if isinstance(value, str) else ""
        raise ValueError(f"{name} must be {expected}, got {text}{_short.repr(value)}")
    many = [part for part in parts if part in MANY]
    if many and _listed(value):
        one, fits = KINDS[MANY[many[0]][0]]
        for row, item in enumerate(value, start=1):
            if not fits(item):
                raise ValueError(f"{name}: row {row} must be {one}, got {_short.repr(item)}")


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """A function that checks what it is given by its annotations, see `check_type`; what stands
    as a default is taken as it is."""
    signature = inspect.signature(function)
    parameters = signature.parameters

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # Python says it with the function's name
        for name, value in given.items():
            if value is not parameters[name].default:
                check_type(name, value, parameters[name].annotation)
        return function(*args, **kwargs)

    return checked
