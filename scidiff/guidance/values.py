"""Learned values: small networks that read a noisy particle and say what its end will be worth.

Train one with `value_training.fit_value`; save and load it like any model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scidiff.core import Rng
from scidiff.data.tokens import PAD
from scidiff.guidance.lookahead import Value
from scidiff.training.checkpoint import CheckpointError, load_network, read_config, save_model

# ---------------------------------------------------------------- networks on states


@dataclass(frozen=True)
class TokenValueConfig:
    vocab_size: int  # with PAD, EOS and MASK
    max_length: int
    num_steps: int  # of the sampler whose particles are judged
    embed: int = 16  # numbers a token at a position
    width: int = 128
    depth: int = 2  # hidden layers


class TokenValue(nn.Module):
    """Embedded tokens side by side, the step, and a perceptron: what stands where is what counts.

    Shorter rows are read as if PAD followed.
    """

    def __init__(self, config: TokenValueConfig) -> None:
        super().__init__()
        self.config = c = config
        self.embed = nn.Embedding(c.vocab_size, c.embed)
        widths = [c.max_length * c.embed + 1, *[c.width] * c.depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.out = nn.Linear(c.width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Any, k: Tensor) -> Tensor:
        """Rows x.ids (B, L) reached before step k (B,) -> (B,)."""
        ids = F.pad(x.ids, (0, self.config.max_length - x.ids.shape[1]), value=PAD)
        h = self.embed(ids).flatten(1)
        h = torch.cat([h, (k / self.config.num_steps).to(h)[:, None]], 1)
        for layer in self.layers:
            h = F.gelu(layer(h))
        return self.out(h)[:, 0]


@dataclass(frozen=True)
class PartsValueConfig:
    sizes: tuple[int, ...]  # features of a node in each part; 0: the part is (B, N, N), edges
    num_steps: int
    width: int = 64
    hops: int = 2  # how often edges carry node features on


class PartsValue(nn.Module):
    """Continuous states of vectors (B, d), nodes (B, N, F) and edges (B, N, N): every node with
    what edges carry to it, their mean over present nodes, how many there are, and one number. The
    order of nodes does not matter."""

    def __init__(self, config: PartsValueConfig) -> None:
        super().__init__()
        self.config = c = config
        edges = sum(size == 0 for size in c.sizes)
        seen = sum(c.sizes) + edges
        self.node = nn.Linear(seen * (1 + edges * c.hops) + 1, c.width)
        self.mixed = nn.Linear(c.width, c.width)
        self.hidden = nn.Linear(c.width + 2, c.width)
        self.out = nn.Linear(c.width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Any, k: Tensor) -> Tensor:
        """Parts reached before step k (B,) -> (B,)."""
        parts = [p.float()[:, None] if p.ndim == 2 else p.float() for p in x.parts]
        pairs = list(zip(self.config.sizes, parts, strict=True))
        edges = [part for size, part in pairs if size == 0]
        seen = torch.cat(
            [part for size, part in pairs if size] + [e.sum(2)[..., None] for e in edges], -1
        )
        there = seen.new_ones(seen.shape[:2]) if x.mask is None else x.mask.to(seen)
        count = there.sum(1, keepdim=True)
        share = 1 / count.clamp(min=1)[..., None]
        carried = [seen]
        for edge in edges:
            for _ in range(self.config.hops):
                carried.append(edge @ carried[-1] * share)
        place = (k / self.config.num_steps).to(seen)[:, None]
        step = place[:, None].expand(-1, seen.shape[1], -1)
        h = F.gelu(self.node(torch.cat([*carried, step], -1)))
        h = F.gelu(self.mixed(h)) * there[..., None]
        pooled = torch.cat([h.sum(1) / count.clamp(min=1), count.log1p(), place], 1)
        return self.out(F.gelu(self.hidden(pooled)))[:, 0]


# ---------------------------------------------------------------- the value


def bare(x: Any) -> Any:
    """The particle without what a network said of it: all that a value reads and a run keeps."""
    x = getattr(x, "state", x)
    if hasattr(x, "ids"):
        return replace(x, trunk=None, log_ratio=None, memory=None, cache=None)
    return x.moved(x.parts)


class LearnedValue:
    """A network's estimate of the soft value log E[exp(strength r) | x_k] / strength.

    The network answers in nats, relative to `offset`; a sampler of another number of steps needs
    a value of its own.
    """

    def __init__(self, network: nn.Module, strength: float, offset: float = 0.0) -> None:
        if not strength > 0:
            raise ValueError(f"strength must be positive, got {strength}")
        self.network, self.strength, self.offset = network, strength, offset

    @torch.no_grad()
    def __call__(self, x: Any, k: int | Tensor, rng: Rng) -> Tensor:
        steps = torch.as_tensor(k, device=rng.device).expand(len(x))
        return (self.network(bare(x), steps).double() + self.offset) / self.strength

    def along(self, sampler: Any) -> Value:
        """The same for particles of a strided sampler over the one that it was learned on."""
        return lambda x, k, rng: self(x, sampler.place(k), rng)

    def to(self, device: torch.device | str) -> LearnedValue:
        """The same with its network moved to `device`."""
        return LearnedValue(self.network.to(device), self.strength, self.offset)

    def save(
        self, folder: Path | str, card: str = "# A learned value\n",
        made: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """Write a model directory: model.safetensors, config.json, which also tells how it was
        `made`, and README.md."""
        told = {**made, "strength": self.strength, "offset": self.offset}
        save_model(Path(folder), self.network, {"domain": "value", "value": told}, card)

    @classmethod
    def load(cls, folder: Path | str) -> LearnedValue:
        """Read a directory that `save` wrote; CheckpointError where it holds something else."""
        config = read_config(Path(folder))
        told = config.get("value")
        if config["domain"] != "value" or not isinstance(told, dict):
            raise CheckpointError(
                f"{folder} holds a model of domain {config['domain']!r}, expected a value"
            )
        return cls(load_network(Path(folder), config), told["strength"], told["offset"])
