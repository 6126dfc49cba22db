"""Recipes: one TOML file says data, network, training stages and sampling; running it makes a
model directory.

Stages follow each other in one run folder, each from the averaged weights of the one before, so
the whole path (say
autoregression, then blocks) is one command that continues where it was killed.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scidiff.api.strings import StringSettings, build_process
from scidiff.core import ScidiffError
from scidiff.data.tokens import EOS, PAD, Vocabulary, encode_rows
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.training.batches import TokenBatches
from scidiff.training.config import TrainConfig
from scidiff.training.trainer import Trainer


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSpec(_Strict):
    source: str  # a data set's name or a file
    split: str | None = None
    column: str | None = None
    validation: float = Field(0.05, ge=0)  # held out: a share below 1, or a number of rows
    limit: int | None = Field(None, ge=1)
    standardise: dict[str, bool] = {}  # steps of chem.standardise.Standard, for files

    def held_out(self, rows: int) -> int:
        """How many of `rows` are kept for the validation loss."""
        return round(self.validation * rows) if self.validation < 1 else int(self.validation)


class NetworkSpec(_Strict):
    max_length: int | None = None  # tokens with EOS; default: the longest training row
    width: int = 256
    depth: int = 4
    heads: int = 4
    expand: int = 4


class Stage(_Strict):
    process: Literal["masked", "block", "autoregressive"]
    block_size: int | None = Field(None, ge=1)
    training: TrainConfig

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: Any) -> Any:
        """Everything but the process belongs to the training loop."""
        if not isinstance(data, dict) or isinstance(data.get("training"), TrainConfig):
            return data
        own = {k: v for k, v in data.items() if k in ("process", "block_size")}
        rest = {k: v for k, v in data.items() if k not in (*own, "training")}
        return {**own, "training": {**data.get("training", {}), **rest}}

    @model_validator(mode="after")
    def _block(self) -> Stage:
        if (self.process == "block") != (self.block_size is not None):
            raise ValueError("block_size belongs to process = 'block' and is required there")
        return self

    @property
    def spec(self) -> dict[str, Any]:
        return {"kind": self.process, "block_size": self.block_size}


class Recipe(_Strict):
    name: str
    domain: str = "smiles"
    seed: int = 0
    init: str | None = None  # continue from this model on other data
    data: DataSpec
    network: NetworkSpec = NetworkSpec()
    stages: list[Stage] = Field(min_length=1)
    sampling: StringSettings = StringSettings()
    store: Literal["float32", "bfloat16"] = "float32"  # precision of the weights that are kept

    @model_validator(mode="after")
    def _sampled(self) -> Recipe:
        """Find out before hours of training that its result could not be sampled."""
        whole = self.stages[-1].process == "masked"
        if whole != (self.sampling.block_size is None):
            expected = "left out" if whole else "given (1 or more)"
            raise ValueError(
                f"sampling.block_size must be {expected} where the last stage is "
                f"{self.stages[-1].process!r}, got {self.sampling.block_size}"
            )
        return self

    @property
    def stage_names(self) -> list[str]:
        """The folder of each stage in a run, as the training log names it."""
        return [f"stage{number}-{s.process}" for number, s in enumerate(self.stages, start=1)]


def read(path: Path) -> Recipe:
    """Read and check a recipe; an unknown key is an error that names the nearest known one."""
    try:
        return parse(tomllib.loads(Path(path).read_text()), str(path))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScidiffError(f"cannot read the recipe {path}: {error}") from error


def parse(content: dict[str, Any], where: str) -> Recipe:
    """Validate a recipe given as a dictionary."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        unknown = ("extra_forbidden", "unexpected_keyword_argument")
        first = min(error.errors(), key=lambda e: e["type"] not in unknown)
        key = ".".join(str(part) for part in first["loc"] if part != "training") or "recipe"
        hint = ""
        if first["type"] in unknown:
            near = difflib.get_close_matches(str(first["loc"][-1]), _known_keys(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ScidiffError(f"{where}: {key}: {first['msg']}{hint}") from None


def _known_keys() -> list[str]:
    models = (Recipe, DataSpec, NetworkSpec, Stage)
    names = {name for m in models for name in m.model_fields}
    return sorted(names | {f.name for c in (TrainConfig, StringSettings) for f in fields(c)})


# ---------------------------------------------------------------- running


@dataclass(frozen=True)
class Prepared:
    """Encoded rows of a recipe and what is known of them."""

    vocabulary: Vocabulary
    train: np.ndarray  # (N, L) uint8
    validation: np.ndarray  # (M, L) uint8
    strings: Sequence[str]  # the training strings, for the novelty filter

    @property
    def length_counts(self) -> list[int]:
        """How many training rows have n symbols, n = 0, 1, ..."""
        return np.bincount(((self.train != PAD) & (self.train != EOS)).sum(1)).tolist()


def encode(
    strings: Sequence[str],
    vocabulary: Vocabulary,
    validation: int,
    seed: int,
    length: int | None = None,
) -> Prepared:
    """Encode, shuffle by `seed` and hold out `validation` rows."""
    if validation >= len(strings):
        raise ScidiffError(
            f"data.validation must be below the number of rows ({len(strings)}), got {validation}"
        )
    ids = encode_rows(vocabulary, strings, length).numpy()
    ids = ids.astype(np.uint8 if len(vocabulary) < 256 else np.int16)
    order = np.random.default_rng(seed).permutation(len(ids))
    held, kept = order[:validation], order[validation:]
    return Prepared(vocabulary, ids[kept], ids[held], [strings[i] for i in kept])


def train_stages(
    recipe: Recipe,
    network: TokenTransformer,
    data: Prepared,
    out: Path,
    accelerator: str = "auto",
    on_log: Callable[[str, int, dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Run every stage, resuming inside or between stages; leaves the averaged weights in
    `network`."""
    summary = []
    for i, (name, stage) in enumerate(zip(recipe.stage_names, recipe.stages, strict=True)):
        size, held = stage.training.batch_size, data.validation
        trainer = Trainer(
            network,
            build_process(stage.spec, network.mask_id),
            TokenBatches(data.train, size, recipe.seed + i),
            stage.training,
            out / name,
            validation=TokenBatches(held, size) if len(held) else None,
            accelerator=accelerator,
        )
        trainer.resume()
        trainer.fit(partial(on_log, name) if on_log else None)
        trainer.use_averaged()
        summary.append({"steps": trainer.step, "seconds": trainer.seconds, "best": trainer.best})
    return summary


def build_network(recipe: Recipe, data: Prepared) -> TokenTransformer:
    """A fresh network of the recipe's size, initialised by its seed."""
    shape = recipe.network.model_dump()
    shape["max_length"] = shape["max_length"] or data.train.shape[1]
    torch.manual_seed(recipe.seed)  # the only place that needs the global generator: torch's init
    return TokenTransformer(TokenTransformerConfig(vocab_size=len(data.vocabulary), **shape))


def extend_network(
    network: TokenTransformer, old: Vocabulary, new: Vocabulary
) -> TokenTransformer:
    """Copy a trained network to a vocabulary with more symbols; the new rows start as MASK's
    neighbourhood."""
    config = TokenTransformerConfig(**{**asdict(network.config), "vocab_size": len(new)})
    bigger = TokenTransformer(config)
    state = network.state_dict()
    keep = len(old) - 1  # every id but MASK, which moves to the new end
    for key in ("own.weight", "previous.weight", "head.weight"):
        rows = bigger.state_dict()[key].clone()
        rows[:keep], rows[-1] = state[key][:keep], state[key][-1]
        rows[keep:-1] = 0 if key != "previous.weight" else state[key][-1]
        state[key] = rows
    bigger.load_state_dict(state)
    return bigger
