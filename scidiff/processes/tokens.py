"""The processes on token rows by name, as recipes and model configs give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from scidiff.data.graph_tokens import kinds
from scidiff.data.tokens import Vocabulary
from scidiff.processes.block import AutoregressiveProcess, BlockProcess
from scidiff.processes.discrete_flow import (
    DiscreteFlowProcess,
    TokenNoise,
    distorted,
    graph_kinds,
)
from scidiff.processes.graph_sde import GraphSDE, GraphSDEProcess
from scidiff.processes.masked import MaskedProcess

_FORBID = {"extra": "forbid"}  # an unknown key of a recipe is an error
NOISES = ("marginal", "uniform", "absorbing")

TokenProcess = (
    MaskedProcess | BlockProcess | AutoregressiveProcess | GraphSDEProcess | DiscreteFlowProcess
)
PROCESSES = ("masked", "block", "autoregressive", "graph_sde", "flow")
OWNERS = {"block_size": "block", "sde": "graph_sde", "flow": "flow"}
"""Which process each setting belongs to; it is required there."""


@dataclass(frozen=True)
class GraphFlow:
    """The discrete flow of a recipe or a model's config, on graphs as token rows.

    noise: nodes and pairs turn into symbols as frequent as in the training set (marginal), into
    any of theirs (uniform), or into MASK (absorbing). distortion: where training times lie, see
    `DISTORTIONS`. edge_weight: of the mean error of pairs, that of nodes being 1.
    """

    noise: Literal["marginal", "uniform", "absorbing"] = "marginal"
    distortion: str = "polydec"
    edge_weight: float = 5.0

    __pydantic_config__ = _FORBID

    def __post_init__(self) -> None:
        if self.noise not in NOISES:
            raise ValueError(f"noise must be one of {', '.join(NOISES)}, got {self.noise!r}")
        if not self.edge_weight > 0:
            raise ValueError(f"edge_weight must be positive, got {self.edge_weight}")
        distorted(self.distortion, torch.zeros(()))  # an unknown name is an error here

    def law(self, vocabulary: Vocabulary, ids: Tensor) -> TokenNoise:
        """The noise of nodes and of pairs, counted from training rows (B, L) where it is
        marginal."""
        at = graph_kinds(ids.shape[1])
        if self.noise == "marginal":
            return TokenNoise.marginal(ids, at, len(vocabulary))
        kind = torch.tensor(kinds(vocabulary))
        wanted = (3, 3) if self.noise == "absorbing" else (1, 2)
        return TokenNoise.uniform(torch.stack([kind == k for k in wanted]), at)

    def process(self, law: TokenNoise) -> DiscreteFlowProcess:
        """The training side, for this law."""
        return DiscreteFlowProcess(law, (1.0, self.edge_weight), self.distortion)


def check_process(kind: str, **settings: Any) -> None:
    """Refuse an unknown process, and settings that it has not or lacks."""
    if kind not in PROCESSES:
        raise ValueError(f"process must be one of {', '.join(PROCESSES)}, got {kind!r}")
    for name, owner in OWNERS.items():
        if (kind == owner) != (settings.get(name) is not None):
            raise ValueError(f"{name} belongs to process = {owner!r} and is required there")
    if kind == "block" and settings["block_size"] < 1:
        raise ValueError(f"block_size must be at least 1, got {settings['block_size']}")


def token_process(
    kind: str,
    vocabulary: Vocabulary,
    block_size: int | None = None,
    sde: GraphSDE | None = None,
    flow: GraphFlow | None = None,
    law: TokenNoise | None = None,
) -> TokenProcess:
    """Make the process `kind` for rows over `vocabulary`; settings that are not its own are
    refused. A flow needs the `law` of its noise too."""
    check_process(kind, block_size=block_size, sde=sde, flow=flow)
    if (flow is None) != (law is None):
        raise ValueError(f"a flow and the law of its noise go together, got {flow} and {law}")
    if block_size is not None:
        return BlockProcess(vocabulary.mask_id, block_size)
    if sde is not None:
        return GraphSDEProcess(vocabulary, sde)
    if flow is not None and law is not None:
        return flow.process(law)
    one = MaskedProcess if kind == "masked" else AutoregressiveProcess
    return one(vocabulary.mask_id)
