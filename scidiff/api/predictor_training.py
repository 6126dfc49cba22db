"""`sd.train(..., predicts="column")`: from a table of measured molecules or sequences to an oracle
that says how sure it is.

    name = "solubility"
    domain = "smiles"          # or dna, rna, peptide
    predicts = "logS"          # numbers, or text for classes
    [data]
    source = "mine.csv"
    [predictor]
    split = "scaffold"
"""

from __future__ import annotations

import logging
import math
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from scidiff.api.card import card, hardware, table
from scidiff.api.intake import load_strings
from scidiff.api.recipe_defaults import domain_of_letters
from scidiff.api.recipes import Recipe
from scidiff.core import ScidiffError
from scidiff.data.formats import kind_of_suffix
from scidiff.data.splits import random_split, scaffold_split
from scidiff.data.tables import as_numbers, words_of
from scidiff.evaluation.discriminator import auroc
from scidiff.messages import nearest
from scidiff.rewards.learned import Oracle
from scidiff.rewards.oracle_training import Labelled, Network, train_oracle
from scidiff.rewards.predictors import Letters, find_reader
from scidiff.training.config import TrainConfig
from scidiff.training.plan import DataSpec

LEAST = 30  # rows with a value
PROCESS = 2_000  # rows up to which a Gaussian process is exact and quick
_log = logging.getLogger("scidiff")


@dataclass(frozen=True)
class PredictorSpec:
    """What is trained, and how it is told how good it is."""

    kind: Literal["auto", "process", "network"] = "auto"  # auto: a process up to 2,000 rows
    task: Literal["auto", "number", "classes"] = "auto"  # auto: classes where the column is text
    members: int = 4  # networks whose spread says how sure they are
    steps: int = 600  # of each
    batch_size: int = 128
    lr: float = 2e-3
    strands: bool = False  # DNA: both strands mean the same
    test: float = 0.1  # rows that measure how good it is: a share below 1, or a number
    split: Literal["random", "scaffold"] = "random"

    __pydantic_config__ = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name in ("members", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"predictor.{name} must be at least 1, got {getattr(self, name)}")
        if not self.test > 0:
            raise ValueError(f"predictor.test must be above 0, got {self.test}")


