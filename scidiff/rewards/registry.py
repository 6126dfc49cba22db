"""Find a reward by name: entry points of group `scidiff.rewards`, and import paths.

An entry point loads a function (a reward), a class (a reward with parameters) or a mapping of
names to these. To publish one from another package, add to its pyproject.toml:

    [project.entry-points."scidiff.rewards"]
    my_score = "mypackage.scores:my_score"
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from scidiff.messages import in_a_line, nearest

GROUP = "scidiff.rewards"
FOREIGN = (Exception, SystemExit)
"""What code of others may raise as it loads: a syntax error, a missing library, even an exit."""


def installed() -> dict[str, Any]:
    """Every reward that can be named, name -> function or class.

    A plugin that does not load is left out; asking for it by name shows why.
    """
    return _survey()[0]


def unloaded() -> list[str]:
    """The plugins that do not load, each with its package and why."""
    return _survey()[1]


def find(name: str) -> Any | None:
    """Return the reward of that name, or None.

    Raises ValueError where the plugin that publishes it does not load.
    """
    for point in entry_points(group=GROUP, name=name):
        try:
            return _load(point).get(name)
        except FOREIGN as error:
            raise ValueError(f"reward {name!r} is published by {_failed(point, error)}"
                             ) from error
    return installed().get(name)


def from_path(path: str) -> Any:
    """Import "package.module:name".

    Raises ValueError where the module does not import or the name in it does not exist.
    """
    module_name, _, attribute = path.partition(":")
    try:
        module = import_module(module_name)
    except FOREIGN as error:
        raise ValueError(f"reward {path!r}: cannot import {module_name!r}: {in_a_line(error)}"
                         ) from error
    if not hasattr(module, attribute):
        raise ValueError(f"reward {path!r}: {module_name!r} has no {attribute!r}"
                         f"{nearest(attribute, vars(module))}")
    return getattr(module, attribute)


def _survey() -> tuple[dict[str, Any], list[str]]:
    """What loads, by name, and what does not."""
    found: dict[str, Any] = {}
    broken: list[str] = []
    for point in entry_points(group=GROUP):
        try:
            found.update(_load(point))
        except FOREIGN as error:  # one broken plugin must not hide the others
            broken.append(_failed(point, error))
    return found, broken


def _failed(point: EntryPoint, error: BaseException) -> str:
    package = f" of package {point.dist.name!r}" if point.dist else ""
    return f"{point.value!r}{package}, which does not load: {in_a_line(error)}"


def _load(point: EntryPoint) -> Mapping[str, Any]:
    loaded = point.load()
    return loaded if isinstance(loaded, Mapping) else {point.name: loaded}
