"""The frontier of a model: settings that were measured, what they give and what they cost.

A point is a dictionary: settings, distance (value, low, high; smaller is better) and its metric,
valid (value, low, high), and what a row costs: evaluations (network calls) and seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scidiff.core import ScidiffError
from scidiff.messages import nearest

Point = Mapping[str, Any]


class NoFrontier(ScidiffError):
    """A choice by quality or time that the model's measurements do not answer."""


def undominated(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in cost and distance, the cheapest first.

    Those with less than nine tenths of the best share of valid rows are left out: what is measured
    of few rows says little of all.
    """
    most = max((p["valid"][0] for p in points), default=0.0)
    kept: list[Point] = []
    worthy = [p for p in points if p["valid"][0] >= 0.9 * most]
    for point in sorted(worthy, key=lambda p: (p["seconds"], p["distance"][0])):
        if not kept or point["distance"][0] < kept[-1]["distance"][0]:
            kept.append(point)
    return kept


def _best(points: Sequence[Point]) -> Point:
    return min(points, key=lambda p: p["distance"][0])


def _balanced(points: Sequence[Point]) -> Point:
    """The cheapest that cannot be told from the best."""
    best = _best(points)["distance"]
    return next(p for p in points if p["distance"][0] <= best[2] or p["distance"][1] <= best[0])


def _cheapest(points: Sequence[Point]) -> Point:
    return points[0]


QUALITIES = {"draft": _cheapest, "balanced": _balanced, "exact": _best}


def choose(
    found: Mapping[str, Any] | None,
    model: str,
    n: int,
    quality: str | None,
    seconds: float | None,
) -> dict[str, Any]:
    """The settings of a quality, or the best that draw n rows in `seconds`; {} where neither is
    asked for."""
    if quality is None and seconds is None:
        return {}
    if quality is not None and seconds is not None:
        raise ValueError(f"give quality or seconds, got both: {quality!r} and {seconds}")
    if quality is not None and quality not in QUALITIES:
        raise ValueError(
            f"quality must be one of {', '.join(QUALITIES)}, got {quality!r}"
            f"{nearest(quality, QUALITIES)}"
        )
    if not found or not found.get("points"):
        raise NoFrontier(
            f"{model} has no frontier to choose from: `scidiff tune` measures one, or give the "
            "settings themselves"
        )
    points = undominated(found["points"])
    if quality is not None:
        return dict(QUALITIES[quality](points)["settings"])
    return dict(_within(points, model, n, float(seconds or 0))["settings"])


def _within(points: Sequence[Point], model: str, n: int, seconds: float) -> Point:
    fast = [p for p in points if n * p["seconds"] <= seconds]
    if not fast:
        least = n * min(p["seconds"] for p in points)
        raise NoFrontier(
            f"{model} cannot draw {n:,} rows in {seconds:g} s: its fastest settings need about "
            f"{least:.3g} s"
        )
    return _best(fast)
