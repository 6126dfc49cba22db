"""What `sd.train` is fed: the rows of a recipe's data, in the notation that is trained on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from scidiff.api.recipes import Recipe
from scidiff.chem.molecules import parse
from scidiff.chem.standardise import Standard
from scidiff.core import ScidiffError
from scidiff.data import datasets, tables
from scidiff.data.tokens import Vocabulary
from scidiff.domains.domain import find_domain, spelled
from scidiff.files import write_atomically
from scidiff.rewards.registry import find
from scidiff.training.plan import DataSpec, sampled

_log = logging.getLogger("scidiff")


@dataclass(frozen=True)
class Source:
    """The strings of a recipe, how many rows were left out, what was done to the others, and what
    each is told besides, by name."""

    strings: Sequence[str]
    rejected: int
    standard: str
    told: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def load_strings(recipe: Recipe, out: Path, longest: int | None = None) -> Source:
    """Read the recipe's data set as it is, or a file: standardised row by row, with every row that
    cannot be used in `out`/rejects.csv with the reason.

    `longest` is the most tokens a row may have with its end, None where the network is made to
    fit.
    """
    spec = recipe.data
    _fits(spec)
    domain = find_domain(recipe.domain)
    if _is_dataset(spec):
        table = _chosen(datasets.load(spec.source, spec.split), spec, recipe.seed)
        strings = spelled(domain, table.objects())
        return Source(strings, 0, "taken as published", _told(table, spec, domain.kind))
    intake = Intake(_standard(recipe), domain, longest)
    found = tables.read(spec.source, spec.column, check=intake)
    if found.problems:
        write_atomically(out / "rejects.csv", found.problem_frame().to_csv(index=False).encode())
        _log.warning("%s; see %s", found.summary(), out / "rejects.csv")
    if not len(found):
        raise ScidiffError(f"{spec.source}: no row can be used; see {out / 'rejects.csv'} (rows "
                           f"were read in the domain {recipe.domain!r})")
    table = _chosen(found, spec, recipe.seed)
    strings = [intake.taken[text] for text in table.objects()]
    done = "taken as written" if intake.standard is None else intake.standard.describe()
    return Source(strings, len(found.rejects), done, _told(table, spec, domain.kind))


def _chosen(table: tables.Table, spec: DataSpec, seed: int) -> tables.Table:
    """The rows of `where`, in order; a random `limit` of them where there are more."""
    keep = np.ones(len(table), np.bool_)
    for name, wanted in spec.where.items():
        values = table.values(name)
        keep &= np.array([v == wanted for v in values], np.bool_)
        if not keep.any():
            found = ", ".join(sorted({str(v) for v in values})[:8])
            raise ScidiffError(
                f"{spec.source}: no row is left with data.where.{name} = {wanted!r}; the column "
                f"holds {found}"
            )
    return table.take(sampled(np.flatnonzero(keep), spec.limit, seed))


def _told(table: tables.Table, spec: DataSpec, kind: str) -> dict[str, Sequence[Any]]:
    """Every condition's values: a column of the table, or a reward of its objects."""
    told: dict[str, Sequence[Any]] = {}
    for name in spec.condition:
        reward = None if name in table.columns else find(name)
        if reward is None:
            told[name] = table.values(name)
        else:
            objects = table.objects()
            told[name] = reward([parse(o) for o in objects] if kind == "molecule" else objects)
    return told


def _is_dataset(spec: DataSpec) -> bool:
    return not Path(spec.source).suffix


def _fits(spec: DataSpec) -> None:
    """Refuse a setting that this kind of source cannot follow, rather than forget it."""
    kind, foreign = ("a data set, taken as published", ("column", "standardise")) \
        if _is_dataset(spec) else ("a file, read whole", ("split",))
    given = [f"data.{name}" for name in foreign if getattr(spec, name)]
    if given:
        raise ScidiffError(f"{spec.source} is {kind}: {', '.join(given)} cannot be given")


def _standard(recipe: Recipe) -> Standard | None:
    """What is done to the molecules of a file; None where the domain has none."""
    if find_domain(recipe.domain).kind != "molecule":
        if recipe.data.standardise:
            raise ScidiffError(f"data.standardise is for molecules, not for {recipe.domain!r}")
        return None
    try:
        return Standard(**recipe.data.standardise)
    except TypeError:
        steps = ", ".join(f.name for f in fields(Standard))
        raise ScidiffError(
            f"data.standardise takes {steps}, got {', '.join(recipe.data.standardise)}"
        ) from None


@dataclass
class Intake:
    """Bring a row to the form that is trained on, or say why it cannot be used ("" if it can).

    Each string is taken once: held-out rows must not stand among those trained on.
    """

    standard: Standard | None
    domain: Any
    longest: int | None = None
    taken: dict[str, str] = field(default_factory=dict)  # row as it stood -> string
    first: dict[str, str] = field(default_factory=dict)  # string -> the row it was taken from

    def __call__(self, text: str) -> str:
        written = text
        if self.standard is not None:
            done = self.standard(text)
            if done.smiles is None:
                return done.report.message
            written = done.smiles
        try:
            string = self.domain.spell(written)
        except ValueError as error:
            return str(error)
        tokens = len(Vocabulary((), self.domain.notation).split(string))
        if self.longest is not None and tokens >= self.longest:
            return f"has {tokens} tokens, the model takes at most {self.longest - 1}"
        if string in self.first:
            return f"repeats {self.first[string]}, which stands above it"
        self.taken[text], self.first[string] = string, text
        return ""
