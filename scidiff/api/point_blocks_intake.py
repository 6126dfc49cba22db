"""Molecules in space in the order in which sequence-then-structure writes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scidiff.chem.atom_order import written_order
from scidiff.core import ScidiffError
from scidiff.data.points import PackedPoints, Points
from scidiff.training.point_blocks import PreparedItems
from scidiff.training.points import PreparedPoints


def as_written(points: Points) -> Points:
    """A molecule with its atoms in the order of `chem.atom_order`, bonds left out. Raises
    ValueError where bonds are not known: the order follows them."""
    if points.bonds is None:
        raise ValueError("the order of atoms follows bonds, got a molecule without")
    order = written_order(points.numbers, points.charges, points.bonds)
    return Points(points.numbers[order], points.positions[order], points.charges[order])


def written(table: PackedPoints) -> tuple[PackedPoints, NDArray[np.int64]]:
    """A table with every molecule in its written order, and where its atoms (M,) stood."""
    orders = []
    for row in range(len(table)):
        one = table[row]
        if one.bonds is None:
            raise ScidiffError(
                "the order of atoms follows bonds, which are not known of these molecules"
            )
        found = written_order(one.numbers, one.charges, one.bonds)
        orders.append(int(table.starts[row]) + found)
    at = np.concatenate(orders) if orders else np.zeros(0, np.int64)
    moved = (table.numbers[at], table.positions[at], table.charges[at])
    return PackedPoints(table.counts, *moved), at


def as_items(data: PreparedPoints) -> PreparedItems:
    """Molecules of a recipe as rows of sequence-then-structure. Raises ScidiffError for
    conditions, which it does not take."""
    if data.conditions is not None:
        raise ScidiffError(
            "network.kind 'point_blocks' takes no conditions, got data.condition = "
            f"{', '.join(data.conditions.names)}"
        )
    (train, first), (held, second) = written(data.train), written(data.validation)
    species = (data.species[0][first], data.species[1][second])
    return PreparedItems(data.vocabulary, train, held, species, data.strings)
