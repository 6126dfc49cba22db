"""What `sd.train` is fed where molecules stand in space: a data set, or a file of structures."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scidiff.api.intake import Source
from scidiff.api.recipes import Recipe
from scidiff.chem.geometry import examine_points, structure_of
from scidiff.chem.molecules import canonical, parse
from scidiff.chem.placed import placed
from scidiff.core import ScidiffError
from scidiff.data import datasets
from scidiff.data.conditions import Conditions
from scidiff.data.points import PackedPoints, Points
from scidiff.data.qm9_properties import HALF, QM9, column
from scidiff.data.structures import load_points, read_structures
from scidiff.data.tables import Table
from scidiff.data.tokens import Vocabulary
from scidiff.domains.domain import find_domain
from scidiff.domains.molecule_3d import symbol
from scidiff.files import write_atomically
from scidiff.messages import nearest
from scidiff.rewards.registry import find
from scidiff.training.plan import sampled
from scidiff.training.points import PreparedPoints, prepare_points

_log = logging.getLogger("scidiff")
CHUNK = 5_000  # molecules that wait in memory one by one


@dataclass(frozen=True)
class Row:
    """A molecule as read: its SMILES, the molecule in space or why there is none, and what it is
    told besides."""

    text: str
    points: Points | None
    why: str = ""
    told: tuple[Any, ...] = ()


def load_molecules(
    recipe: Recipe,
    out: Path,
    known_types: Vocabulary | None = None,
    known_conditions: Conditions | None = None,
) -> tuple[Source, PreparedPoints]:
    """Read the molecules of a recipe with their bonds, charges and conditions; those that cannot
    be used stand in `out`/rejects.csv with the reason.

    known_types, known_conditions: of a model that is continued, which knows no others.
    """
    spec = recipe.data
    if given := [f"data.{name}" for name in ("column", "standardise", "split")
                 if getattr(spec, name)]:
        raise ScidiffError(f"molecules in space are taken as they are: {', '.join(given)} cannot "
                           "be given")
    rows, units, how = _of_file(recipe) if Path(spec.source).suffix else _of_dataset(recipe)
    used, packed, rejects = _packed(rows)
    if rejects:
        _reject(out / "rejects.csv", rejects)
    if not used:
        raise ScidiffError(f"{spec.source}: no row can be used; see {out / 'rejects.csv'}")
    chosen = sampled(np.arange(len(used)), spec.limit, recipe.seed)
    told = {name: [used[i][1][c] for i in chosen] for c, name in enumerate(spec.condition)}
    found = Source([used[i][0] for i in chosen], len(rejects), how, told)
    if told and known_conditions is None:
        known_conditions = Conditions.fit(told, units)
    molecules = PackedPoints.cat(packed).take(chosen)
    return found, _prepared(recipe, molecules, found, known_types, known_conditions)


def _packed(
    rows: Iterator[Row],
) -> tuple[list[tuple[str, tuple[Any, ...]]], list[PackedPoints], list[tuple[int, str, str]]]:
    """SMILES with what each is told, tables of at most CHUNK molecules, and what cannot be
    used."""
    used: list[tuple[str, tuple[Any, ...]]] = []
    packed: list[PackedPoints] = []
    waiting: list[Points] = []
    rejects: list[tuple[int, str, str]] = []
    for number, row in enumerate(rows, start=1):
        if row.points is None:
            rejects.append((number, row.text, row.why))
            continue
        used.append((row.text, row.told))
        waiting.append(row.points)
        if len(waiting) == CHUNK:
            packed.append(PackedPoints.of(waiting))
            waiting = []
    if waiting:
        packed.append(PackedPoints.of(waiting))
    return used, packed, rejects


def _prepared(
    recipe: Recipe,
    packed: PackedPoints,
    found: Source,
    known: Vocabulary | None,
    conditions: Conditions | None,
) -> PreparedPoints:
    kinds = np.unique(np.stack([packed.numbers, packed.charges], 1).astype(np.int64), axis=0)
    symbols = Vocabulary(tuple(sorted(symbol(*k) for k in kinds.tolist())), "points")
    vocabulary = known or symbols
    types = find_domain(recipe.domain)(vocabulary).species_of(packed)
    held = recipe.data.held_out(len(packed))
    return prepare_points(
        packed, found.strings, vocabulary, types, held, recipe.seed, found.told, conditions
    )


def _of_dataset(recipe: Recipe) -> tuple[Iterator[Row], dict[str, str], str]:
    """Rows of a data set in space, bonds and charges by its SMILES; the units of what they are
    told."""
    spec = recipe.data
    table, points = datasets.load(spec.source), load_points(spec.source)
    keep = np.ones(len(table), np.bool_)
    for name, wanted in spec.where.items():
        keep &= np.array([value == wanted for value in _values(table, name)[0]], np.bool_)
    # Some rows are refused later, so a few more are read than are asked for.
    most = None if spec.limit is None else spec.limit + 100
    rows = sampled(np.flatnonzero(keep), most, recipe.seed)
    texts, told = table.objects(), [_told(table, name) for name in spec.condition]
    units = {name: unit for name, (_, unit) in zip(spec.condition, told, strict=True)}
    how = "taken as published; bonds and charges by the SMILES of each row"
    return (
        Row(texts[i], *_placed(texts[i], points[int(i)]), tuple(of(int(i)) for of, _ in told))
        for i in rows
    ), units, how


def _told(table: Table, name: str) -> tuple[Callable[[int], Any], str]:
    """What row i of a data set is told by this name, a column or a reward of its SMILES, and the
    unit."""
    reward = None if column(table, name) else find(name)
    if reward is not None:
        texts = table.objects()
        return (lambda i: reward([parse(texts[i])])[0]), ""
    values, unit = _values(table, name)
    return values.__getitem__, unit


def _values(table: Table, name: str) -> tuple[list[Any], str]:
    found = column(table, name)
    if found is None:
        known = [*QM9, HALF, *table.columns]
        raise ScidiffError(f"{table.source} has no column {name!r}, expected one of "
                           f"{', '.join(known)}{nearest(name, known)}")
    return found


def _placed(smiles: str, points: Points) -> tuple[Points | None, str]:
    try:
        charges, bonds = placed(smiles, points.numbers, points.positions)
    except ValueError as error:
        return None, str(error)
    return Points.of(points.numbers, points.positions, charges, bonds), ""


def _of_file(recipe: Recipe) -> tuple[Iterator[Row], dict[str, str], str]:
    """Structures of a file: with its bonds where it has them, else read off the distances; told
    what rewards say of them."""
    if recipe.data.where:
        raise ScidiffError("data.where is for data sets, a file of structures is read whole")
    rewards = {name: find(name) for name in recipe.data.condition}
    if missing := [name for name, reward in rewards.items() if reward is None]:
        raise ScidiffError(f"structures of a file are told rewards by name, and {missing[0]!r} is "
                           "none")
    rows = (_read(found, list(rewards.values()))
            for found in read_structures(recipe.data.source))
    return rows, {}, "bonds as written; where none are, by distances (rule rdkit)"


def _read(found: Any, rewards: Sequence[Any]) -> Row:
    if found.points is None:
        return Row(found.name, None, found.problem)
    rule = "rdkit" if found.points.bonds is None else "given"
    mol, report = examine_points(found.points, rule)
    if mol is None or not report.valid:
        return Row(found.name, None, f"{report.rule}: {report.message}")
    told = tuple(reward([mol])[0] for reward in rewards)
    return Row(canonical(mol) or "", Points.of(*structure_of(mol)), "", told)


def _reject(file: Path, rows: Sequence[tuple[int, str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("row", "text", "reason"), *rows])
    write_atomically(file, text.getvalue().encode())
    _log.warning("%d rows cannot be used; see %s", len(rows), file)
