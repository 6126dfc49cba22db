"""A small predictor on folded counts of a molecule's fragments."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class FingerprintOracleConfig:
    inputs: int  # counts a molecule
    outputs: int
    width: int = 256
    depth: int = 2  # hidden layers
    dropout: float = 0.2

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs", "width", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class FingerprintOracle(nn.Module):
    """Hidden layers over log(1 + counts): counts (B, F) int64 to outputs (B, C)."""

    def __init__(self, config: FingerprintOracleConfig) -> None:
        super().__init__()
        self.config = c = config
        sizes = [c.inputs] + [c.width] * c.depth
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.out = nn.Linear(c.width, c.outputs)
        self.drop = nn.Dropout(c.dropout)

    def features(self, counts: Tensor) -> Tensor:
        """Activations (B, width) that the outputs are linear in."""
        h = counts.float().log1p()
        for layer in self.layers:
            h = F.relu(layer(self.drop(h)))
        return h

    def forward(self, counts: Tensor) -> Tensor:
        return self.out(self.drop(self.features(counts)))
