"""Memory of designs: an object is worth less the more of its like have been found.

The memory is frozen while objects are scored and grows between rounds (`add`), so that within a
round the discounted score is a fixed function of the object and the laws of guided runs hold.
The idea of scaffold memories: Blaschke et al. 2020, J. Cheminformatics 12, 68.

`among` gives factors for a resampling rule instead, which leave scores and laws as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rdkit.DataStructs import BulkTanimotoSimilarity

from scidiff.data.alignment import edit_distances
from scidiff.messages import nearest
from scidiff.rewards.fingerprints import fingerprint
from scidiff.rewards.novelty import scaffold


class Likeness(Protocol):
    """Which remembered objects an object is like."""

    def add(self, obj: Any) -> None: ...

    def count(self, obj: Any) -> int:
        """Number of remembered objects that are like this one."""
        ...

    def alike(self, objects: Sequence[Any]) -> NDArray[np.bool_]:
        """Which of these objects are like each other, (B, B)."""
        ...


@dataclass
class SameScaffold:
    """Molecules with one Murcko scaffold; those without rings share the empty one."""

    _counts: Counter[str] = field(default_factory=Counter, repr=False)

    def add(self, obj: Any) -> None:
        self._counts[scaffold(obj)] += 1

    def count(self, obj: Any) -> int:
        return self._counts[scaffold(obj)]

    def alike(self, objects: Sequence[Any]) -> NDArray[np.bool_]:
        names = np.array([scaffold(obj) for obj in objects], dtype=object)
        return names[:, None] == names


@dataclass
class NearFingerprint:
    """Molecules with a Tanimoto similarity (ECFP4 bits) of at least `threshold`."""

    threshold: float = 0.6
    _prints: list[Any] = field(default_factory=list, repr=False)

    def add(self, obj: Any) -> None:
        self._prints.append(fingerprint("ECFP4")(obj))

    def count(self, obj: Any) -> int:
        found = BulkTanimotoSimilarity(fingerprint("ECFP4")(obj), self._prints)
        return sum(t >= self.threshold for t in found)

    def alike(self, objects: Sequence[Any]) -> NDArray[np.bool_]:
        prints = [fingerprint("ECFP4")(obj) for obj in objects]
        rows = [BulkTanimotoSimilarity(one, prints) for one in prints]
        return np.array(rows, dtype=float).reshape(len(prints), -1) >= self.threshold


@dataclass
class NearSequence:
    """Sequences with an edit distance of at most `threshold` times the longer length."""

    threshold: float = 0.2
    _texts: list[str] = field(default_factory=list, repr=False)

    def add(self, obj: Any) -> None:
        self._texts.append(obj)

    def count(self, obj: Any) -> int:
        lengths = np.array([len(t) for t in self._texts], dtype=np.int64)
        longer = np.maximum(lengths, len(obj))
        # a difference in length is a lower bound of the distance
        near = np.abs(lengths - len(obj)) <= self.threshold * longer
        chosen = [t for t, n in zip(self._texts, near, strict=True) if n]
        found = text_distances(obj, chosen)
        return int((found <= self.threshold * longer[near]).sum())

    def alike(self, objects: Sequence[Any]) -> NDArray[np.bool_]:
        lengths = np.array([len(t) for t in objects], dtype=np.int64)
        rows = [text_distances(text, objects) for text in objects]
        distances = np.array(rows, dtype=np.int64).reshape(len(rows), -1)
        return distances <= self.threshold * np.maximum(lengths[:, None], lengths)


LEAST = 0.05  # the factor of a particle with however many of its like: none becomes impossible

LIKENESS: Mapping[str, type[Any]] = {
    "scaffold": SameScaffold, "fingerprint": NearFingerprint, "edit": NearSequence}
COMPARED: Mapping[str, str] = {
    "scaffold": "molecule", "fingerprint": "molecule", "edit": "sequence"}
"""The kind of object that each likeness compares."""


class DiversityMemory:
    """Discount max(0, 1 - count / bucket) of an object that is like `count` remembered ones.

    `like` is scaffold, fingerprint or edit, `threshold` as for that likeness. Objects that were
    given to `add` count, those of the batch being scored do not.
    """

    def __init__(self, like: str = "scaffold", bucket: int = 25,
                 threshold: float | None = None) -> None:
        if like not in LIKENESS:
            raise ValueError(f"unknown likeness {like!r}{nearest(like, LIKENESS)}; expected one "
                             f"of {', '.join(LIKENESS)}")
        if bucket < 1:
            raise ValueError(f"bucket must be at least 1, got {bucket}")
        if threshold is not None and (like == "scaffold" or not 0 <= threshold <= 1):
            raise ValueError("threshold must lie in [0, 1] and belongs to fingerprint and edit, "
                             f"got {threshold} for {like}")
        self.like, self.bucket, self.threshold = like, bucket, threshold
        given = {} if threshold is None else {"threshold": threshold}
        self._likeness: Likeness = LIKENESS[like](**given)
        self._known: dict[str, Any] = {}

    def check(self, kind: str) -> None:
        """Raise ValueError where objects of this kind are not what is compared."""
        if COMPARED[self.like] != kind:
            fit = [like for like, of in COMPARED.items() if of == kind]
            raise ValueError(f"a memory of like {self.like!r} compares objects of the kind "
                             f"{COMPARED[self.like]}, got a model of the kind {kind}, for which "
                             f"there is {' or '.join(map(repr, fit)) or 'none'}")

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, objects: Sequence[Any]) -> list[float]:
        """Factors in [0, 1], one an object."""
        return [max(0.0, 1 - self._likeness.count(o) / self.bucket) for o in objects]

    def among(self, objects: Sequence[Any], copies: Sequence[float]) -> list[float]:
        """Factors in (0, 1] of the particles of one population of which resampling would make so
        many `copies`: room / (expected copies of all that are like it), where that is below 1,
        room being what is left of the bucket beside the remembered ones. Where an object is not
        known (None) the factor is 1.
        """
        rows = [i for i, obj in enumerate(objects) if obj is not None]
        known, out = [objects[i] for i in rows], [1.0] * len(objects)
        expected = self._likeness.alike(known) @ np.array(copies, dtype=float)[rows]
        for i, obj, number in zip(rows, known, expected.tolist(), strict=True):
            room = self.bucket - self._likeness.count(obj)
            out[i] = max(LEAST, 1.0 if room >= number else room / number)
        return out

    def add(self, objects: Mapping[str, Any]) -> None:
        """Remember objects by their canonical key; one that is known counts once."""
        for key, obj in objects.items():
            if key not in self._known:
                self._known[key] = obj
                self._likeness.add(obj)

    @property
    def keys(self) -> tuple[str, ...]:
        """Canonical keys in the order they were added: all that a checkpoint needs."""
        return tuple(self._known)


def text_distances(word: str, others: Iterable[str]) -> NDArray[np.int64]:
    """Levenshtein distances of a word to B others, (B,)."""
    texts = list(others)
    lengths = np.array([len(t) for t in texts], dtype=np.int64)
    width = int(lengths.max(initial=0))
    rows = [[*map(ord, t)] + [-1] * (width - len(t)) for t in texts]
    ids = np.array(rows, dtype=np.int64).reshape(len(texts), width)
    return edit_distances(np.array([*map(ord, word)], dtype=np.int64), ids, lengths)
