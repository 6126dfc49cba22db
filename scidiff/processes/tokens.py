"""The processes on token rows by name, as recipes and model configs give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from scidiff.data.graph_tokens import bonded_ids, kinds
from scidiff.data.tokens import FIRST_SYMBOL, Vocabulary
from scidiff.processes.block import AutoregressiveProcess, BlockProcess
from scidiff.processes.block_sizes import check_block_size
from scidiff.processes.discrete_flow import (
    DISTORTIONS,
    DiscreteFlowProcess,
    TokenNoise,
    distorted,
    graph_kinds,
)
from scidiff.processes.flow_bounds import JumpBound, StepBound
from scidiff.processes.graph_blocks import GraphBlockProcess
from scidiff.processes.graph_sde import GraphSDE, GraphSDEProcess
from scidiff.processes.hiding import AtRate, ExactCount, Hiding, OnGrid
from scidiff.processes.masked import MaskedProcess
from scidiff.processes.noise_levels import SCHEDULES, named
from scidiff.processes.noise_ranges import AUTO, WHOLE, NoiseRange, check_range
from scidiff.processes.point_blocks import PointBlocks
from scidiff.processes.points import PointSystem
from scidiff.processes.score_entropy import ScoreEntropyProcess

_FORBID = {"extra": "forbid"}  # an unknown key of a recipe is an error
NOISES = ("marginal", "uniform", "absorbing")
FLOW_LOSSES = ("cross_entropy", "nelbo", "steps")
MASKED_LOSSES = ("count", "rate", "steps")

FlowProcess = DiscreteFlowProcess | JumpBound | StepBound
TokenProcess = (
    MaskedProcess
    | ScoreEntropyProcess
    | BlockProcess
    | AutoregressiveProcess
    | GraphSDEProcess
    | FlowProcess
    | GraphBlockProcess
)
PROCESSES = (
    "masked", "block", "autoregressive", "graph_sde", "flow", "graph_blocks", "points",
    "point_blocks",
)  # fmt: skip
OWNERS = {
    "block_size": "block",
    "noise_range": "block",
    "sde": "graph_sde",
    "flow": "flow",
    "masked": "masked",
    "blocks": "graph_blocks",
    "points": "points",
    "point_blocks": "point_blocks",
}
"""Which process each setting belongs to."""
OPTIONAL = ("masked", "noise_range", "points", "point_blocks")
"""Settings that their process can do without."""


@dataclass(frozen=True)
class MaskedLoss:
    """How the bound of masked diffusion is estimated in training, see `processes.hiding`.

    loss: with an exact count of hidden tokens (count, the least variable), each at the rate of a
    time (rate) or of a grid of `steps` times (steps, D3PM). schedule: the rate at a time, see
    `SCHEDULES`. score_entropy: learn ratios that need not sum to one (SEDD).
    """

    loss: Literal["count", "rate", "steps"] = "count"
    schedule: str = "log-linear"
    steps: int | None = None
    score_entropy: bool = False

    __pydantic_config__ = _FORBID

    def __post_init__(self) -> None:
        _one_of("loss", self.loss, MASKED_LOSSES)
        named(self.schedule, SCHEDULES, "schedule")
        _check_steps(self.loss, self.steps)
        if self.loss == "count" and self.schedule != "log-linear":
            raise ValueError(
                f"loss = 'count' has no schedule, got {self.schedule!r}; 'rate' and 'steps' have"
            )

    def process(self, mask_id: int) -> MaskedProcess | ScoreEntropyProcess:
        """The training side."""
        inner = MaskedProcess(mask_id, self._hiding())
        return ScoreEntropyProcess(inner) if self.score_entropy else inner

    def _hiding(self) -> Hiding:
        schedule = named(self.schedule, SCHEDULES, "schedule")
        if self.steps is not None:
            return OnGrid(self.steps, schedule)
        return ExactCount() if self.loss == "count" else AtRate(schedule)


@dataclass(frozen=True)
class TokenFlow:
    """The discrete flow of a recipe or a model's config, on strings or on graphs as token rows.

    noise: tokens turn into symbols as frequent as in the training set (marginal), into any symbol
    (uniform), or into MASK (absorbing); of graphs, nodes into those of nodes and pairs into those
    of pairs. loss: of the clean tokens (cross_entropy), or a bound on -log p in continuous time
    (nelbo; uniform noise is then UDLM) or of a chain of `steps` steps (steps, D3PM). distortion:
    where training times lie, see `DISTORTIONS`. edge_weight: in the cross-entropy of graphs, of
    the mean error of pairs, that of nodes being 1.
    """

    noise: Literal["marginal", "uniform", "absorbing"] = "marginal"
    distortion: str = "polydec"
    edge_weight: float = 5.0
    loss: Literal["cross_entropy", "nelbo", "steps"] = "cross_entropy"
    steps: int | None = None

    __pydantic_config__ = _FORBID

    def __post_init__(self) -> None:
        _one_of("noise", self.noise, NOISES)
        _one_of("loss", self.loss, FLOW_LOSSES)
        _check_steps(self.loss, self.steps)
        if not self.edge_weight > 0:
            raise ValueError(f"edge_weight must be positive, got {self.edge_weight}")
        distorted(self.distortion, torch.zeros(()))  # an unknown name is an error here

    @property
    def leave_one_out(self) -> bool:
        """Whether the network tells what a token is from the other positions alone, see
        `processes.reverse_laws.with_evidence`."""
        return self.loss == "nelbo"

    def law(self, vocabulary: Vocabulary, ids: Tensor) -> TokenNoise:
        """The noise at every position, counted from training rows (B, L) where it is marginal."""
        at = position_kinds(vocabulary, ids.shape[1])
        if self.noise == "marginal":
            return TokenNoise.marginal(ids, at, len(vocabulary))
        kind = torch.tensor(kinds(vocabulary)) if _is_graph(vocabulary) else _string(vocabulary)
        symbols = (1, 2) if _is_graph(vocabulary) else (1,)
        wanted = [3] * len(symbols) if self.noise == "absorbing" else symbols
        return TokenNoise.uniform(torch.stack([kind == k for k in wanted]), at)

    def process(self, law: TokenNoise) -> FlowProcess:
        """The training side, for this law."""
        weights = (1.0, self.edge_weight)[: len(law.laws)]
        make: dict[str, Callable[[], FlowProcess]] = {
            "cross_entropy": lambda: DiscreteFlowProcess(law, weights, self.distortion),
            "nelbo": lambda: JumpBound(law, DISTORTIONS[self.distortion]),
            "steps": lambda: StepBound(law, self.steps or 1, DISTORTIONS[self.distortion]),
        }
        return make[self.loss]()


@dataclass(frozen=True)
class GraphBlocks:
    """Graphs written block by block, of a recipe or a model's config, see `GraphBlockProcess`.

    hops: how far nodes of a block are alike around them; 0 is one block. mode: all blocks in one
    pass (parallel, which needs a causal network) or one of each graph (sequential). structure:
    weight of sizes and degrees. memory_gb: what a step may take; None: what is free. flow: the
    discrete process inside.
    """

    hops: int = 3
    mode: Literal["parallel", "sequential"] = "parallel"
    structure: float = 1.0
    memory_gb: float | None = None
    flow: TokenFlow = field(default_factory=TokenFlow)

    __pydantic_config__ = _FORBID

    def __post_init__(self) -> None:
        if self.flow.leave_one_out:
            raise ValueError(
                "blocks.flow.loss must be cross_entropy or steps, got 'nelbo': what a block's "
                "tokens say of each other is read as they are"
            )
        if self.memory_gb is not None and not 0 < self.memory_gb < float("inf"):
            raise ValueError(f"blocks.memory_gb must be positive, got {self.memory_gb}")
        GraphBlockProcess.check_settings(self.hops, self.mode, self.structure)

    def process(self, vocabulary: Vocabulary, law: TokenNoise) -> GraphBlockProcess:
        """The training side, for this law of noise."""
        if not _is_graph(vocabulary):
            raise ValueError(
                f"graph_blocks are of graphs, got rows in the notation {vocabulary.notation!r}"
            )
        memory = None if self.memory_gb is None else round(self.memory_gb * 1e9)
        inside, bonded = self.flow.process(law), bonded_ids(vocabulary)
        return GraphBlockProcess(inside, bonded, self.hops, self.mode, self.structure, memory)


def position_kinds(vocabulary: Vocabulary, length: int) -> Tensor:
    """The kind of every position of a row (L,): nodes and pairs of a graph, one of a string."""
    if _is_graph(vocabulary):
        return graph_kinds(length)
    return torch.zeros(length, dtype=torch.int64)


def _is_graph(vocabulary: Vocabulary) -> bool:
    return vocabulary.notation == "graph"


def _string(vocabulary: Vocabulary) -> Tensor:
    """What every token of a string is, as `kinds` says it of graphs: 1 a symbol, 3 MASK."""
    ids = torch.arange(len(vocabulary))
    return torch.where(ids == vocabulary.mask_id, 3, (ids >= FIRST_SYMBOL).long())


def _one_of(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {name!r}")


def _check_steps(loss: str, steps: int | None) -> None:
    if (loss == "steps") != (steps is not None):
        raise ValueError(f"steps belongs to loss = 'steps' and is required there, got {steps}")
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")


def check_process(kind: str, **settings: Any) -> None:
    """Refuse an unknown process, and settings that it has not or lacks."""
    _one_of("process", kind, PROCESSES)
    for name, owner in OWNERS.items():
        given = settings.get(name) is not None
        if given and kind != owner or not given and kind == owner and name not in OPTIONAL:
            required = "" if name in OPTIONAL else " and is required there"
            raise ValueError(f"{name} belongs to process = {owner!r}{required}")
    if kind == "block":
        check_block_size(settings["block_size"])
    if settings.get("noise_range") not in (None, AUTO):
        check_range(settings["noise_range"])


def token_process(
    kind: str,
    vocabulary: Vocabulary,
    block_size: int | None = None,
    sde: GraphSDE | None = None,
    flow: TokenFlow | None = None,
    masked: MaskedLoss | None = None,
    blocks: GraphBlocks | None = None,
    noise_range: NoiseRange | None = None,
    points: PointSystem | None = None,
    point_blocks: PointBlocks | None = None,
    law: TokenNoise | None = None,
) -> TokenProcess:
    """Make the process `kind` for rows over `vocabulary`; settings that are not its own are
    refused. A flow, alone or in blocks, needs the `law` of its noise too."""
    check_process(
        kind, block_size=block_size, sde=sde, flow=flow, masked=masked, blocks=blocks,
        noise_range=noise_range, points=points, point_blocks=point_blocks,
    )  # fmt: skip
    if kind in ("points", "point_blocks"):
        raise ValueError(f"process {kind!r} is of molecules in space, got rows of tokens")
    noisy = flow or blocks
    if (noisy is None) != (law is None):
        raise ValueError(f"a flow and the law of its noise go together, got {noisy} and {law}")
    if block_size is not None:
        levels = WHOLE if noise_range is None or noise_range == AUTO else check_range(noise_range)
        return BlockProcess(vocabulary.mask_id, block_size, levels, noise_range == AUTO)
    if sde is not None:
        return GraphSDEProcess(vocabulary, sde)
    if flow is not None and law is not None:
        return flow.process(law)
    if blocks is not None and law is not None:
        return blocks.process(vocabulary, law)
    if kind == "autoregressive":
        return AutoregressiveProcess(vocabulary.mask_id)
    return (masked or MaskedLoss()).process(vocabulary.mask_id)
