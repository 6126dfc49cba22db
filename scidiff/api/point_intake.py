"""What `sd.train` is fed where molecules stand in space: a data set, or a file of structures."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scidiff.api.intake import Source
from scidiff.api.recipes import Recipe
from scidiff.chem.geometry import examine_points, structure_of
from scidiff.chem.molecules import canonical
from scidiff.chem.placed import placed
from scidiff.core import ScidiffError
from scidiff.data import datasets
from scidiff.data.points import PackedPoints, Points
from scidiff.data.structures import load_points, read_structures
from scidiff.data.tokens import Vocabulary
from scidiff.domains.domain import find_domain
from scidiff.domains.molecule_3d import symbol
from scidiff.training.checkpoint import write_atomically
from scidiff.training.plan import sampled
from scidiff.training.points import PreparedPoints, prepare_points

_log = logging.getLogger("scidiff")
CHUNK = 5_000  # molecules that wait in memory one by one
Row = tuple[str, Points | None, str]
"""SMILES, the molecule in space, and why there is none."""


def load_molecules(
    recipe: Recipe, out: Path, known_types: Vocabulary | None = None
) -> tuple[Source, PreparedPoints]:
    """Read the molecules of a recipe with their bonds and charges; those that cannot be used
    stand in `out`/rejects.csv with the reason.

    known_types: the atom types of a model that is continued, which knows no others.
    """
    spec = recipe.data
    foreign = ("column", "standardise", "condition", "split")
    if given := [f"data.{name}" for name in foreign if getattr(spec, name)]:
        raise ScidiffError(f"molecules in space are taken as they are: {', '.join(given)} cannot "
                           "be given")
    known, how = _of_file(recipe) if Path(spec.source).suffix else _of_dataset(recipe)
    texts, packed, rejects = _packed(known)
    if rejects:
        _reject(out / "rejects.csv", rejects)
    if not texts:
        raise ScidiffError(f"{spec.source}: no row can be used; see {out / 'rejects.csv'}")
    chosen = sampled(np.arange(len(texts)), spec.limit, recipe.seed)
    found = Source([texts[i] for i in chosen], len(rejects), how)
    molecules = PackedPoints.cat(packed).take(chosen)
    return found, _prepared(recipe, molecules, found.strings, known_types)


def _packed(
    rows: Iterator[Row],
) -> tuple[list[str], list[PackedPoints], list[tuple[int, str, str]]]:
    """SMILES, tables of at most CHUNK molecules, and what cannot be used."""
    texts: list[str] = []
    packed: list[PackedPoints] = []
    waiting: list[Points] = []
    rejects: list[tuple[int, str, str]] = []
    for number, (text, points, why) in enumerate(rows, start=1):
        if points is None:
            rejects.append((number, text, why))
            continue
        texts.append(text)
        waiting.append(points)
        if len(waiting) == CHUNK:
            packed.append(PackedPoints.of(waiting))
            waiting = []
    if waiting:
        packed.append(PackedPoints.of(waiting))
    return texts, packed, rejects


def _prepared(
    recipe: Recipe, packed: PackedPoints, strings: Sequence[str], known: Vocabulary | None
) -> PreparedPoints:
    kinds = np.unique(np.stack([packed.numbers, packed.charges], 1).astype(np.int64), axis=0)
    found = Vocabulary(tuple(sorted(symbol(*k) for k in kinds.tolist())), "points")
    vocabulary = known or found
    types = find_domain(recipe.domain)(vocabulary).species_of(packed)
    held = recipe.data.held_out(len(packed))
    return prepare_points(packed, strings, vocabulary, types, held, recipe.seed)


def _of_dataset(recipe: Recipe) -> tuple[Iterator[Row], str]:
    """Rows of a data set in space, bonds and charges by its SMILES."""
    spec = recipe.data
    table, points = datasets.load(spec.source), load_points(spec.source)
    keep = np.ones(len(table), np.bool_)
    for name, wanted in spec.where.items():
        keep &= np.array([value == wanted for value in table.values(name)], np.bool_)
    # Some rows are refused later, so a few more are read than are asked for.
    most = None if spec.limit is None else spec.limit + 100
    rows = sampled(np.flatnonzero(keep), most, recipe.seed)
    texts = table.objects()
    how = "taken as published; bonds and charges by the SMILES of each row"
    return ((texts[i], *_placed(texts[i], points[int(i)])) for i in rows), how


def _placed(smiles: str, points: Points) -> tuple[Points | None, str]:
    try:
        charges, bonds = placed(smiles, points.numbers, points.positions)
    except ValueError as error:
        return None, str(error)
    return Points.of(points.numbers, points.positions, charges, bonds), ""


def _of_file(recipe: Recipe) -> tuple[Iterator[Row], str]:
    """Structures of a file: with its bonds where it has them, else read off the distances."""
    if recipe.data.where:
        raise ScidiffError("data.where is for data sets, a file of structures is read whole")
    rows = (_read(found) for found in read_structures(recipe.data.source))
    return rows, "bonds as written; where none are, by distances (rule rdkit)"


def _read(found: Any) -> Row:
    if found.points is None:
        return found.name, None, found.problem
    rule = "rdkit" if found.points.bonds is None else "given"
    mol, report = examine_points(found.points, rule)
    if mol is None or not report.valid:
        return found.name, None, f"{report.rule}: {report.message}"
    return canonical(mol) or "", Points.of(*structure_of(mol)), ""


def _reject(file: Path, rows: Sequence[tuple[int, str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("row", "text", "reason"), *rows])
    write_atomically(file, text.getvalue().encode())
    _log.warning("%d rows cannot be used; see %s", len(rows), file)
