"""What a recipe says of data, network and stages, as plain records that torch alone can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from scidiff.processes.block_sizes import check_block_size
from scidiff.processes.graph_sde import GraphSDE
from scidiff.processes.noise_ranges import NoiseRange
from scidiff.processes.point_blocks import PointBlocks
from scidiff.processes.points import PointSystem
from scidiff.processes.tokens import (
    OWNERS,
    GraphBlocks,
    MaskedLoss,
    TokenFlow,
    check_process,
)
from scidiff.training.config import TrainConfig
from scidiff.training.sizes import NetworkSize

STEPPED = ("graph_sde", "flow", "graph_blocks", "points", "point_blocks")
"""Processes whose samplers change whole rows in every step; they have settings of their own."""
_FORBID = {"extra": "forbid"}  # an unknown key of a recipe is an error


@dataclass(frozen=True)
class DataSpec:
    """Where the rows come from and how many of them are held out."""

    source: str  # a data set's name or a file
    split: str | None = None
    column: str | None = None
    validation: float = 0.05  # held out: a share below 1, or a number of rows
    limit: int | None = None  # rows taken at random where there are more
    standardise: dict[str, bool] = field(default_factory=dict)  # steps of chem.standardise
    where: dict[str, Any] = field(default_factory=dict)  # only rows with these values
    condition: list[str] = field(default_factory=list)  # columns, or rewards, that rows are told
    condition_dropout: float = 0.1  # share of rows that are not, so that both laws are learnt

    __pydantic_config__ = _FORBID

    def __post_init__(self) -> None:
        if not self.validation >= 0:
            raise ValueError(f"data.validation must be at least 0, got {self.validation}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"data.limit must be at least 1, got {self.limit}")
        if not 0 <= self.condition_dropout <= 1:
            raise ValueError(
                f"data.condition_dropout must be in [0, 1], got {self.condition_dropout}"
            )
        if len(set(self.condition)) < len(self.condition):
            raise ValueError(f"data.condition names a column twice: {self.condition}")

    def held_out(self, rows: int) -> int:
        """How many of `rows` are kept for the validation loss."""
        return round(self.validation * rows) if self.validation < 1 else int(self.validation)


@dataclass(frozen=True)
class Stage:
    """One process with its training loop."""

    process: Literal[
        "masked", "block", "autoregressive", "graph_sde", "flow", "graph_blocks", "points",
        "point_blocks",
    ]  # fmt: skip
    training: TrainConfig
    block_size: int | None = None
    sde: GraphSDE | None = None
    flow: TokenFlow | None = None
    masked: MaskedLoss | None = None
    blocks: GraphBlocks | None = None
    points: PointSystem | None = None
    point_blocks: PointBlocks | None = None
    noise_range: NoiseRange | None = None  # of a block, that training looks at; None: all of it

    __pydantic_config__ = _FORBID

    def __post_init__(self) -> None:
        check_process(self.process, **self.settings)
        if self.process == "points" and self.points is None:
            object.__setattr__(self, "points", PointSystem())
        if self.process == "point_blocks" and self.point_blocks is None:
            object.__setattr__(self, "point_blocks", PointBlocks())

    @property
    def settings(self) -> dict[str, Any]:
        """What `token_process` asks for besides the name; None is another process's."""
        return {name: getattr(self, name) for name in OWNERS}

    @property
    def angstrom(self) -> float | None:
        """What 1 in a state of molecules in space is; None of other rows."""
        if self.point_blocks is not None:
            return self.point_blocks.scale
        return None if self.points is None else self.points.positions.scale

    @property
    def spec(self) -> dict[str, Any]:
        """The process as a model's config names it, without what is counted from its rows."""
        records = {"sde": self.sde, "flow": self.flow, "masked": self.masked,
                   "blocks": self.blocks, "points": self.points,
                   "point_blocks": self.point_blocks}  # fmt: skip
        own: dict[str, Any] = {
            name: asdict(record) for name, record in records.items() if record is not None
        }
        if self.noise_range is not None:
            own["noise_range"] = self.noise_range
        return {"kind": self.process, "block_size": self.block_size, **own}


