"""Training, validation and test rows: at random, by scaffold, or as a column says."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
STANDARD = {"train": 0.8, "valid": 0.1, "test": 0.1}


def random_split(n: int, sizes: Mapping[str, float] = STANDARD, seed: int = 0) -> dict[str, Rows]:
    """Draw disjoint rows of range(n), each part sorted: {name: (M,) int64}.

    `sizes` are fractions, which must sum to at most 1, or counts, all of type int. Fractions are
    rounded so that parts that sum to 1 use every row. The same seed draws the same rows on every
    machine.
    """
    counts = part_counts(n, sizes)
    order = np.random.default_rng(seed).permutation(n)
    ends = np.cumsum(list(counts.values()))
    return {name: np.sort(order[end - count : end])
            for (name, count), end in zip(counts.items(), ends, strict=True)}


def group_split(
    groups: Sequence[Hashable], sizes: Mapping[str, float] = STANDARD, seed: int = 0
) -> dict[str, Rows]:
    """Split rows so that no group is in two parts: {name: (M,) int64}, rows sorted.

    Groups are visited from large to small, equal sizes in random order, and each goes to the part
    that lacks most rows relative to its size. Parts come out near `sizes`, not exactly: a group is
    never cut. Sizes must add up to all rows.
    """
    counts = part_counts(len(groups), sizes)
    if sum(counts.values()) != len(groups):
        raise ValueError(f"a split by groups uses every row: sizes {dict(sizes)} must sum to all "
                         f"{len(groups)}")
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    shuffled = list(members.values())
    np.random.default_rng(seed).shuffle(shuffled)
    parts: dict[str, list[int]] = {name: [] for name in counts}
    wanted = {name: count for name, count in counts.items() if count}
    for rows in sorted(shuffled, key=len, reverse=True):
        name = max(wanted, key=lambda p: 1 - len(parts[p]) / wanted[p])
        parts[name] += rows
    return {name: np.array(sorted(rows), np.int64) for name, rows in parts.items()}


def scaffold_split(
    smiles: Sequence[str], sizes: Mapping[str, float] = STANDARD, seed: int = 0
) -> dict[str, Rows]:
    """Split molecules so that no Bemis-Murcko scaffold is in two parts; see `group_split`.

    A molecule without rings is its own group. Raises ValueError for an unreadable SMILES.
    """
    from scidiff.chem.molecules import canonical_key, scaffold

    groups = []
    for row, text in enumerate(smiles):
        core = scaffold(text)
        if core is None:
            raise ValueError(f"row {row}: expected a readable SMILES, got {text!r}")
        groups.append(core or f"no rings: {canonical_key(text)}")
    return group_split(groups, sizes, seed)


def column_split(values: Sequence[Hashable]) -> dict[str, Rows]:
    """Split as a column says: {value as text: its rows}, in order of appearance."""
    empty = [row for row, value in enumerate(values) if value is None or value == ""]
    if empty:
        raise ValueError(f"the split column is empty in {len(empty)} rows, first row {empty[0]}")
    parts: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        parts.setdefault(str(value), []).append(row)
    return {name: np.array(rows, np.int64) for name, rows in parts.items()}


def part_counts(n: int, sizes: Mapping[str, float]) -> dict[str, int]:
    """Turn fractions or counts into rows per part, by largest remainder; raises ValueError."""
    if not sizes or any(size < 0 for size in sizes.values()):
        raise ValueError(f"sizes must name parts and be positive, got {dict(sizes)}")
    counted = all(isinstance(size, int) for size in sizes.values())
    exact = {name: float(size) if counted else size * n for name, size in sizes.items()}
    total = round(sum(exact.values()), 6)
    if total > n:
        raise ValueError(f"sizes {dict(sizes)} ask for {total:g} of {n} rows; give fractions that "
                         "sum to at most 1, or counts")
    counts = {name: int(size + 1e-9) for name, size in exact.items()}
    left = int(total + 0.5) - sum(counts.values())
    for name in sorted(exact, key=lambda p: counts[p] - exact[p])[:left]:
        counts[name] += 1
    return counts


def describe(parts: Mapping[str, Rows]) -> str:
    """One line with the size of each part and its share of the rows that were split."""
    total = max(1, sum(len(rows) for rows in parts.values()))
    return ", ".join(f"{name} {len(rows):,} ({len(rows) / total:.1%})"
                     for name, rows in parts.items())
