"""What messages about names have in common."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> str:
    """Suggest known names that are spelled like `name`, whatever their case, as the end of a
    message; empty where none is similar by `cutoff` in [0, 1]."""
    close = closest(name, known, most=most, cutoff=cutoff)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def in_a_line(error: BaseException) -> str:
    """An error of anybody's as one line: its class and what it says."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def listed(names: Iterable[str], most: int = 12, where: str = "") -> str:
    """Names in a row; where there are more than `most` the first ones, how many there are, and
    `where` to find them."""
    found = list(names)
    rest = f"{len(found):,} in all{where and ': '}{where}"
    more = f", ... ({rest})" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def closest(
    name: object, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6
) -> list[str]:
    """The known names most like `name`, best first."""
    folded = {k.lower(): k for k in known}
    found = difflib.get_close_matches(str(name).lower(), folded, n=most, cutoff=cutoff)
    return [folded[k] for k in found]
