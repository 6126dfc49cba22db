"""Rewards of molecules in space: two structures of one molecule are two objects to them.

A reward whose value follows from the places of the atoms (strain, shape) declares `places = True`;
to it an object is its canonical form and where its atoms stand. Numpy and the standard library
only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scidiff.data.points import Points
from scidiff.data.records import Record
from scidiff.rewards.scores import terms

GRID = 1e-3  # angstrom: atoms that are nearer to each other stand in one place
_AT = " @ "  # in a key, between the canonical form and the places


def placed_terms(reward: Any) -> set[str]:
    """Terms of a reward that read the places of atoms: those that declare it, or all where the
    reward itself does."""
    return {source for source, term in terms(reward).items()
            if getattr(reward, "places", False) or getattr(term, "places", False)}


def key_with_places(key: Callable[[Record], str]) -> Callable[[Record], str]:
    """A key that tells structures of one object apart; records without places keep theirs."""
    return lambda record: (key(record) if record.points is None
                           else key(record) + _AT + digest(record.points))


def without_places(key: str) -> str:
    """The key of the object that a structure is one of."""
    return key.partition(_AT)[0]


def digest(points: Points) -> str:
    """What tells one structure from another: its atoms, and their places on a grid of .001
    angstrom."""
    held = points.numbers.tobytes() + np.rint(points.positions / GRID).astype(np.int64).tobytes()
    return hashlib.sha256(held).hexdigest()[:16]


def written(points: Points) -> list[Any]:
    """A structure as JSON holds it; `read` takes it back, bit for bit."""
    bonds = None if points.bonds is None else points.bonds.tolist()
    return [points.numbers.tolist(), points.positions.tolist(), points.charges.tolist(), bonds]


def read(held: Sequence[Any]) -> Points:
    """What `written` wrote."""
    return Points.of(*held)
