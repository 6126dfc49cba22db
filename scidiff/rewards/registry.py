"""Find a reward by name: entry points of group `scidiff.rewards`, and import paths.

An entry point loads a function (a reward), a class (a reward with parameters) or a mapping of
names to these. To publish one from another package, add to its pyproject.toml:

    [project.entry-points."scidiff.rewards"]
    my_score = "mypackage.scores:my_score"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from scidiff.messages import nearest

GROUP = "scidiff.rewards"


def installed() -> dict[str, Any]:
    """Every reward that can be named, name -> function or class.

    A plugin that does not import is left out; asking for it by name shows why.
    """
    found: dict[str, Any] = {}
    for point in entry_points(group=GROUP):
        try:
            found.update(_load(point))
        except (ImportError, AttributeError):
            continue  # one broken plugin must not hide the others
    return found


def find(name: str) -> Any | None:
    """Return the reward of that name, or None.

    Raises ValueError where the plugin that publishes it cannot be imported.
    """
    for point in entry_points(group=GROUP, name=name):
        try:
            return _load(point).get(name)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"reward {name!r} is published by {point.value!r}, which does not "
                             f"import: {error}") from error
    return installed().get(name)


def from_path(path: str) -> Any:
    """Import "package.module:name".

    Raises ValueError where the module or the name in it does not exist.
    """
    module_name, _, attribute = path.partition(":")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise ValueError(f"reward {path!r}: cannot import {module_name!r}: {error}") from error
    if not hasattr(module, attribute):
        raise ValueError(f"reward {path!r}: {module_name!r} has no {attribute!r}"
                         f"{nearest(attribute, vars(module))}")
    return getattr(module, attribute)


def listed(names: Iterable[str], most: int = 32) -> str:
    """Write names for a message of one line; of very many the first and where to find the rest."""
    known = sorted(names)
    if len(known) <= most:
        return ", ".join(known)
    return f"{', '.join(known[:most])}, ... ({len(known)}: scidiff.rewards.registry.installed())"


def _load(point: EntryPoint) -> Mapping[str, Any]:
    loaded = point.load()
    return loaded if isinstance(loaded, Mapping) else {point.name: loaded}
