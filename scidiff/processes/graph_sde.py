"""A system of SDEs on node features and adjacency of a graph (GDSS; Jo et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.data.graph_tokens import to_graphs
from scidiff.data.graphs import GraphState
from scidiff.data.tokens import TokenState, Vocabulary
from scidiff.processes.gaussian import (
    Component,
    ContinuousDenoiser,
    GaussianProcess,
    iid,
    symmetric,
)
from scidiff.processes.schedules import VE, VP, Schedule

_FORBID = {"extra": "forbid"}  # an unknown key of a recipe is an error
_SCHEDULES: dict[str, type[VP] | type[VE]] = {"vp": VP, "ve": VE}


def graph_components(schedule_x: Schedule, schedule_a: Schedule) -> tuple[Component, Component]:
    """Components of (X, A): free noise on the features of present nodes, symmetric noise on the
    edges between them."""
    return Component(schedule_x, iid), Component(schedule_a, symmetric)


def graph_sde(schedule_x: Schedule, schedule_a: Schedule, t_min: float = 1e-5) -> GaussianProcess:
    """The process of GDSS: dX = f_X X dt + g_X dw and dA = f_A A dt + g_A dw, coupled through
    their scores only.

    Its loss is eq. 6 of Jo et al. 2022, 1/2 |sigma_X s_X + z_X|^2 + 1/2 |sigma_A s_A + z_A|^2
    summed over N x F and over N x N (each pair counts twice). Each term has gradients in its own
    network only, so their sum trains both.
    """
    return GaussianProcess(graph_components(schedule_x, schedule_a), t_min)


# ---------------------------------------------------------------- as recipes and configs give it


@dataclass(frozen=True)
class Noise:
    """The noise of one component: rates beta of VP, levels sigma of VE, at both ends of time."""

    kind: Literal["vp", "ve"] = "vp"
    min: float = 0.1
    max: float = 1.0

    __pydantic_config__ = _FORBID

    def __post_init__(self) -> None:
        if self.kind not in _SCHEDULES:
            raise ValueError(f"noise must be one of {', '.join(_SCHEDULES)}, got {self.kind!r}")
        self.schedule()  # limits out of range are an error here

    def schedule(self) -> Schedule:
        return _SCHEDULES[self.kind](self.min, self.max)


@dataclass(frozen=True)
class GraphSDE:
    """The system of a recipe or a model's config.

    nodes: X is the one-hot type of a node, or its one-hot degree (the published features of
    graphs without types; what a sample is then, its A says alone).
    """

    x: Noise = Noise()
    a: Noise = Noise()
    nodes: Literal["types", "degrees"] = "types"

    __pydantic_config__ = _FORBID

    def __post_init__(self) -> None:
        if self.nodes not in ("types", "degrees"):
            raise ValueError(f"nodes must be types or degrees, got {self.nodes!r}")

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Self:
        """Read the record that a config holds."""
        return cls(Noise(**table["x"]), Noise(**table["a"]), table["nodes"])

    def schedules(self) -> tuple[Schedule, Schedule]:
        """Schedules of X and A."""
        return self.x.schedule(), self.a.schedule()


class ScoreNetwork(Protocol):
    """A network, or a pair of them, that guesses clean graphs under any schedules."""

    @property
    def features(self) -> int:
        """F of the node features that it reads."""
        ...

    def denoiser(
        self, schedule_x: Schedule, schedule_a: Schedule
    ) -> ContinuousDenoiser[GraphState]: ...


@dataclass(frozen=True)
class GraphSDEProcess:
    """Score matching on graphs that are stored as token rows."""

    vocabulary: Vocabulary
    sde: GraphSDE
    t_min: float = 1e-5

    def noise(self, x0: GraphState, t: Tensor, rng: Rng) -> GraphState:
        """Draw x_t given x0 at times t (B,)."""
        return graph_sde(*self.sde.schedules(), self.t_min).noise(x0, t, rng)

    def loss(self, network: ScoreNetwork, x0: TokenState, rng: Rng) -> Tensor:
        """Unreduced loss (B,) of `graph_sde` on the graphs that the rows of x0 spell."""
        schedules = self.sde.schedules()
        clean = self.graphs(x0.ids, network.features)
        return graph_sde(*schedules, self.t_min).loss(network.denoiser(*schedules), clean, rng)

    def graphs(self, ids: Tensor, features: int) -> GraphState:
        """Read token rows (B, L) as arrays with `features` node features.

        Raises ValueError where the rows have another number of node types, or a degree beyond the
        last feature.
        """
        clean = to_graphs(ids, self.vocabulary)
        if self.sde.nodes == "degrees":
            return clean.moved((degrees(clean, features), clean.A))
        if clean.X.shape[2] != features:
            raise ValueError(
                f"the network reads {features} node features, but the data has "
                f"{clean.X.shape[2]} node types"
            )
        return clean


def degrees(x: GraphState, features: int) -> Tensor:
    """One-hot degree of every present node (B, N, F)."""
    degree = (x.A != 0).sum(-1)
    largest = int(degree.max())
    if largest >= features:
        raise ValueError(
            f"a node has degree {largest}, but {features} features hold degrees up to "
            f"{features - 1}"
        )
    return torch.nn.functional.one_hot(degree, features).to(x.X) * x.mask[..., None]
