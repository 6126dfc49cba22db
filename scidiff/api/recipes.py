"""Recipes: one TOML file says data, network, training stages and sampling; here it is read and
checked.

Stages follow each other in one run folder, each from the averaged weights of the one before, so
the whole path (say autoregression, then blocks) is one command that continues where it was killed;
`scidiff.training.stages` runs them.
"""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from scidiff.api.settings import SETTINGS, Sampling, TokenSettings, choose
from scidiff.core import ScidiffError
from scidiff.messages import nearest
from scidiff.processes.point_blocks import PointBlocks
from scidiff.processes.tokens import GraphBlocks, MaskedLoss, TokenFlow
from scidiff.training.config import TrainConfig
from scidiff.training.plan import (
    DataSpec,
    Stage,
    check_sampling,
    nested_stage,
    stage_names,
    usual_sampling,
)
from scidiff.training.sizes import SIZES, NetworkSize, TokenTransformerSize


class Recipe(BaseModel):
    """A recipe; it is a `Plan` of the training layer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    domain: str = "smiles"
    seed: int = 0
    init: str | None = None  # continue from this model on other data
    data: DataSpec
    network: NetworkSize = Field(TokenTransformerSize(), discriminator="kind")
    stages: list[Stage] = Field(min_length=1)
    sampling: Sampling = Field(None, validate_default=True)  # of the last stage's process
    store: Literal["float32", "bfloat16"] = "float32"  # precision of the weights that are kept

    @field_validator("network", mode="before")
    @classmethod
    def _of_a_kind(cls, network: Any) -> Any:
        if not isinstance(network, dict):
            return network
        return {"kind": TokenTransformerSize.kind, **network}

    @field_validator("stages", mode="before")
    @classmethod
    def _nested(cls, stages: Any) -> Any:
        return [nested_stage(s) for s in stages] if isinstance(stages, list) else stages

    @field_validator("sampling", mode="before")
    @classmethod
    def _of_the_process(cls, given: Any, info: ValidationInfo) -> Any:
        stages = info.data.get("stages")
        if not stages:
            return TokenSettings()  # the stages are in error themselves
        if not isinstance(given, dict | None):
            raise ValueError(f"sampling must be a table, got {given!r}")
        said = {**usual_sampling(stages), **(given or {})}
        return choose([SETTINGS[stages[-1].process]], said)[0]

    @model_validator(mode="after")
    def _sampled(self) -> Recipe:
        check_sampling(self.stages, self.sampling)
        return self

    @property
    def stage_names(self) -> list[str]:
        """The folder of each stage in a run, as the training log names it."""
        return stage_names(self.stages)


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
        silent = ("training", *SIZES)  # parts of the place that the file does not spell
        key = ".".join(str(part) for part in first["loc"] if part not in silent) or "recipe"
        hint = ""
        if first["type"] in unknown:
            hint = nearest(first["loc"][-1], _known_keys())
        raise ScidiffError(f"{where}: {key}: {first['msg']}{hint}") from None


def _known_keys() -> list[str]:
    records = (DataSpec, *SIZES.values(), Stage, TokenFlow, GraphBlocks, MaskedLoss, PointBlocks,
               TrainConfig)  # fmt: skip
    return sorted({*Recipe.model_fields, *(f.name for c in records for f in fields(c))})
