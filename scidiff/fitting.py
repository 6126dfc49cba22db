"""`sd.train`: from a recipe or a file of strings to a model directory."""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scidiff.card import card, hardware, table
from scidiff.core import ScidiffError
from scidiff.data import datasets, tables
from scidiff.data.tokens import UnknownToken, Vocabulary
from scidiff.domains.smiles import molecule_record
from scidiff.evaluation.novelty import NoveltyFilter
from scidiff.model import Model, find_domain, model_folder
from scidiff.networks.token_transformer import TokenTransformer
from scidiff.recipes import (
    Prepared,
    Recipe,
    build_network,
    encode,
    extend_network,
    parse,
    read,
    train_stages,
)
from scidiff.training.checkpoint import save_model

OnLog = Callable[[str, int, dict[str, float]], None]
_log = logging.getLogger("scidiff")


@dataclass(frozen=True)
class Source:
    """The strings of a recipe, and the rows that were left out with the reason."""

    strings: Sequence[str]
    rejects: Sequence[tuple[int, str, str]]  # row number, text, reason


def train(
    source: str | Path,
    out: str | Path,
    *,
    init: str | None = None,
    domain: str | None = None,
    column: str | None = None,
    steps: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    on_log: OnLog | None = None,
) -> Path:
    """Train a model and return its directory, `out`/model.

    `source` is a recipe (.toml) or a file of molecules. With `init` a trained model continues on
    the new data: its vocabulary is extended, training stops early and the card says how much was
    memorised. Started again with the same `out`, a killed run continues where it was. Rows that
    cannot be used are listed with the reason in `out`/rejects.csv.
    """
    out = Path(out)
    recipe = _recipe(Path(source), init, domain, column, steps, seed)
    parent = Model(model_folder(recipe.init), device="cpu") if recipe.init else None
    found = load_strings(recipe)
    _write_rejects(out, found.rejects)
    data = prepare(recipe, found.strings, parent)
    network = _network(recipe, data, parent)
    accelerator = "auto" if device is None else torch.device(device).type
    log = train_stages(recipe, network, data, out, accelerator, on_log)
    folder = out / "model"
    write_model(folder, recipe, network.cpu(), data, log, found)
    if parent is not None:
        _report_memory(folder, data)
    return folder


# ---------------------------------------------------------------- data


def load_strings(recipe: Recipe) -> Source:
    """Read the recipe's data set or file; a row that is no valid molecule is rejected, not lost."""
    spec = recipe.data
    if Path(spec.source).suffix:
        found = tables.read(Path(spec.source), column=spec.column)
        checked = [(number, text, molecule_record(text)) for number, text in found.numbered()]
        bad = [(number, text, r.reason) for number, text, r in checked if not r.valid]
        strings = [text for _, text, r in checked if r.valid]
        rejects = [*found.rejects, *bad]
    else:
        strings, rejects = datasets.strings(spec.source, spec.split), []
    if not strings:
        raise ScidiffError(f"{spec.source}: no row can be used ({len(rejects)} were rejected)")
    return Source(strings[: spec.limit], rejects)


def prepare(recipe: Recipe, strings: Sequence[str], parent: Model | None) -> Prepared:
    """Write the strings in the domain's notation, make or extend the vocabulary, and encode."""
    if recipe.domain == "selfies":
        from scidiff.domains.selfies import to_selfies

        strings = to_selfies(strings)
    notation = {"smiles": "smiles", "selfies": "selfies"}.get(recipe.domain, "characters")
    if parent is None:
        vocabulary = Vocabulary.build(strings, notation)
        length = recipe.network.max_length
    else:
        vocabulary = parent.engine.vocabulary.extended(strings)
        length = parent.engine.network.config.max_length
    return encode(strings, vocabulary, recipe.data.validation, recipe.seed, length)


def _network(recipe: Recipe, data: Prepared, parent: Model | None) -> TokenTransformer:
    if parent is None:
        return build_network(recipe, data)
    engine = parent.engine
    return extend_network(engine.network, engine.vocabulary, data.vocabulary).train()


def _write_rejects(out: Path, rejects: Sequence[tuple[int, str, str]]) -> None:
    if not rejects:
        return
    out.mkdir(parents=True, exist_ok=True)
    with (out / "rejects.csv").open("w", newline="") as f:
        csv.writer(f).writerows([("row", "text", "reason"), *rejects])
    _log.warning("%d rows were left out: see %s", len(rejects), out / "rejects.csv")


# ---------------------------------------------------------------- the model directory


def write_model(
    folder: Path,
    recipe: Recipe,
    network: TokenTransformer,
    data: Prepared,
    log: Sequence[dict[str, float]],
    found: Source,
) -> None:
    """Write weights, config, card and the filter of the training set."""
    config = {
        "name": recipe.name,
        "domain": recipe.domain,
        "vocabulary": {
            "notation": data.vocabulary.notation,
            "symbols": list(data.vocabulary.symbols),
        },
        "process": recipe.stages[-1].spec,
        "sampling": vars(recipe.sampling),
        "length_counts": data.length_counts,
        "recipe": recipe.model_dump(mode="json"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, network, config, _card(recipe, network, data, log, found))
    domain = find_domain(recipe.domain)(data.vocabulary)
    NoveltyFilter.build(domain.canonical(data.strings)).save(folder / "train_filter.npz")


def _card(
    recipe: Recipe,
    network: TokenTransformer,
    data: Prepared,
    log: Sequence[dict[str, float]],
    found: Source,
) -> str:
    stages = [
        {
            "stage": f"{s.process}" + (f", blocks of {s.block_size}" if s.block_size else ""),
            "steps": int(row["steps"]),
            "rows a step": s.training.batch_size * s.training.accumulate,
            "minutes": round(row["seconds"] / 60, 1),
            "validation, nats a token": row["best"],
        }
        for s, row in zip(recipe.stages, log, strict=True)
    ]
    source = f"{recipe.data.source}" + (f", split {recipe.data.split}" if recipe.data.split else "")
    facts = {
        "data": f"{source}: {len(data.strings):,} rows trained on, {len(data.validation):,} held out, "
        f"{len(found.rejects):,} rejected",
        "parameters": f"{sum(p.numel() for p in network.parameters()):,}",
        "continued from": recipe.init or "nothing: trained from scratch",
        "seed": recipe.seed,
        "hardware": hardware(),
    }
    return card(recipe.name, facts, {"Training": table(stages)})
