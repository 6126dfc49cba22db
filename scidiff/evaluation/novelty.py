"""What novelty is measured against: the training set at hand, or all of one in 11 bits an object.

A Bloom filter (Bloom 1970): a key sets k bits of m; a query is known where all of its k bits are
set. No key is ever missed; a new object is taken for known with probability (bits set / m)^k,
about 0.5 % at 11 bits a key, so that observed novelty is low by that factor and can be corrected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from scidiff.files import replacing

BITS_PER_KEY = 11
HASHES = 8  # near the optimum 11 ln 2
FORMAT, FORMAT_SET = "scidiff-novelty-1", "scidiff-known-1"
_CHUNK = 1 << 18


class Known(Protocol):
    """What novelty is measured against; one that errs also has a `false_positive_rate`."""

    def contains(self, keys: Sequence[str]) -> NDArray[np.bool_]: ...


@dataclass(frozen=True)
class KnownSet:
    """A training set as 64-bit hashes, 8 bytes a key: wrong once in 10^19 / size keys."""

    hashes: NDArray[np.uint64]  # sorted, no repeats
    name: str

    @classmethod
    def build(cls, keys: Iterable[str], name: str) -> KnownSet:
        return cls(np.unique(_hash(keys)), name)

    @property
    def size(self) -> int:
        return len(self.hashes)

    def contains(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        """Say which keys are in the training set, (B,) bool."""
        return np.isin(_hash(keys), self.hashes, kind="sort")

    def save(self, path: str | Path) -> None:
        """Write an npz file, whole or not at all."""
        with replacing(path) as file:
            np.savez(file, hashes=self.hashes, name=self.name, format=FORMAT_SET)

    @classmethod
    def load(cls, path: str | Path) -> KnownSet:
        """Read a file written by `save`. Raises ValueError where it is something else."""
        with _opened(path, FORMAT_SET, "set of known objects") as file:
            return cls(file["hashes"], str(file["name"]))


@dataclass(frozen=True)
class NoveltyFilter:
    """Compact set of keys (canonical SMILES, sequences): build once, ask, save, load."""

    bits: NDArray[np.uint8]  # (m / 8,) packed
    size: int  # keys it was built from, repeats not counted
    form: str = "canonical SMILES"  # how keys are written, to be matched by who asks
    name: str = ""  # of the training set, where known

    @classmethod
    def build(cls, keys: Iterable[str], form: str = "canonical SMILES", name: str = ""
              ) -> NoveltyFilter:
        """Make the filter of a training set. Raises ValueError for an empty one."""
        hashes = np.unique(_hash(keys))
        if not len(hashes):
            raise ValueError("a novelty filter needs at least one key, got none")
        set_bits = np.zeros(-(-len(hashes) * BITS_PER_KEY // 8) * 8, np.bool_)
        for start in range(0, len(hashes), _CHUNK):
            set_bits[_positions(hashes[start:start + _CHUNK], len(set_bits))] = True
        return cls(np.packbits(set_bits, bitorder="little"), len(hashes), form, name)

    def contains(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        """Say which keys are in the training set, (B,) bool; never False for one that is."""
        found = np.ones(len(keys), np.bool_)
        for start in range(0, len(keys), _CHUNK):
            at = _positions(_hash(keys[start:start + _CHUNK]), 8 * len(self.bits))
            hit = self.bits[at >> 3] >> (at & 7).astype(np.uint8) & 1
            found[start:start + _CHUNK] = hit.all(1)
        return found

    @property
    def false_positive_rate(self) -> float:
        """Probability that a new object is taken for a known one."""
        return float(np.bitwise_count(self.bits).sum() / (8 * len(self.bits))) ** HASHES

    def save(self, path: str | Path) -> None:
        """Write an npz file, whole or not at all."""
        with replacing(path) as file:
            np.savez(file, bits=self.bits, size=self.size, form=self.form, name=self.name,
                     format=FORMAT)

    @classmethod
    def load(cls, path: str | Path) -> NoveltyFilter:
        """Read a file written by `save`. Raises ValueError where it is something else."""
        with _opened(path, FORMAT, "novelty filter") as file:
            name = str(file["name"]) if "name" in file.files else ""  # older files have none
            return cls(file["bits"], int(file["size"]), str(file["form"]), name)


@contextmanager
def _opened(path: str | Path, form: str, what: str) -> Iterator[NpzFile]:
    """Open an npz file of one format; anything else is a ValueError that names the file."""
    try:
        # numpy leaves a broken archive open unless the file is ours to close
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if str(file["format"]) != form:
                raise KeyError(str(file["format"]))
            yield file
    except (KeyError, ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} is not a {what} ({form}): {error}") from error


def _hash(keys: Iterable[str]) -> NDArray[np.uint64]:
    """Stable 64-bit hashes, (B,): the same on every machine and in every version of Python."""
    digests = b"".join(hashlib.blake2b(k.encode(), digest_size=8).digest() for k in keys)
    return np.frombuffer(digests, "<u8")


def _positions(hashes: NDArray[np.uint64], m: int) -> NDArray[np.int64]:
    """k bit positions a key, (B, k), by double hashing (Kirsch and Mitzenmacher 2006)."""
    first = (hashes & np.uint64(0xFFFFFFFF)).astype(np.int64)
    second = (hashes >> np.uint64(32)).astype(np.int64) | 1
    return (first[:, None] + np.arange(HASHES) * second[:, None]) % m
