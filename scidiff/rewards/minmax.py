"""The min-max kernel on counts, and what is counted in molecules, sequences and graphs.

    minmax(counted("molecule", mols), counted("molecule", others))       # (A, B) in [0, 1]

    k(x, y) = sum_f min(x_f, y_f) / sum_f max(x_f, y_f)

is Tanimoto's similarity on counts and a positive definite kernel (Ralaivola et al. 2005, Neural
Networks 18, 1093). Counts are written in unary, so that sum_f min(x_f, y_f) is the number of codes
that two objects share: a product of sparse matrices of ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scidiff.data.canonical_graphs import mix
from scidiff.messages import nearest

Words = NDArray[np.uint64]
Rows = NDArray[np.int64]
KMER = 4  # letters of the longest counted word
HOPS = 3  # neighbours of neighbours of neighbours: what a graph's labels see
COMMON = 0.05  # share of objects with a code from which sparse products cost more than dense ones
CHUNK = 1024  # codes that are dense at once


@dataclass(frozen=True)
class Counts:
    """Counts of the features of B objects: a feature with count c is the c codes of (feature, 1)
    .. (feature, c), hashed to 64 bits."""

    codes: Words  # (M,)
    rows: Rows  # (M,) the object of each code, ascending
    size: int  # B

    @classmethod
    def of(cls, rows: Rows, features: Words, counts: Rows, size: int) -> Counts:
        """Write `counts` (M,) of `features` (M,), distinct within each of `rows` (M,)."""
        order = np.argsort(rows, kind="stable")
        rows, features, counts = rows[order], features[order], counts[order]
        first = np.repeat(counts.cumsum() - counts, counts)
        nth = (np.arange(len(first)) - first).astype(np.uint64)
        return cls(np.repeat(mix(features), counts) + nth, np.repeat(rows, counts), size)

    @classmethod
    def of_tables(cls, tables: Sequence[Mapping[int, int]]) -> Counts:
        """Write one mapping feature -> count an object."""
        lengths = [len(t) for t in tables]
        rows = np.repeat(np.arange(len(tables)), lengths)
        features = np.array([f for t in tables for f in t], np.uint64)
        counts = np.array([c for t in tables for c in t.values()], np.int64)
        return cls.of(rows, features, counts, len(tables))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, rows: Rows) -> Counts:
        """Take objects `rows` (A,), repeats allowed."""
        lengths = np.bincount(self.rows, minlength=self.size)
        starts, taken = lengths.cumsum() - lengths, lengths[rows]
        inside = np.arange(taken.sum()) - np.repeat(taken.cumsum() - taken, taken)
        return Counts(self.codes[np.repeat(starts[rows], taken) + inside],
                      np.repeat(np.arange(len(rows)), taken), len(rows))

    def totals(self) -> Tensor:
        """How much was counted in each object, (B,) float64."""
        return torch.from_numpy(np.bincount(self.rows, minlength=self.size)).double()


def minmax(a: Counts, b: Counts) -> Tensor:
    """k of all pairs, (A, B) float64; two objects without a feature are alike."""
    shared = _shared(a, b)
    either = a.totals()[:, None] + b.totals() - shared
    return torch.where(either > 0, shared / either.clamp_min(1), 1.0)


def _shared(a: Counts, b: Counts) -> Tensor:
    """How many codes objects share, (A, B) float64: a product of dense matrices for common codes,
    of a sparse and a dense one for the others."""
    known, times = np.unique(b.codes, return_counts=True)
    common = times > COMMON * len(b)
    found = torch.zeros(len(a), len(b))  # whole numbers far below 2^24
    for codes in np.split(known[common], range(CHUNK, int(common.sum()), CHUNK)):
        found += _dense(a, codes).T @ _dense(b, codes)
    rare = np.intersect1d(a.codes, known[~common])
    rows, columns = _columns(a, rare)
    sparse = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([rows, columns])), torch.ones(len(rows)), (len(a), len(rare)),
        check_invariants=False,
    )  # fmt: skip
    if len(rare):
        found += torch.sparse.mm(sparse, _dense(b, rare))
    return found.double()


def _dense(counts: Counts, known: Words) -> Tensor:
    """Which objects have which of the codes, (len(known), B) of ones and zeros."""
    rows, columns = _columns(counts, known)
    table = torch.zeros(len(known), len(counts))
    table[columns, rows] = 1.0
    return table


def _columns(counts: Counts, known: Words) -> tuple[Rows, Rows]:
    """Objects and columns of the codes that are `known` (sorted)."""
    place = np.searchsorted(known, counts.codes)
    there = place < len(known)
    there[there] = known[place[there]] == counts.codes[there]
    return counts.rows[there], place[there]


# ---------------------------------------------------------------- what is counted


def counted(kind: str, objects: Sequence[Any]) -> Counts:
    """Count the features of objects of a kind: Morgan environments up to radius 2 of molecules
    (RDKit's, or SMILES); words of 1 to 4 letters of sequences, wherever they stand, or, of
    "aligned sequence", also which letter stands where; Weisfeiler-Lehman labels of graphs
    (networkx, or as text).

    Raises ValueError naming the nearest kind, or a text that cannot be read.
    """
    if kind not in FEATURES:
        raise ValueError(f"features of {kind!r} are not known{nearest(kind, FEATURES)}; expected "
                         f"one of {', '.join(FEATURES)}")
    return FEATURES[kind](objects)


def _environments(mols: Sequence[Any]) -> Counts:
    """Morgan environments of radius 0, 1, 2 (Rogers and Hahn 2010), unfolded."""
    from scidiff.chem.molecules import as_mol
    from scidiff.rewards.fingerprints import fingerprint

    make, tables = fingerprint("ECFP4", counts=True), []
    for row, given in enumerate(mols):
        mol = as_mol(given)
        if mol is None:
            raise ValueError(f"object {row}: {given!r} is no SMILES that RDKit reads")
        tables.append(make(mol).GetNonzeroElements())
    return Counts.of_tables(tables)


def _words(sequences: Sequence[str]) -> Counts:
    return _tallied(_word_codes(sequences), len(sequences))


def _aligned(sequences: Sequence[str]) -> Counts:
    letters, rows, place = _letters(sequences)
    marked = np.uint64(1 << 40) + (place.astype(np.uint64) << np.uint64(8)) + letters
    return _tallied([*_word_codes(sequences), (rows, marked)], len(sequences))


def _letters(sequences: Sequence[str]) -> tuple[Words, Rows, Rows]:
    """Letters, their rows and their places, one after the other."""
    text = np.frombuffer("".join(sequences).encode("ascii", "replace"), np.uint8)
    lengths = np.array([len(s) for s in sequences], np.int64)
    rows = np.repeat(np.arange(len(sequences)), lengths)
    place = np.arange(len(text)) - np.repeat(lengths.cumsum() - lengths, lengths)
    return text.astype(np.uint64), rows, place


def _word_codes(sequences: Sequence[str]) -> list[tuple[Rows, Words]]:
    """Rows and codes of all words of 1 .. KMER letters; a letter is never 0, so words of
    different lengths differ."""
    letters, rows, _ = _letters(sequences)
    codes, found = np.zeros(len(letters) + 1, np.uint64), []
    for k in range(1, KMER + 1):
        codes = (codes[:-1] << np.uint64(8)) + letters[k - 1:]
        whole = rows[: len(codes)] == rows[k - 1:]
        found.append((rows[: len(codes)][whole], codes[whole]))
    return found


def _tallied(parts: Sequence[tuple[Rows, Words]], size: int) -> Counts:
    """Count how often each code stands in each row."""
    rows = np.concatenate([r for r, _ in parts])
    codes, names = np.unique(np.concatenate([c for _, c in parts]), return_inverse=True)
    pairs, counts = np.unique(rows * len(codes) + names, return_counts=True)
    at, which = np.divmod(pairs, max(len(codes), 1))
    return Counts.of(at, codes[which], counts, size)


def _labels(graphs: Sequence[Any]) -> Counts:
    """Labels of nodes after 0 .. HOPS rounds of Weisfeiler and Lehman's refinement (Shervashidze
    et al. 2011), node and edge types included."""
    from scidiff.data.graph_exchange import symbols
    from scidiff.data.graph_text import parse

    found = []
    for row, graph in enumerate(graphs):
        names, edges = parse(graph) if isinstance(graph, str) else symbols(graph)
        source, target = np.nonzero(edges)
        kind = mix(edges[source, target].astype(np.uint64))
        label = np.array([_name(n) for n in names], np.uint64)
        for hop in range(HOPS + 1):
            found.append((np.full(len(label), row), mix(label + np.uint64(hop))))
            around = np.zeros(len(label), np.uint64)
            np.add.at(around, source, mix(label[target] ^ kind))
            label = mix(mix(label) + around)
    return _tallied(found or [(np.zeros(0, np.int64), np.zeros(0, np.uint64))], len(graphs))


@lru_cache(maxsize=1024)
def _name(symbol: str) -> int:
    """A word for a node type that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(symbol.encode(), digest_size=8).digest())


FEATURES: Mapping[str, Callable[[Sequence[Any]], Counts]] = {
    "molecule": _environments, "sequence": _words, "aligned sequence": _aligned,
    "graph": _labels,
}
