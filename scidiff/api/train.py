"""`sd.train`: from a recipe or a file of strings to a model directory."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scidiff.api.card import card, hardware, replace_section, table
from scidiff.api.intake import Source, load_strings
from scidiff.api.model import Model, choose_device, model_folder
from scidiff.api.point_blocks_intake import as_items
from scidiff.api.point_intake import load_molecules
from scidiff.api.predictor_training import predictor_recipe, train_predictor
from scidiff.api.recipe_defaults import choose_recipe
from scidiff.api.recipes import Recipe
from scidiff.api.settings import SETTINGS, TokenSettings, chosen, sampled_as
from scidiff.api.typed import typed
from scidiff.core import ScidiffError
from scidiff.data.conditions import Conditions
from scidiff.data.tokens import Vocabulary
from scidiff.domains.domain import find_domain
from scidiff.evaluation.novelty import NoveltyFilter
from scidiff.files import write_atomically
from scidiff.networks.points import PointScoreNetwork
from scidiff.training.checkpoint import save_model
from scidiff.training.interrupts import held_back
from scidiff.training.plan import STEPPED, Stage, usual_sampling
from scidiff.training.points import PreparedPoints
from scidiff.training.stages import (
    Prepared,
    Rows,
    build_network,
    encode,
    extend_network,
    process_config,
    train_stages,
)

OnLog = Callable[[str, int, dict[str, float]], None]
Log = Sequence[dict[str, Any]]
"""What there is to say of each stage."""
_log = logging.getLogger("scidiff")


@typed
def train(
    source: str | Path,
    out: str | Path,
    *,
    init: str | None = None,
    domain: str | None = None,
    column: str | None = None,
    predicts: str | None = None,
    steps: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    on_log: OnLog | None = None,
) -> Path:
    """Train a model and return its directory, `out`/model.

    `source` is a recipe (.toml) or a file of molecules. With `init` a trained model continues on
    the new data: its vocabulary is extended, training stops early and the card says how much was
    memorised. Started again with the same `out`, a killed run continues where it was. Rows that
    cannot be used are listed with the reason in `out`/rejects.csv. What a stage before the last
    leaves, or one that is stopped by Ctrl-C or SIGTERM, is a model too, `out`/its name/model.

    With `predicts`, a column of numbers or labels (or a recipe that says so), the result is an
    oracle instead, for rewards: "oracle('out/model')".
    """
    out, accelerator = Path(out), _accelerator(device)
    oracle = predictor_recipe(Path(source), predicts, domain, column, steps, seed)
    if oracle is not None:
        if init is not None:
            raise ScidiffError("an oracle is trained from scratch: leave out init")
        return train_predictor(oracle, out)
    recipe = choose_recipe(Path(source), init, domain, column, steps, seed)
    find_domain(recipe.domain)  # a wrong name is an error before any work
    parent = Model(model_folder(recipe.init), device="cpu") if recipe.init else None
    if parent is not None:
        recipe = sampled_like(recipe, parent.config)
    found, data = _rows(recipe, out, parent)
    if recipe.stages[0].process == "point_blocks" and isinstance(data, PreparedPoints):
        data = as_items(data)
    network = _network(recipe, data, parent)
    folder = _fitted(recipe, network, data, found, out, accelerator, on_log)
    if parent is not None:
        report_memory(folder, data, recipe.seed)
    return folder


def _fitted(
    recipe: Recipe,
    network: nn.Module,
    data: Rows,
    found: Source,
    out: Path,
    accelerator: str,
    on_log: OnLog | None,
) -> Path:
    """Run the stages and write their models; a signal takes effect when they are written."""

    def done(log: Log) -> bool:
        return len(log) == len(recipe.stages) and log[-1]["finished"]

    def written(log: Log) -> bool:
        """Write the model of the stages so far; whether to go on."""
        if not done(log):
            part = so_far(recipe, len(log))
            folder = out / part.stage_names[-1] / "model"
            write_model(folder, part, network, data, log, found, novelty=False)
        return not signals

    with held_back() as signals:
        log = train_stages(recipe, network, data, out, accelerator, on_log, written)
        if done(log):
            write_model(out / "model", recipe, network.cpu(), data, log, found)
    return out / "model"


def _accelerator(device: str | None) -> str:
    """What Fabric calls the device; it always takes the first GPU that it sees.

    Its own "auto" would also take devices that a model is never loaded on.
    """
    chosen = choose_device(device)
    if chosen.index:
        raise ScidiffError(
            f"training takes the first GPU, got device {device!r}: make it the first one with "
            f"CUDA_VISIBLE_DEVICES={chosen.index}"
        )
    return chosen.type


# ---------------------------------------------------------------- data


def _rows(recipe: Recipe, out: Path, parent: Model | None) -> tuple[Source, Rows]:
    """The rows of a recipe, as its network reads them, and where they came from."""
    if find_domain(recipe.domain).notation == "points":
        if parent is None:
            return load_molecules(recipe, out)
        known = _same_conditions(parent, recipe.data.condition)
        return load_molecules(recipe, out, parent.engine.vocabulary, known)
    found = load_strings(recipe, out, _longest(recipe, parent))
    return found, prepare(recipe, found.strings, parent, found.told)


def sampled_like(recipe: Recipe, config: Mapping[str, Any]) -> Recipe:
    """The recipe, sampled as the model that it goes on from where it says nothing of that and the
    process, with the size of its blocks, is the same."""
    last, process = recipe.stages[-1], config["process"]
    own = (process["kind"], process.get("block_size"))
    if "sampling" in recipe.model_fields_set or own != (last.process, last.block_size):
        return recipe
    return recipe.model_copy(update={"sampling": sampled_as(config)})


def _longest(recipe: Recipe, parent: Model | None) -> int | None:
    """The most tokens a row may have; None: the network is made to fit the longest."""
    if parent is not None:
        return getattr(parent.engine.network.config, "max_length", None)  # some take any size
    return recipe.network.max_length


def prepare(
    recipe: Recipe,
    strings: Sequence[str],
    parent: Model | None,
    told: Mapping[str, Sequence[Any]] | None = None,
) -> Prepared:
    """Make or extend the vocabulary and encode strings that are in the domain's notation, with
    what they are told besides."""
    known = None
    if parent is None:
        vocabulary = Vocabulary.build(strings, find_domain(recipe.domain).notation)
    else:
        vocabulary = parent.engine.vocabulary.extended(strings)
        known = _same_conditions(parent, told or {})
    held = recipe.data.held_out(len(strings))
    longest = _longest(recipe, parent)
    return encode(strings, vocabulary, held, recipe.seed, longest, told, known)


def _same_conditions(parent: Model, told: Iterable[str]) -> Conditions | None:
    """The conditions that a model is continued with: its own, or new ones (None) where it has none
    and its network can learn to heed some."""
    known = parent.conditions
    if known is None and isinstance(parent.engine.network, PointScoreNetwork):
        return None
    names = known.names if known else []
    if sorted(names) != sorted(told):
        raise ScidiffError(
            f"{parent.name} is told {', '.join(names) or 'nothing'}: data.condition must name "
            f"just that, got {', '.join(told) or 'nothing'} (without a recipe: columns of those "
            "names)"
        )
    return known


def _network(recipe: Recipe, data: Rows, parent: Model | None) -> nn.Module:
    if parent is None:
        return build_network(recipe, data)
    engine = parent.engine
    network = extend_network(engine.network, engine.vocabulary, data.vocabulary)
    fresh = data.conditions if parent.conditions is None else None
    if fresh is not None and isinstance(network, PointScoreNetwork):
        network = network.told(fresh.standard)
    return network.train().requires_grad_(True)  # an engine may have stopped its gradients


# ---------------------------------------------------------------- the model directory


def so_far(recipe: Recipe, stages: int) -> Recipe:
    """The recipe of the first `stages` of a recipe, sampled as the last of them can be."""
    done, record = recipe.stages[:stages], SETTINGS[recipe.stages[stages - 1].process]
    sampling = recipe.sampling if isinstance(recipe.sampling, record) else record()
    if isinstance(sampling, TokenSettings) and stages < len(recipe.stages):
        sampling = TokenSettings(**{**_unordered(sampling), **usual_sampling(done)})
    return recipe.model_copy(update={"stages": done, "sampling": sampling})


def _unordered(sampling: TokenSettings) -> dict[str, Any]:
    """Settings that do not depend on how a network was trained."""
    return {k: v for k, v in vars(sampling).items() if k not in ("block_size", "order")}


def write_model(
    folder: Path,
    recipe: Recipe,
    network: nn.Module,
    data: Rows,
    log: Log,
    found: Source,
    *,
    novelty: bool = True,
) -> None:
    """Write weights, config, card and, with `novelty`, the filter of the training set, which takes
    as long as reading it."""
    angstrom = recipe.stages[-1].angstrom
    config: dict[str, Any] = {
        "name": recipe.name,
        "domain": recipe.domain,
        "vocabulary": {
            "notation": data.vocabulary.notation,
            "symbols": list(data.vocabulary.symbols),
        },
        "process": {**process_config(recipe.stages[-1], data), **_chosen_range(log[-1])},
        "sampling": chosen(recipe.sampling),
        "length_counts": data.length_counts,
        **({"domain_options": {"angstrom": angstrom}} if angstrom else {}),
        **({"conditions": data.conditions.to_config()} if data.conditions else {}),
        "recipe": recipe.model_dump(mode="json"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = _card(recipe, network, data, log, found)
    save_model(folder, network, config, text, dtype=getattr(torch, recipe.store))
    if novelty:
        domain = find_domain(recipe.domain)(data.vocabulary)
        NoveltyFilter.build(domain.keys(data.strings)).save(folder / "train_filter.npz")


def _chosen_range(row: Mapping[str, Any]) -> dict[str, Any]:
    """The noise levels that a stage of blocks chose, where it was told to."""
    return {"noise_range": list(row["noise_range"])} if "noise_range" in row else {}


def _levels(stage: Stage, row: Mapping[str, Any]) -> str:
    """The noise levels of a stage that looked at some of them alone."""
    if stage.noise_range is None:
        return ""
    low, high = row.get("noise_range", stage.noise_range)
    return f", noise levels {low:g} to {high:g}" + (" (chosen)" if "noise_range" in row else "")


def _card(
    recipe: Recipe,
    network: nn.Module,
    data: Rows,
    log: Log,
    found: Source,
) -> str:
    nats = recipe.stages[-1].process not in STEPPED  # the others bound no likelihood
    unit = "validation, nats a token" if nats else "validation loss"
    stages = [
        {
            "stage": f"{s.process}"
            + (f", blocks of {s.block_size}" if s.block_size else "")
            + _levels(s, row),
            "steps": int(row["steps"]),
            "rows a step": s.training.batch_size * s.training.accumulate,
            "minutes": round(row["seconds"] / 60, 1),
            unit: row["best"] if math.isfinite(row["best"]) else "none held out",
        }
        for s, row in zip(recipe.stages, log, strict=True)
    ]
    source = f"{recipe.data.source}" + (
        f", split {recipe.data.split}" if recipe.data.split else ""
    )
    facts = {
        "data": f"{source}: {len(data.strings):,} rows trained on, "
        f"{len(data.validation):,} held out, {found.rejected:,} rejected",
        "standardisation": found.standard,
        **({"told": ", ".join(map(str, data.conditions.columns))} if data.conditions else {}),
        "parameters": f"{sum(p.numel() for p in network.parameters()):,}",
        "continued from": recipe.init or "nothing: trained from scratch",
        "weights stored in": recipe.store,
        "seed": recipe.seed,
        "hardware": hardware(),
    }
    return card(recipe.name, facts, {"Training": table(stages)})


MEMORY_SAMPLES = 200


def report_memory(folder: Path, data: Rows, seed: int) -> None:
    """Say in the card how much of what a tuned model draws stands in its training set.

    Above a half the log warns that the model recites.
    """
    model = Model(folder, device="cpu")
    drawn = {model.domain.key(r) for r in model.sample(MEMORY_SAMPLES, seed) if r.valid}
    known = set(model.domain.keys(data.strings))
    share = len(drawn & known) / max(1, len(drawn))
    text = (
        f"{share:.1%} of {len(drawn)} different valid rows, drawn with seed {seed}, stand in "
        f"the {len(known):,} training rows."
    )
    if share > 0.5:
        _log.warning("the model recites its training set: %s", text)
    card_file = folder / "README.md"
    write_atomically(
        card_file, replace_section(card_file.read_text(), "Memorisation", text).encode()
    )
