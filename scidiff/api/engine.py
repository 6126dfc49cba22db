"""Engines: what a kind of process can do, and which one a config asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from scidiff.api.flow_engine import FlowEngine
from scidiff.api.gdss_files import gdss_config, open_gdss
from scidiff.api.graph_engine import GraphEngine
from scidiff.api.pard_engine import PardEngine
from scidiff.api.point_blocks_engine import PointBlocksEngine
from scidiff.api.points_engine import PointsEngine
from scidiff.api.requests import InfillRequest, LikelihoodRequest
from scidiff.api.scaffold import node_weights
from scidiff.api.token_engine import TokenEngine
from scidiff.core import Rng
from scidiff.data.tokens import Vocabulary
from scidiff.networks.gdss_weights import read_content
from scidiff.networks.graph_score import graph_denoiser
from scidiff.processes.points import PointSystem
from scidiff.training.checkpoint import CheckpointError, load_network, read_config


class Engine(Protocol):
    """A network with all that is needed to draw from it.

    What an engine cannot do is a ScidiffError that says what it can.
    """

    @property
    def network(self) -> Any: ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def config(self) -> Mapping[str, Any]: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def unit(self) -> str:
        """What `sizes` counts: tokens or coordinates."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def block_causal(self) -> bool:
        """Whether a guess of the end stops at the current block, so that looking ahead means going
        there."""
        ...

    def settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Every setting of a draw; an unknown name is an error that lists the known ones."""
        ...

    def sampler(self, **overrides: Any) -> Any:
        """The sampler of these settings (core.Sampler), with its `denoiser`."""
        ...

    def typical_steps(self, sampler: Any) -> int:
        """Steps after which most rows are finished."""
        ...

    def encode(self, texts: Sequence[str]) -> Any:
        """States of objects given as text; an error names the first row that the model cannot
        hold."""
        ...

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """How large each object is, in `unit`."""
        ...

    def log_likelihood(
        self, texts: Sequence[str], how: LikelihoodRequest
    ) -> tuple[Tensor, Tensor]:
        """Log-likelihood in nats, or a lower bound, and its standard error, each (B,)."""
        ...

    def length_log_prob(self, texts: Sequence[str]) -> Tensor:
        """log p of the size of each object (B,), where `log_likelihood` is given it; else 0."""
        ...

    def infill(self, asked: InfillRequest, rng: Rng, **overrides: Any) -> Any:
        """Draw states that hold a pattern, with its gaps written."""
        ...


def open_engine(source: Path, device: torch.device, dtype: torch.dtype) -> Engine:
    """The engine of a model directory or of a weight file of GDSS."""
    if source.is_file():
        return open_gdss(source, device, dtype)
    config = read_config(source)
    kind = config.get("process", {}).get("kind")
    if kind not in ENGINES:
        raise CheckpointError(
            f"{source}: config names the process {kind!r}, expected one of {', '.join(ENGINES)}"
        )
    engine = ENGINES[kind](load_network(source, config).to(device), config, dtype)
    return replace(engine, folder=source) if isinstance(engine, TokenEngine) else engine


def model_config(source: Path) -> dict[str, Any]:
    """The config of a model directory, or what stands for it of a weight file of GDSS."""
    if source.is_file():
        return gdss_config(source, read_content(source))
    return read_config(source)


def _token_engine(network: Any, config: Mapping[str, Any], dtype: torch.dtype) -> Engine:
    return TokenEngine(network, vocabulary_of(config), config, dtype)


def _flow_engine(network: Any, config: Mapping[str, Any], dtype: torch.dtype) -> Engine:
    return FlowEngine(network, vocabulary_of(config), config, dtype)


def _pard_engine(network: Any, config: Mapping[str, Any], dtype: torch.dtype) -> Engine:
    return PardEngine(network, vocabulary_of(config), config, dtype)


def _graph_engine(network: Any, config: Mapping[str, Any], dtype: torch.dtype) -> Engine:
    law = config.get("node_counts") or node_weights(config["length_counts"])
    vocabulary, denoiser = vocabulary_of(config), graph_denoiser(network, config)
    return GraphEngine(
        network, denoiser, network.features, tuple(law), vocabulary, config, dtype
    )


def _points_engine(network: Any, config: Mapping[str, Any], dtype: torch.dtype) -> Engine:
    denoiser = network.denoiser(PointSystem.of(config["process"]["points"]))
    return PointsEngine(network, denoiser, vocabulary_of(config), config, dtype)


def _point_blocks_engine(
    network: Any, config: Mapping[str, Any], dtype: torch.dtype
) -> Engine:
    return PointBlocksEngine(network, vocabulary_of(config), config, dtype)


def vocabulary_of(config: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary that a config holds."""
    spec = config["vocabulary"]
    return Vocabulary(tuple(spec["symbols"]), spec["notation"])


ENGINES: dict[str, Callable[[nn.Module, Mapping[str, Any], torch.dtype], Engine]] = {
    "masked": _token_engine,
    "block": _token_engine,
    "autoregressive": _token_engine,
    "graph_sde": _graph_engine,
    "flow": _flow_engine,
    "graph_blocks": _pard_engine,
    "points": _points_engine,
    "point_blocks": _point_blocks_engine,
}
"""By the kind of process that a config names."""
