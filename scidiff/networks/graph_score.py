"""A transformer with time as the clean guess of a graph SDE, and the denoiser of a trained
model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from scidiff.data.graphs import GraphState
from scidiff.networks.gdss_execution import in_groups
from scidiff.networks.graph_transformer import GraphShape, GraphTransformer, GraphTransformerConfig
from scidiff.processes.gaussian import Component, ContinuousDenoiser, per_row
from scidiff.processes.graph_sde import GraphSDE, ScoreNetwork, graph_components
from scidiff.processes.schedules import Schedule, alpha


def graph_denoiser(
    network: ScoreNetwork, config: Mapping[str, Any]
) -> ContinuousDenoiser[GraphState]:
    """The clean guess (X, A) of a trained model: its network under the schedules of its
    config.json, config["process"]["sde"]."""
    return network.denoiser(*GraphSDE.of(config["process"]["sde"]).schedules())


@dataclass(frozen=True)
class GraphScoreNetworkConfig(GraphShape):
    features: int  # F of X
    spread_x: float = 0.5  # root mean square of the entries of clean X, and of clean A
    spread_a: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.spread_x > 0 and self.spread_a > 0):
            raise ValueError(
                f"spread_x and spread_a must be positive, got {self.spread_x} and {self.spread_a}"
            )

    def transformer(self) -> GraphTransformerConfig:
        """The network inside: one value a pair."""
        F = self.features
        return GraphTransformerConfig(F, 1, F, 1, True, **self.shape())


class GraphScoreNetwork(nn.Module):
    """One graph transformer that reads scaled noisy (X, A) and the time, and says both outputs F
    of `PreconditionedGraphs`."""

    def __init__(self, config: GraphScoreNetworkConfig) -> None:
        super().__init__()
        self.config, self.features = config, config.features
        self.inner = GraphTransformer(config.transformer())

    @property
    def blocks(self) -> nn.ModuleList:
        return self.inner.blocks

    def forward(self, X: Tensor, A: Tensor, mask: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, F), symmetric (B, N, N), (B, N), (B,) -> (B, N, F), (B, N, N) symmetric up to
        rounding."""
        x, e = self.inner(X, A[..., None], A, mask, t)
        return x, e.squeeze(-1)

    def denoiser(self, schedule_x: Schedule, schedule_a: Schedule) -> PreconditionedGraphs:
        """The clean guesses of this network under these schedules."""
        return PreconditionedGraphs(self, schedule_x, schedule_a)


class PreconditionedGraphs:
    """D = c_skip x + c_out F(c_in x, t) of each component (Karras et al. 2022, table 1, for
    x_t = alpha x0 + sigma z).

    With s the spread of the data and v = alpha^2 s^2 + sigma^2: c_in = 1 / sqrt(v), c_skip =
    alpha s^2 / v, c_out = sigma s / sqrt(v), so F reads and aims at values of unit variance. The
    score matching loss alpha^2 / sigma^2 |D - x0|^2 then weighs the error of F by alpha^2 s^2 / v,
    a number in (0, 1).
    """

    def __init__(
        self, network: GraphScoreNetwork, schedule_x: Schedule, schedule_a: Schedule
    ) -> None:
        self.network, self.rows = network, 0
        self.components: tuple[Component, ...] = graph_components(schedule_x, schedule_a)
        self.spreads = (network.config.spread_x, network.config.spread_a)

    def __call__(self, x: GraphState, t: Tensor) -> tuple[Tensor, Tensor]:
        """Clean guesses (B, N, F) and (B, N, N) at time t, () or (B,)."""
        self.rows += len(x)
        scales = [self.scales(c, t) for c in (0, 1)]
        X, A = (part * per_row(s[0], part) for part, s in zip(x.parts, scales, strict=True))
        said = in_groups(self.network, X, A, x.mask, t.expand(len(x)))
        guess = (
            per_row(skip, part) * part + per_row(out, part) * f.to(part)
            for part, f, (_, skip, out) in zip(x.parts, said, scales, strict=True)
        )
        return tuple(  # type: ignore[return-value]
            c.project(d, x.mask) for c, d in zip(self.components, guess, strict=True)
        )

    def scales(self, c: int, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_in, c_skip and c_out of component c, float64."""
        schedule, s = self.components[c].schedule, self.spreads[c]
        level, sigma = alpha(schedule, t), schedule.sigma(t)
        v = level**2 * s**2 + sigma**2
        return v.rsqrt(), level * s**2 / v, sigma * s * v.rsqrt()
