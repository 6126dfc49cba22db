"""Memory of designs: an object is worth less the more of its like have been found.

The memory is frozen while objects are scored and grows between rounds (`add`), so that within a
round the discounted score is a fixed function of the object and the laws of guided runs hold.
The idea of scaffold memories: Blaschke et al. 2020, J. Cheminformatics 12, 68.
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


@dataclass
class SameScaffold:
    """Molecules with one Murcko scaffold; those without rings share the empty one."""

    _counts: Counter[str] = field(default_factory=Counter, repr=False)

    def add(self, obj: Any) -> None:
        self._counts[scaffold(obj)] += 1

    def count(self, obj: Any) -> int:
        return self._counts[scaffold(obj)]


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


LIKENESS: Mapping[str, type[Any]] = {
    "scaffold": SameScaffold, "fingerprint": NearFingerprint, "edit": NearSequence}


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

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, objects: Sequence[Any]) -> list[float]:
        """Factors in [0, 1], one an object."""
        return [max(0.0, 1 - self._likeness.count(o) / self.bucket) for o in objects]

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
