"""Which reward a remembered score belongs to: its name, version and parameters as text.

A reward declares its own `version`; without one it is told by its code, that of the functions of
its module which it names, their CONSTANTS, and the plain values it was made from. Code of other
modules is not seen: declare a version (`my_score.version = "2"`) where that may change, or where
files, models or programs decide the score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from scidiff.rewards.scores import reward_name


class Identity(NamedTuple):
    """What a score is remembered under, besides its object."""

    name: str
    version: str
    parameters: str = ""


def identity(reward: Any) -> Identity | None:
    """Say which reward this is; None where nothing tells it from its next version.

    A class that is no dataclass, or holds more than plain values and functions, must declare
    `version` (and `parameters`, a mapping of plain values, where it has any).
    """
    name, version = reward_name(reward), getattr(reward, "version", None)
    if isinstance(reward, FunctionType):
        parameters, code = "", text_of(reward)
    else:
        parameters = _parameters(reward) or ""
        code = _class_code(type(reward)) if parameters and is_dataclass(reward) else None
    if version is None and code is None:
        return None
    return Identity(name, str(version) if version is not None else _digest(str(code)), parameters)


def text_of(value: Any) -> str | None:
    """Write a plain value or a function as a text that is the same in every process; None for
    anything else."""
    match value:
        case None | bool() | int() | float() | str() | bytes() | PurePath():
            return repr(value)
        case tuple() | list():
            return _joined(text_of(v) for v in value)
        case set() | frozenset():
            texts = [text_of(v) for v in value]
            return None if None in texts else _joined(sorted(map(str, texts)))
        case Mapping():
            return _joined(text_of(pair) for pair in sorted(value.items(), key=repr))
        case FunctionType():
            cells = tuple(cell.cell_contents for cell in value.__closure__ or ())
            made_with = text_of((value.__defaults__, value.__kwdefaults__, cells))
            return made_with and _digest(_source(value) + made_with)
        case _ if is_dataclass(value) and not isinstance(value, type):
            inside = _parameters(value)
            return inside and _digest(_class_code(type(value)) + inside)
        case _:
            return None


def _parameters(reward: Any) -> str | None:
    if is_dataclass(reward):
        return text_of({f.name: getattr(reward, f.name) for f in fields(reward) if f.init})
    return text_of(getattr(reward, "parameters", {}))


def _joined(texts: Iterable[str | None]) -> str | None:
    parts = list(texts)
    return None if None in parts else f"[{', '.join(map(str, parts))}]"


def _class_code(kind: type) -> str:
    """Code of every function that a class and its parents define."""
    found = []
    for owner in kind.__mro__[:-1]:
        for name, member in sorted(vars(owner).items()):
            function = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if isinstance(function, FunctionType):
                found.append(f"{name}:{_source(function)}")
    return "".join(found)


def _source(function: FunctionType) -> str:
    """Code of a function and of all that it names in its own module, each once."""
    found, left = dict[str, str](), [function]
    while left:
        one = left.pop()
        found[one.__qualname__] = _code(one.__code__)
        for name in _names(one.__code__):
            value = one.__globals__.get(name)
            if isinstance(value, FunctionType) and value.__module__ == function.__module__:
                left += [value] if value.__qualname__ not in found else []
            elif name.isupper() and (text := text_of(value)) is not None and value is not None:
                found[name] = text
    first = found.pop(function.__qualname__)
    return first + "".join(f"{name}={found[name]}" for name in sorted(found))


def _names(code: CodeType) -> Iterator[str]:
    """Names that code and the functions inside it look up."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _code(code: CodeType) -> str:
    """Instructions, names and constants: not the file it stands in, nor the line."""
    constants = [_code(c) if isinstance(c, CodeType) else text_of(c) or repr(c)
                 for c in code.co_consts]
    return f"{code.co_code.hex()}{code.co_names}{constants}"


def _digest(text: str) -> str:
    return "code " + hashlib.sha256(text.encode()).hexdigest()[:16]


__all__ = ["Identity", "identity", "text_of"]
