"""Train a recipe where there is nothing but torch, numpy, safetensors and Lightning.

    python -m scidiff.training.bare RECIPE.toml STRINGS.txt[.gz] --out DIR

The strings, one a line, are taken as they are; behind a tab each stands what `data.condition`
names. `scidiff train RECIPE --out DIR`, on a machine that
has the rest, then finds the stages finished and writes the model directory.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tomllib
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from scidiff.core import ScidiffError
from scidiff.data.tokens import NOTATIONS, Vocabulary
from scidiff.messages import nearest
from scidiff.training.plan import (
    STEPPED,
    DataSpec,
    Stage,
    check_sampling,
    nested_stage,
    sampled,
    usual_sampling,
)
from scidiff.training.sizes import SIZES, NetworkSize, TokenTransformerSize
from scidiff.training.stages import OnLog, build_network, encode, train_stages

T = TypeVar("T")


@dataclass(frozen=True)
class Sampling:
    """How the model will be sampled: of no use here, but a wrong key is found before training.
    None is not said."""

    block_size: int | None = None
    order: str | None = None
    tokens_per_step: int = 1
    temperature: float = 1.0


@dataclass(frozen=True)
class BareRecipe:
    """A recipe, checked without pydantic."""

    name: str
    data: DataSpec
    stages: list[Stage]
    domain: str = "smiles"
    seed: int = 0
    init: str | None = None
    network: NetworkSize = TokenTransformerSize()
    sampling: Sampling = Sampling()
    store: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        said = {name: v for name, v in vars(self.sampling).items() if v is not None}
        full = Sampling(**{"order": "random", **usual_sampling(self.stages), **said})
        object.__setattr__(self, "sampling", full)
        check_sampling(self.stages, self.sampling)
        if self.init is not None:
            raise ValueError(f"a model is continued by scidiff train only, got init={self.init!r}")


def train(
    recipe: BareRecipe,
    strings: Sequence[str],
    out: Path,
    accelerator: str = "auto",
    on_log: OnLog | None = None,
) -> list[dict[str, float]]:
    """Run the stages of `recipe` on `strings`, resuming what `out` holds; returns their
    summaries."""
    rows = sampled(np.arange(len(strings)), recipe.data.limit, recipe.seed)
    strings, told = split_conditions([strings[i] for i in rows], recipe.data.condition)
    notation = recipe.network.notation or recipe.domain
    notation = notation if notation in NOTATIONS else "characters"
    vocabulary = Vocabulary.build(strings, notation)
    held = recipe.data.held_out(len(strings))
    data = encode(strings, vocabulary, held, recipe.seed, recipe.network.max_length, told)
    return train_stages(recipe, build_network(recipe, data), data, out, accelerator, on_log)


# ---------------------------------------------------------------- reading


def split_conditions(
    lines: Sequence[str], names: Sequence[str]
) -> tuple[Sequence[str], dict[str, Sequence[Any]]]:
    """Cut lines at tabs into strings and one column for each of `names`; a column of numbers alone
    is one of numbers."""
    if not names:
        return lines, {}
    rows = [line.split("\t") for line in lines]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names) + 1:
            raise ScidiffError(
                f"line {number} must hold a string and {', '.join(names)} behind tabs, "
                f"got {len(row)} fields"
            )
    strings, *columns = zip(*rows, strict=True)
    return strings, {n: _numbers_or_text(c) for n, c in zip(names, columns, strict=True)}


def _numbers_or_text(column: Sequence[str]) -> Sequence[Any]:
    try:
        return [float(cell) for cell in column]
    except ValueError:
        return column


def read_recipe(path: Path) -> BareRecipe:
    """Read and check a recipe; an unknown key is an error that names the nearest known one."""
    try:
        return parse(tomllib.loads(path.read_text()), str(path))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScidiffError(f"cannot read the recipe {path}: {error}") from error


def parse(content: dict[str, Any], where: str) -> BareRecipe:
    """Check a recipe given as a dictionary."""
    stages = content.get("stages")
    if isinstance(stages, list):
        content = {**content, "stages": [nested_stage(s) for s in stages]}
        if any(isinstance(s, dict) and s.get("process") in STEPPED for s in stages[-1:]):
            content.pop("sampling", None)  # of its own kind: for scidiff train to read
    return _record(BareRecipe, content, where, "")


def read_strings(path: Path) -> list[str]:
    """Read one string a line, as it is; .gz is unpacked."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            strings = [line.rstrip("\n") for line in file]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ScidiffError(f"cannot read the strings {path}: {error}") from error
    if "" in strings:
        number = strings.index("") + 1
        raise ScidiffError(f"{path}: line {number} is empty; expected one string a line")
    return strings


