"""Distance of two sets of molecular graphs by pairs of neighbourhoods, in time linear in both.

The kernel is the fast neighbourhood subgraph pairwise distance kernel (Costa and De Grave 2010)
with the conventions of EDeN, complexity 4, which Jo et al. 2022 and their successors print:

* A bond is a vertex between its atoms. Rings around an atom: ring 2s holds the atoms s bonds away,
  each as (label, number of bonds); ring 2s + 1 the bonds whose nearer end is s bonds away.
* The neighbourhood of radius r is the sequence of multisets of rings 0 .. 2r; it exists where
  ring 2r is not empty.
* For r, d = 0 .. 4 and every ordered pair of atoms at distance d that both have radius r, a
  feature counts the unordered pair of neighbourhoods, and a second one the neighbourhood of the
  second atom alone. Counts of one (r, d) are scaled to unit length, then the whole vector is.

Multisets and sequences are 64-bit hashes and features keep 52 bits of theirs; EDeN folds them into
16, which moves its values by about 1 % from one Python process to the next. With a linear kernel
MMD^2 is |mean a - mean b|^2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.data.canonical_graphs import mix
from scidiff.evaluation.intervals import SUBSETS

RADIUS = DISTANCE = 4
BLOCK = 128  # molecules at once: seven bits of a key while they are counted
CELLS = 1 << 21  # and at most so many pairs of atoms at once, to bound memory
_FAR = 127

Words = NDArray[np.uint64]
Sparse = tuple[Words, NDArray[np.float64]]  # sorted keys and values


class MeanMap:
    """Mean feature vector of molecules, apart for each of SUBSETS disjoint subsets.

    A Feature (see features.py). Memory grows with distinct features, 16 bytes each.
    """

    def __init__(self) -> None:
        self.seen = 0
        self._sums: list[list[Sparse]] = [[] for _ in range(SUBSETS)]
        self._whole: Sparse | None = None  # the mean of all, once it was asked for

    @classmethod
    def of(cls, mols: Iterable[Mol]) -> MeanMap:
        """Read molecules, each with at least one atom."""
        found = cls()
        found.add(list(mols))
        return found

    def add(self, mols: Sequence[Mol], keys: Sequence[str] = ()) -> None:
        """Add molecules, each with at least one atom; their names are not looked at."""
        start = 0
        while some := mols[start:start + BLOCK]:
            widest = max(m.GetNumAtoms() for m in some)
            some = some[:max(CELLS // widest**2, 1)]
            self._add(some)
            start += len(some)

    def _add(self, mols: Sequence[Mol]) -> None:
        row, key, value = features(mols)
        subset = (row + self.seen) % SUBSETS
        for s, sums in enumerate(self._sums):
            sums.append(_added([(key[subset == s], value[subset == s])]))
            # merging only once the rest has outgrown the first keeps the cost linear
            if sum(len(keys) for keys, _ in sums[1:]) > len(sums[0][0]):
                self._sums[s] = [_added(sums)]
        self.seen, self._whole = self.seen + len(mols), None

    def mean(self, subset: int | None = None) -> Sparse:
        """Mean feature vector of every m-th molecule, or of all of them."""
        if subset is None and self._whole is not None:
            return self._whole
        chosen = range(SUBSETS) if subset is None else [subset]
        count = sum(len(range(s, self.seen, SUBSETS)) for s in chosen)
        keys, sums = _added([part for s in chosen for part in self._sums[s]])
        if subset is None:
            self._whole = keys, sums / count
        return keys, sums / count

    def distance(self, other: MeanMap, subset: int | None = None) -> float:
        """MMD^2 of a subset, or of all, to all of another set: |mean a - mean b|^2."""
        (keys, a), (others, b) = self.mean(subset), other.mean()
        _, here, there = np.intersect1d(keys, others, True, True)
        return float(a @ a + b @ b - 2 * (a[here] @ b[there]))


def features(mols: Sequence[Mol]) -> tuple[NDArray[np.int64], Words, NDArray[np.float64]]:
    """Feature vectors of at most BLOCK molecules as rows, keys and values, of unit length."""
    parts = [(row.astype(np.uint64) << 57 | np.uint64(block << 52) | key >> 12)
             for row, block, key in _pairs(*_neighbourhoods(*_arrays(mols)))]
    found, count = np.unique(np.concatenate(parts), return_counts=True)
    each = (found >> 52).astype(np.int64)  # molecule and (r, d)
    lengths = np.sqrt(np.bincount(each, count**2))
    row = each >> 5
    blocks = np.bincount(np.unique(each) >> 5)
    return row, found & np.uint64(2**57 - 1), count / lengths[each] / np.sqrt(blocks[row])


def _added(vectors: Sequence[Sparse]) -> Sparse:
    """Sum of sparse vectors; equal keys of one vector are added too."""
    keys, at = np.unique(np.concatenate([k for k, _ in vectors]), return_inverse=True)
    weights = np.concatenate([v for _, v in vectors])
    return keys, np.bincount(at, weights, len(keys)).astype(np.float64)


def _arrays(mols: Sequence[Mol]) -> tuple[NDArray[np.int64], ...]:
    """Atomic numbers (B, N), 0 where there is none, and bonds (B, M, 3): two ends and a label
    from 1 on, 0 where there is none."""
    N, M = max(m.GetNumAtoms() for m in mols), max(m.GetNumBonds() for m in mols)
    atoms = np.zeros((len(mols), N), np.int64)
    bonds = np.zeros((len(mols), M, 3), np.int64)
    for b, mol in enumerate(mols):
        atoms[b, :mol.GetNumAtoms()] = [a.GetAtomicNum() + 1 for a in mol.GetAtoms()]
        for m, bond in enumerate(mol.GetBonds()):
            # an aromatic bond has order 1.5 and gets the label of a single one, as published
            label = int(bond.GetBondTypeAsDouble()) + 1
            bonds[b, m] = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), label
    return atoms, bonds


def _neighbourhoods(
    atoms: NDArray[np.int64], bonds: NDArray[np.int64]
) -> tuple[list[Words], list[NDArray[np.bool_]], NDArray[np.int8]]:
    """Hash (B, N) of the neighbourhood of every atom for each radius, where it exists, and
    distances (B, N, N)."""
    there, real = atoms > 0, bonds[..., 2] > 0
    distance, degree = _distances(there, bonds)
    atom = mix(_salted(atoms, 1) + _salted(degree, 2))
    bond = mix(_salted(bonds[..., 2], 3))
    rows = np.arange(len(atoms))[:, None]
    # bonds (B, M) by the distance of their nearer end to atoms (B, N): (B, M, N)
    nearer = np.minimum(distance[rows, bonds[..., 0]], distance[rows, bonds[..., 1]])
    nearer[~real] = _FAR
    around, exists = [], []
    word = np.zeros(atoms.shape, np.uint64)
    for r in range(RADIUS + 1):
        at, step = distance == r, np.array([r])
        ring = np.where(at, atom[:, None], 0).sum(2, dtype=np.uint64)
        word = mix(mix(word) + _salted(step, 4) + ring)
        around.append(word)
        exists.append(at.any(2) & there)
        ring = np.where(nearer == r, bond[..., None], 0).sum(1, dtype=np.uint64)
        word = mix(mix(word) + _salted(step, 5) + ring)
    return around, exists, distance


def _distances(
    there: NDArray[np.bool_], bonds: NDArray[np.int64]
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Bonds between atoms up to the largest that is asked for, _FAR beyond, and degrees (B, N)."""
    B, N = there.shape
    joined = np.zeros((B, N, N), np.float32)
    b, m = np.nonzero(bonds[..., 2])
    joined[b, bonds[b, m, 0], bonds[b, m, 1]] = joined[b, bonds[b, m, 1], bonds[b, m, 0]] = 1
    front = np.eye(N, dtype=np.float32) * there[:, :, None]
    distance = np.where(front > 0, 0, _FAR).astype(np.int8)
    for step in range(1, max(RADIUS, DISTANCE) + 1):
        front = ((front @ joined > 0) & (distance == _FAR)).astype(np.float32)
        distance[front > 0] = step
    return distance, joined.sum(2).astype(np.int64)


def _pairs(
    around: list[Words], exists: list[NDArray[np.bool_]], distance: NDArray[np.int8]
) -> Iterator[tuple[NDArray[np.int64], int, Words]]:
    """Molecule, number of (r, d), and key, of every pair feature and every single one."""
    for d in range(DISTANCE + 1):
        b, v, u = np.nonzero(distance == d)
        for r in range(RADIUS + 1):
            both = exists[r][b, v] & exists[r][b, u]
            row, first, second = b[both], around[r][b, v][both], around[r][b, u][both]
            block = r * (DISTANCE + 1) + d
            yield row, block, mix(mix(first) + mix(second))
            yield row, block, mix(mix(mix(second)))


def _salted(x: NDArray[np.int64], salt: int) -> Words:
    """Words of small whole numbers, unrelated for different salts below 16."""
    return mix(x.astype(np.uint64) * np.uint64(16) + np.uint64(salt))
