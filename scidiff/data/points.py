"""Atoms in space: one molecule, a packed table of many on disk, and the padded state of a batch.

Positions are in angstrom wherever a person meets them; a state may be in the units of its model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot, pad

from scidiff.core import Rng, Stacked, uniform
from scidiff.data.graphs import NodeCounts

Parts = tuple[Tensor, ...]
_ATOMS = {"counts", "numbers", "positions", "charges"}  # of a table; what else there is is bonds


@dataclass(frozen=True)
class Points:
    """One molecule in space: its atoms, where they are, and its bonds if they are known."""

    numbers: NDArray[np.int64]  # (n,) atomic numbers
    positions: NDArray[np.float64]  # (n, 3) angstrom
    charges: NDArray[np.int64]  # (n,) formal charges
    bonds: NDArray[np.int64] | None = None  # (n, n) kekulised orders, symmetric; None: unknown

    def __post_init__(self) -> None:
        n = len(self.numbers)
        expected = {"numbers": (n,), "positions": (n, 3), "charges": (n,), "bonds": (n, n)}
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape:
                raise ValueError(
                    f"{name} must be {shape} to match {n} atoms, got {np.shape(value)}"
                )

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def of(cls, numbers: Any, positions: Any, charges: Any = None, bonds: Any = None) -> Self:
        """Take anything that numpy reads as these arrays; no charges are charges of zero."""
        numbers = np.asarray(numbers, np.int64)
        charges = np.zeros_like(numbers) if charges is None else np.asarray(charges, np.int64)
        bonds = None if bonds is None else np.asarray(bonds, np.int64)
        return cls(numbers, np.asarray(positions, np.float64), charges, bonds)

    def problem(self) -> str:
        """Say in one line why these are no atoms in space; "" if they are."""
        if len(self) == 0:
            return "has no atoms"
        wrong = np.flatnonzero(~np.isfinite(self.positions).all(1))
        if len(wrong):
            return f"has {self.positions[wrong[0]].tolist()} as the position of atom {wrong[0]}"
        if self.bonds is not None and (self.bonds != self.bonds.T).any():
            return "has bonds that are not symmetric"
        return ""


# ---------------------------------------------------------------- many molecules


@dataclass(frozen=True)
class PackedPoints:
    """Molecules one after another: B of them with M atoms and P bonds in all."""

    counts: NDArray[np.int64]  # (B,) atoms of each
    numbers: NDArray[np.uint8]  # (M,)
    positions: NDArray[np.float32]  # (M, 3) angstrom
    charges: NDArray[np.int8]  # (M,)
    bond_counts: NDArray[np.int64] | None = None  # (B,) bonds of each; None: unknown
    pairs: NDArray[np.int16] | None = None  # (P, 2) atoms of a bond, counted in their molecule
    orders: NDArray[np.uint8] | None = None  # (P,)

    def __post_init__(self) -> None:
        M = int(self.counts.sum())
        for name, shape in (("numbers", (M,)), ("positions", (M, 3)), ("charges", (M,))):
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"{name} must be {shape} for {M} atoms, got {getattr(self, name).shape}"
                )
        known = [v is not None for v in (self.bond_counts, self.pairs, self.orders)]
        if any(known) != all(known):
            raise ValueError("bond_counts, pairs and orders belong together, got some of them")

    def __len__(self) -> int:
        return len(self.counts)

    @classmethod
    def of(cls, molecules: Sequence[Points]) -> Self:
        """Pack molecules; bonds are kept where every molecule has them."""
        if not molecules:
            raise ValueError("there is nothing to pack: 0 molecules")
        atoms = (
            np.array([len(m) for m in molecules], np.int64),
            np.concatenate([m.numbers for m in molecules]).astype(np.uint8),
            np.concatenate([m.positions for m in molecules]).astype(np.float32),
            np.concatenate([m.charges for m in molecules]).astype(np.int8),
        )
        bonded = [m.bonds for m in molecules if m.bonds is not None]
        if len(bonded) < len(molecules):
            return cls(*atoms)
        ends = [np.argwhere(np.triu(b, 1)) for b in bonded]
        orders = [b[tuple(e.T)] for b, e in zip(bonded, ends, strict=True)]
        return cls(
            *atoms,
            np.array([len(e) for e in ends], np.int64),
            np.concatenate(ends).astype(np.int16),
            np.concatenate(orders).astype(np.uint8),
        )

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Tables one after another; bonds are kept where every one has them."""
        columns = {f.name: [getattr(p, f.name) for p in parts] for f in fields(cls)}
        known = all(counts is not None for counts in columns["bond_counts"])
        names = [name for name in columns if known or name in _ATOMS]
        return cls(**{name: np.concatenate(columns[name]) for name in names})

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where the atoms of each molecule begin, (B + 1,)."""
        return np.concatenate([[0], self.counts.cumsum()])

    @cached_property
    def bond_starts(self) -> NDArray[np.int64]:
        """Where the bonds of each molecule begin, (B + 1,); all 0 where they are unknown."""
        counts = np.zeros_like(self.counts) if self.bond_counts is None else self.bond_counts
        return np.concatenate([[0], counts.cumsum()])

    def __getitem__(self, row: int) -> Points:
        """One molecule."""
        atoms, bonds = slice(*self.starts[row : row + 2].tolist()), None
        if self.pairs is not None and self.orders is not None:
            own = slice(*self.bond_starts[row : row + 2].tolist())
            bonds = np.zeros((int(self.counts[row]),) * 2, np.int64)
            i, j = self.pairs[own].T
            bonds[i, j] = bonds[j, i] = self.orders[own]
        return Points.of(
            self.numbers[atoms], self.positions[atoms], self.charges[atoms], bonds
        )

    def take(self, rows: NDArray[np.int64]) -> PackedPoints:
        """The molecules `rows`, in their order."""
        atoms = _spans(self.starts[rows], self.counts[rows])
        cut = (self.counts[rows], self.numbers[atoms], self.positions[atoms], self.charges[atoms])
        if self.bond_counts is None or self.pairs is None or self.orders is None:
            return PackedPoints(*cut)
        own = _spans(self.bond_starts[rows], self.bond_counts[rows])
        return PackedPoints(*cut, self.bond_counts[rows], self.pairs[own], self.orders[own])

    def save(self, path: str | Path) -> None:
        """Write every array that there is as .npz."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays: dict[str, Any] = {name: v for name, v in found.items() if v is not None}
        np.savez_compressed(Path(path), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Raises ValueError for another kind of .npz."""
        with np.load(Path(path), allow_pickle=False) as file:
            known = {f.name for f in fields(cls)}
            if not _ATOMS <= set(file) <= known:
                raise ValueError(
                    f"{path} holds {', '.join(file)}, expected {', '.join(sorted(known))}"
                )
            return cls(**{name: file[name] for name in file})

    def padded(
        self, rows: NDArray[np.int64], species: NDArray[np.int64], num_types: int
    ) -> PointState:
        """The molecules `rows` as a clean state: one-hot `species` (M,) of each atom, and one-hot
        bond orders none, 1, 2, 3 where bonds are known; positions in angstrom, as stored."""
        count, K = self.counts[rows], num_types
        N, atoms = int(count.max()), _spans(self.starts[rows], self.counts[rows])
        row = np.repeat(np.arange(len(rows)), count)
        place = _spans(np.zeros_like(count), count)
        positions = np.zeros((len(rows), N, 3), np.float32)
        positions[row, place] = self.positions[atoms]
        types = np.zeros((len(rows), N, K), np.float32)
        types[row, place, species[atoms]] = 1
        mask = torch.from_numpy(np.arange(N) < count[:, None])
        state = PointState(torch.from_numpy(positions), torch.from_numpy(types), mask)
        if self.bond_counts is None or self.pairs is None or self.orders is None:
            return state
        own = _spans(self.bond_starts[rows], self.bond_counts[rows])
        order = np.zeros((len(rows), N, N), np.int64)
        at = np.repeat(np.arange(len(rows)), self.bond_counts[rows])
        i, j = self.pairs[own].T
        order[at, i, j] = order[at, j, i] = self.orders[own]
        return replace(state, bonds=one_hot_bonds(torch.from_numpy(order), mask))


def _spans(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """start, start + 1, .. of every span, one after another."""
    before = np.repeat(counts.cumsum() - counts, counts)
    return np.repeat(starts, counts) + np.arange(int(counts.sum())) - before


# ---------------------------------------------------------------- the state of a chain

BOND_CLASSES = 4  # none, single, double, triple


def pair_mask(mask: Tensor) -> Tensor:
    """Pairs of different atoms that are there, (B, N, N) bool, of mask (B, N)."""
    N = mask.shape[1]
    apart = ~torch.eye(N, dtype=torch.bool, device=mask.device)
    return mask[:, :, None] & mask[:, None, :] & apart


def one_hot_bonds(orders: Tensor, mask: Tensor) -> Tensor:
    """Bond orders (B, N, N) as classes (B, N, N, 4); zero on the diagonal and in padding."""
    classes = one_hot(orders, BOND_CLASSES).float()
    return classes * pair_mask(mask)[..., None]


@dataclass(frozen=True)
class PointState(Stacked):
    """A batch of molecules in space, padded, and what the network said there. Absent atoms are
    zero rows, False in `mask`."""

    positions: Tensor  # (B, N, 3), their mean over the atoms is zero in a chain
    types: Tensor  # (B, N, K) atom types as numbers, one-hot where they are clean
    mask: Tensor  # (B, N) bool
    bonds: Tensor | None = None  # (B, N, N, E) symmetric, zero diagonal; None: not modelled
    guesses: tuple[Parts, ...] = ()  # clean parts: guessed here, at the place before, ..
    condition: Tensor | None = None  # (B, C) what the rows are asked to be like

    def __post_init__(self) -> None:
        if self.positions.ndim != 3 or self.positions.shape[2] != 3:
            raise ValueError(f"positions must be (B, N, 3), got {tuple(self.positions.shape)}")
        B, N, _ = self.positions.shape
        if self.types.ndim != 3 or self.types.shape[:2] != (B, N):
            raise ValueError(f"types must be ({B}, {N}, K), got {tuple(self.types.shape)}")
        if self.mask.shape != (B, N) or self.mask.dtype != torch.bool:
            raise ValueError(
                f"mask must be {(B, N)} bool, got {tuple(self.mask.shape)} {self.mask.dtype}"
            )
        if self.bonds is not None and self.bonds.shape[:3] != (B, N, N):
            raise ValueError(f"bonds must be ({B}, {N}, {N}, E), got {tuple(self.bonds.shape)}")

    @property
    def parts(self) -> Parts:
        """Positions, types and, where they are modelled, bonds."""
        found = (self.positions, self.types)
        return found if self.bonds is None else (*found, self.bonds)

    def widened(self, atoms: int) -> PointState:
        """The same molecules with room for `atoms`, the places behind theirs absent; ValueError
        where they have more."""
        more = atoms - self.mask.shape[1]
        if more < 0:
            raise ValueError(f"molecules of {self.mask.shape[1]} atoms do not fit {atoms}")
        bonds = None if self.bonds is None else pad(self.bonds, (0, 0, 0, more, 0, more))
        R, X = (pad(part, (0, 0, 0, more)) for part in (self.positions, self.types))
        return PointState(R, X, pad(self.mask, (0, more)), bonds, condition=self.condition)

    def moved(self, parts: Parts, guesses: tuple[Parts, ...] = ()) -> Self:
        """Copy the batch to other parts; masks and conditions stay with their rows."""
        bonds = parts[2] if len(parts) > 2 else None
        return replace(
            self, positions=parts[0], types=parts[1], bonds=bonds, guesses=guesses
        )


@dataclass(frozen=True)
class ToldSizes:
    """What molecules of n atoms are told: log p(c | n) = weight sum_j log N(c_j; mean_nj,
    spread_nj^2), the numbers of a condition taken to be independent and normal given n."""

    mean: Tensor  # (N + 1, C)
    spread: Tensor  # (N + 1, C)
    weight: float = 1.0  # of guidance: how much a condition has to say of the size

    @classmethod
    def fit(cls, counts: NDArray[np.int64], told: NDArray[np.float32]) -> Self:
        """From molecules of `counts` (B,) atoms that are told (B, C); a size is taken to hold one
        molecule more, which is like all."""
        number = np.bincount(counts)[:, None]
        rows = told.astype(np.float64)
        middle, usual = rows.mean(0), rows.var(0)
        mean = (_by_size(counts, rows) + middle) / (number + 1)
        squares = _by_size(counts, (rows - mean[counts]) ** 2)
        spread = np.sqrt((squares + usual) / (number + 1))
        return cls(torch.from_numpy(mean), torch.from_numpy(spread))

    def log_prob(self, condition: Tensor) -> Tensor:
        """Up to a constant of each row of condition (B, C): (B, N + 1) float64."""
        mean, spread = self.mean.to(condition.device), self.spread.to(condition.device)
        z = (condition.double()[:, None] - mean) / spread
        return -self.weight * (z.square() / 2 + spread.log()).sum(2)


def _by_size(counts: NDArray[np.int64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of rows (B, C) over the molecules of each size (N + 1, C)."""
    return np.stack([np.bincount(counts, column) for column in rows.T], 1)


@dataclass(frozen=True)
class PointCanvas:
    """Blank molecules with a drawn number of atoms: what a sampler fills."""

    counts: NodeCounts
    num_types: int
    num_bonds: int = 0  # E, 0 where bonds are not modelled
    dtype: torch.dtype = torch.float32
    told: ToldSizes | None = None  # None: a condition says nothing of the number of atoms

    def __call__(self, n: int, rng: Rng) -> PointState:
        """Draw n blank molecules on the generator's device, padded to the largest that there can
        be; only their masks differ."""
        return self._blank(self.counts.draw(n, rng))

    def asked(self, condition: Tensor, rng: Rng) -> PointState:
        """Draw a blank molecule for each row of condition (n, C), of k atoms with a probability
        proportional to p(k) p(c | k)."""
        n = len(condition)
        if self.told is None:
            return replace(self(n, rng), condition=condition)
        log_p = self.counts.weights.to(condition.device).double().log()
        law = (log_p + self.told.log_prob(condition)).softmax(1).cumsum(1)
        u = uniform((n,), rng).to(law) * law[:, -1]
        count = torch.searchsorted(law, u[:, None], right=True)[:, 0]
        return replace(self._blank(count), condition=condition)

    def _blank(self, count: Tensor) -> PointState:
        n, N = len(count), self.counts.max_nodes
        mask = torch.arange(N, device=count.device) < count[:, None]
        blank = torch.zeros(n, N, 3, dtype=self.dtype, device=count.device)
        bonds = blank.new_zeros(n, N, N, self.num_bonds) if self.num_bonds else None
        return PointState(blank, blank.new_zeros(n, N, self.num_types), mask, bonds)