def _record(kind: type[T], table: Any, where: str, key: str) -> T:
    """Make the dataclass `kind` of a TOML table that stands at `key` of the recipe `where`."""
    place = f"{where}: {key.removesuffix('.training')}" if key else where
    if not isinstance(table, dict):
        raise ScidiffError(f"{place} must be a table, got {table!r}")
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for name in table:
        if name not in known:
            hint = nearest(name, known) or f"; known: {', '.join(known)}"
            raise ScidiffError(f"{where}: unknown key {_join(key, name)}{hint}")
    for name, field in known.items():
        if name not in table and field.default is MISSING and field.default_factory is MISSING:
            raise ScidiffError(f"{where}: {_join(key, name)} is missing")
    hints = typing.get_type_hints(kind)
    values = {n: _value(hints[n], v, where, _join(key, n)) for n, v in table.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ScidiffError(f"{place}: {error}") from None


def _value(hint: Any, value: Any, where: str, key: str) -> Any:
    """Check `value` against the type of its field; a whole float is an int, an int a float."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if hint == NetworkSize and isinstance(value, dict):
        kind = value.get("kind", TokenTransformerSize.kind)
        if kind not in SIZES:
            raise ScidiffError(f"{where}: {key}.kind must be one of {', '.join(SIZES)}, "
                               f"got {kind!r}")  # fmt: skip
        return _record(SIZES[kind], value, where, key)
    if origin is types.UnionType:  # X | None: TOML has no null
        return _value(inner[0], value, where, key)
    if isinstance(hint, type) and is_dataclass(hint):
        return _record(hint, value, where, key)
    if origin in (list, tuple) and isinstance(value, list):  # a tuple of any length
        return origin(_value(inner[0], v, where, f"{key}.{i}") for i, v in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {k: _value(inner[1], v, where, f"{key}.{k}") for k, v in value.items()}
    if origin is Literal and value in inner:
        return value
    if hint in (int, float) and type(value) in (int, float) and hint(value) == value:
        return hint(value)
    if type(value) is hint:
        return value
    kinds = {bool: "true or false", str: "a text", int: "an integer", float: "a number"}
    expected = kinds.get(hint) or (
        f"one of {', '.join(inner)}" if origin is Literal else f"a {origin.__name__}"
    )
    raise ScidiffError(f"{where}: {key} must be {expected}, got {value!r}")


def _join(key: str, name: str) -> str:
    """The dotted key of a recipe; `training` is left out, as it may be in the file."""
    return f"{key.removesuffix('.training')}.{name}" if key else name


# ---------------------------------------------------------------- the command


def show(stage: str, step: int, row: dict[str, float]) -> None:
    """Print a row of the training log."""
    said = "  ".join(f"{k} {row[k]:.4f}" for k in ("loss", "validation") if k in row)
    print(f"{stage}  step {step}  {said}  {row['seconds']:.0f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a recipe; an error is one line and exit status 1."""
    about = "Train a recipe without RDKit and pydantic; scidiff train then writes the model."
    parser = argparse.ArgumentParser("python -m scidiff.training.bare", description=about)
    parser.add_argument("recipe", type=Path, help="a recipe (.toml)")
    parser.add_argument("strings", type=Path, help="one string a line, .txt or .txt.gz")
    parser.add_argument("--out", type=Path, required=True, help="the run folder")
    parser.add_argument("--device", default=None, help="cpu or cuda; default: what there is")
    given = parser.parse_args(arguments)
    try:
        accelerator = "auto" if given.device is None else torch.device(given.device).type
        train(read_recipe(given.recipe), read_strings(given.strings), given.out, accelerator, show)
    except (ScidiffError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"trained; now run: scidiff train {given.recipe} --out {given.out}")


if __name__ == "__main__":
    main()