class PredictorRecipe(BaseModel):
    """One TOML file for one oracle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    domain: str = "smiles"
    predicts: str
    seed: int = 0
    data: DataSpec
    predictor: PredictorSpec = PredictorSpec()


def predictor_recipe(
    source: Path, predicts: str | None = None, domain: str | None = None,
    column: str | None = None, steps: int | None = None, seed: int | None = None,
) -> PredictorRecipe | None:
    """The recipe of an oracle in `source`, or the default one for a data file and the column that
    it `predicts`, of a FASTA in the domain of its letters; None where this is about something
    else."""
    if source.suffix != ".toml":
        if predicts is None:
            return None
        if not source.is_file():
            raise ScidiffError(f"no such file: {source}; expected a recipe (.toml) or a data file")
        letters = kind_of_suffix(source) == "sequence"
        usual = domain_of_letters(source) if letters and domain is None else "smiles"
        return _checked({
            "name": source.name.split(".")[0], "domain": domain or usual, "predicts": predicts,
            "seed": seed or 0, "data": {"source": str(source), "column": column,
                                        "validation": 0.1},
            "predictor": {} if steps is None else {"steps": steps},
        }, str(source))  # fmt: skip
    try:
        content = tomllib.loads(source.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None  # whoever reads recipes says what is wrong with it
    if "predicts" not in content:
        if predicts is not None:
            raise ScidiffError(f"a recipe says predicts itself; change it in {source}")
        return None
    content.setdefault("data", {}).setdefault("validation", 0.1)
    return _checked(content, str(source))


def _checked(content: dict[str, Any], where: str) -> PredictorRecipe:
    try:
        recipe = PredictorRecipe.model_validate(content)
        find_reader(recipe.domain)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "recipe"
        known = {*PredictorRecipe.model_fields, *PredictorSpec.__dataclass_fields__,
                 *DataSpec.__dataclass_fields__}
        unknown = first["type"] in ("extra_forbidden", "unexpected_keyword_argument")
        hint = nearest(str(first["loc"][-1]), known) if unknown else ""
        raise ScidiffError(f"{where}: {key}: {first['msg']}{hint}") from None
    except ValueError as error:
        raise ScidiffError(f"{where}: {error}") from None
    if recipe.predictor.split == "scaffold" and recipe.domain != "smiles":
        raise ScidiffError(f"{where}: predictor.split: sequences have no scaffolds")
    return recipe


def train_predictor(recipe: PredictorRecipe, out: Path) -> Path:
    """Train an oracle and return its directory, `out`/model.

    Validation rows choose among networks and say how sure predictions are; test rows, which
    nothing else has seen, go into the card. Rows that cannot be used are in `out`/rejects.csv.
    Raises ScidiffError for a column that is missing, mixed, constant or nearly empty.
    """
    objects, labels, notes = _measured(recipe, out)
    parts = _split(recipe, objects)
    rows = _of_known_classes(recipe, {
        name: ([objects[i] for i in part], [labels[i] for i in part])
        for name, part in parts.items()})
    try:
        oracle = _train(recipe, rows["training"], rows["validation"])
        found = measured(oracle, *rows["test"])
    except ValueError as error:
        raise ScidiffError(f"{recipe.data.source}: {error}") from None
    folder = out / "model"
    facts = {
        "predicts": f"{recipe.predicts}: {', '.join(oracle.outputs)}"
        if oracle.task == "classes" else recipe.predicts,
        "data": f"{recipe.data.source}: {len(rows['training'][0]):,} rows trained on, "
        f"{len(rows['validation'][0]):,} for calibration, {len(rows['test'][0]):,} for the "
        f"measurements below, split {_how(recipe)}{notes}",
        "model": type(oracle.network).__name__,
        "knows": f"{oracle.lengths[0]} to {oracle.lengths[1]} {oracle.reader.unit}"
        + (f" of {' '.join(oracle.parts)}" if oracle.parts else ""),
        "seed": recipe.seed, "hardware": hardware(),
    }  # fmt: skip
    use = f"```python\nsd.design(model, reward=\"oracle('{folder}')\", ...)\n```"
    said = {"Held-out rows": table([found]), "Use": use}
    oracle.save(folder, card(recipe.name, facts, said))
    return folder


# ---------------------------------------------------------------- data


def _measured(recipe: PredictorRecipe, out: Path) -> tuple[list[str], list[Any], str]:
    """Objects, what was measured of each, and what was left out."""
    name = recipe.predicts
    told = replace(recipe.data, condition=[name])
    source = load_strings(cast(Recipe, recipe.model_copy(update={"data": told})), out)
    kept = [(o, v) for o, v in zip(source.strings, source.told[name], strict=True)
            if v is not None and v != "" and v == v]  # a NaN is no value
    empty = len(source.strings) - len(kept)
    where = f"{recipe.data.source}: column {name!r}"
    if len(kept) < LEAST:
        raise ScidiffError(f"{where} has a value in {len(kept)} usable rows; an oracle needs at "
                           f"least {LEAST}")
    labels, words = _labels([v for _, v in kept], recipe.predictor.task, where)
    if empty:
        _log.warning("%s: %d rows have no value of %s and are left out", recipe.data.source,
                     empty, name)
    if words:
        _log.warning("%s: %d cells of %s hold no number, the first %r, and are left out",
                     recipe.data.source, len(words), name, words[0])
    notes = f"; {source.rejected:,} rejected, {empty:,} without a value"
    notes += f", {len(words):,} without a number" if words else ""
    found = [(o, x) for (o, _), x in zip(kept, labels, strict=True) if x is not None]
    if len({x for _, x in found}) == 1:
        raise ScidiffError(f"{where} holds one value, {found[0][1]!r}, in all {len(found)} rows: "
                           "there is nothing to learn")
    return [o for o, _ in found], [x for _, x in found], notes


def _labels(values: list[Any], task: str, where: str) -> tuple[list[Any], list[str]]:
    """Numbers as floats, None where a cell holds none, and those cells; or classes as text."""
    numbers = as_numbers(values)
    words = words_of(values, numbers)
    few = len(words) < len(values) / 2
    if task == "number" and not few:
        raise ScidiffError(f"{where} is not numeric: {len(words)} of {len(values)} values are not "
                           f"numbers, the first {words[0]!r}")
    if task == "number" or (task == "auto" and few):
        if np.isinf(numbers).any():
            raise ScidiffError(f"{where} holds an infinite value")
        return [None if math.isnan(x) else x for x in numbers.tolist()], words
    counts = Counter(map(str, values))
    if len(counts) > len(values) / 3:
        raise ScidiffError(f"{where} holds {len(counts)} different texts in {len(values)} rows; "
                           "classes must be met several times")
    return list(map(str, values)), []


def _split(recipe: PredictorRecipe, objects: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    n = len(objects)
    held, test = recipe.data.held_out(n), recipe.predictor.test
    tested = round(test * n) if test < 1 else int(test)
    sizes = {"training": n - held - tested, "validation": held, "test": tested}
    if sizes["training"] < LEAST // 2 or min(held, tested) < 2:
        parts = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ScidiffError(f"{recipe.data.source}: {n} rows cannot be split into {parts}; change "
                           "data.validation or predictor.test")
    if recipe.predictor.split == "scaffold":
        return scaffold_split(objects, sizes, recipe.seed)
    return random_split(n, sizes, recipe.seed)


def _of_known_classes(
    recipe: PredictorRecipe, rows: Mapping[str, Labelled]
) -> Mapping[str, Labelled]:
    """The rows without those of a class that no training row has: a network has no output for
    it."""
    known, strange = set(rows["training"][1]), []
    out: dict[str, Labelled] = {}
    if not all(isinstance(label, str) for label in known):
        return rows
    for name, (objects, labels) in rows.items():
        kept = [i for i, label in enumerate(labels) if label in known]
        strange += [label for label in labels if label not in known]
        out[name] = [objects[i] for i in kept], [labels[i] for i in kept]
    if strange:
        _log.warning("%s: %d rows of %s %s are left out: no row that is trained on has that class",
                     recipe.data.source, len(strange), recipe.predicts,
                     ", ".join(sorted(set(strange))))
    return out


def _how(recipe: PredictorRecipe) -> str:
    return "by scaffold" if recipe.predictor.split == "scaffold" else "at random"


# ---------------------------------------------------------------- training, and how good it is


def _train(recipe: PredictorRecipe, rows: Labelled, held: Labelled) -> Oracle:
    spec, reader = recipe.predictor, find_reader(recipe.domain)
    numbers = not isinstance(rows[1][0], str)
    process = spec.kind == "process" or (
        spec.kind == "auto" and numbers and len(rows[0]) <= PROCESS)
    network: Network | None = "process" if process else None
    config = TrainConfig(
        spec.steps, batch_size=spec.batch_size, lr=spec.lr, seed=recipe.seed, ema=0.99,
        warmup=min(50, spec.steps // 10), precision="32-true",
        validate_every=max(1, spec.steps // 10), patience=3,
    )  # fmt: skip
    return train_oracle(
        rows, held, alphabet=reader.alphabet if isinstance(reader, Letters) else None,
        name=recipe.predicts, strands=spec.strands, network=network, config=config,
        members=1 if process else spec.members, seed=recipe.seed,
    )


def measured(oracle: Oracle, objects: Sequence[Any], labels: Sequence[Any]) -> dict[str, Any]:
    """How good an oracle is on rows that it has not seen; those that it does not know
    (`Oracle.reason`) are counted and left out."""
    spelled = [oracle.reader.spell(obj) for obj in objects]
    there = [i for i, obj in enumerate(spelled) if oracle.applies(obj)]
    known, told = [spelled[i] for i in there], [labels[i] for i in there]
    out: dict[str, Any] = {"rows": len(there), "rows outside": len(objects) - len(there)}
    if not there:
        return out
    found = oracle.predict(known)
    if oracle.task == "classes":
        truth = np.array([oracle.index(t) for t in told])
        areas = [auroc(found[truth == c, c], found[truth != c, c])[0]
                 for c in range(len(oracle.outputs)) if 0 < (truth == c).sum() < len(truth)]
        mean = float(np.mean(areas)) if areas else math.nan
        return out | {"accuracy": float((found.argmax(1) == truth).mean()), "mean AUROC": mean}
    off = np.array(told) - found[:, 0]
    varied = len(told) > 2 and np.std(told) > 0 and np.std(found) > 0
    return out | {
        "RMSE": float(np.sqrt(np.mean(off**2))),
        "RMSE of the mean": float(np.std(told)),
        "Pearson r": float(np.corrcoef(told, found[:, 0])[0, 1]) if varied else math.nan,
        "in the 95 % interval": float(np.mean(np.abs(off) < 1.96 * oracle.sd(known)[:, 0])),
    }  # fmt: skip


__all__ = ["PredictorRecipe", "PredictorSpec", "measured", "predictor_recipe", "train_predictor"]