def sampled(rows: NDArray[np.int64], limit: int | None, seed: int) -> NDArray[np.int64]:
    """A random `limit` of `rows`, in order: data sets are rarely shuffled."""
    if limit is None or limit >= len(rows):
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))


class Plan(Protocol):
    """What training needs of a recipe, however it was read."""

    @property
    def seed(self) -> int: ...

    @property
    def data(self) -> DataSpec: ...

    @property
    def network(self) -> NetworkSize: ...

    @property
    def stages(self) -> Sequence[Stage]: ...


def nested_stage(table: Any) -> Any:
    """Put the keys of a stage's table where they belong: all but the process is the training
    loop's."""
    if not isinstance(table, dict):
        return table
    own = {k: v for k, v in table.items() if k in ("process", *OWNERS)}
    rest = {k: v for k, v in table.items() if k not in (*own, "training")}
    inner = table.get("training", {})
    return {**own, "training": {**inner, **rest} if isinstance(inner, dict) else inner}


def stage_names(stages: Sequence[Stage]) -> list[str]:
    """The folder of each stage in a run, as the training log names it."""
    return [f"stage{number}-{s.process}" for number, s in enumerate(stages, start=1)]


def check_network(network: NetworkSize, stages: Sequence[Stage]) -> None:
    """Refuse a process that the network cannot be trained by."""
    for stage in stages:
        if stage.process not in network.processes:
            raise ValueError(
                f"network.kind {network.kind!r} is trained by {', '.join(network.processes)}, "
                f"got process = {stage.process!r}"
            )
        time = getattr(network, "time", None)
        if time is not None and time != (stage.process == "flow"):
            raise ValueError(
                f"network.time must be {stage.process == 'flow'} where the process is "
                f"{stage.process!r}, got {time}"
            )
        joint = stage.points is not None and bool(stage.points.bonds)
        if stage.points is not None and getattr(network, "bonds", joint) != joint:
            raise ValueError(
                f"network.bonds must be {str(joint).lower()} where points.bonds "
                f"{'are' if joint else 'is false'}"
            )
        at_once = stage.blocks and stage.blocks.hops and stage.blocks.mode == "parallel"
        if at_once and not getattr(network, "causal", False):
            raise ValueError(
                "blocks.mode = 'parallel' needs network.causal = true (and walks = 0), got false; "
                "expected that, or mode = 'sequential'"
            )


def check_blocks(stages: Sequence[Stage], length: int) -> None:
    """Refuse blocks that are longer than rows of `length` tokens."""
    for number, stage in enumerate(stages, start=1):
        if stage.block_size is not None:
            check_block_size(
                stage.block_size, length, name=f"block_size of stage {number}",
                why="the tokens of a row with its end, network.max_length",
            )  # fmt: skip


def usual_sampling(stages: Sequence[Stage]) -> dict[str, Any]:
    """How rows are sampled as far as the last stage decides it and nothing else is said: in the
    blocks it was trained with, from left to right."""
    last = stages[-1].process if stages else None
    if last == "block":
        return {"block_size": stages[-1].block_size, "order": "sequential"}
    return {"block_size": 1, "order": "sequential"} if last == "autoregressive" else {}


def check_sampling(stages: Sequence[Stage], sampling: Any) -> None:
    """Find out before hours of training that its result could not be sampled.

    sampling: where tokens are written one after the other, a record with the field `block_size`.
    """
    if not stages:
        raise ValueError("stages must hold at least 1 stage, got none")
    last = stages[-1].process
    if last in STEPPED:
        return
    size, most = sampling.block_size, stages[-1].block_size or 1
    if last == "masked":
        fits, expected = size is None, "left out"
    else:
        fits = size is not None and 1 <= size <= most
        expected = "1" if most == 1 else f"in 1..{most}"
    if not fits:
        blocks = f"{last!r} of blocks of {most}" if last == "block" else repr(last)
        raise ValueError(
            f"sampling.block_size must be {expected} where the last stage is {blocks}, got {size}"
        )
