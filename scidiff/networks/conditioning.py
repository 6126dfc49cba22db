"""What a network is told besides its rows: the time, and conditions that may be hidden."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Standard = tuple[tuple[float, float], ...]
"""Mean and spread of each number of a condition."""


def check_standard(conditions: Sequence[Sequence[float]]) -> None:
    """Refuse spreads that are not positive."""
    if not all(len(pair) == 2 and pair[1] > 0 for pair in conditions):
        raise ValueError(f"conditions must be (mean, spread > 0) each, got {conditions}")


def time_features(t: Tensor, width: int) -> Tensor:
    """Sinusoids of t (B,) in [0, 1] at geometric frequencies: (B, width)."""
    frequency = torch.logspace(0, 3, width // 2, device=t.device)
    angle = t.float()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], -1)


class ConditionEmbedding(nn.Module):
    """silu(W c + b) of the standardised condition c; a learned vector where it is hidden (Ho and
    Salimans 2022, arXiv 2207.12598)."""

    standard: Tensor

    def __init__(self, conditions: Sequence[Sequence[float]], width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(len(conditions), width)
        self.not_shown = nn.Parameter(torch.zeros(width))
        self.register_buffer("standard", torch.tensor(conditions).mT.clone(), persistent=False)

    def forward(self, condition: Tensor, shown: Tensor) -> Tensor:
        """condition (B, C) in its own units, shown (B,) bool: (B, D)."""
        if condition.shape[1:] != self.standard.shape[1:]:
            raise ValueError(
                f"condition must be (B, {self.standard.shape[1]}) for this network, "
                f"got {tuple(condition.shape)}"
            )
        mean, spread = self.standard
        known = F.silu(self.embed((condition - mean) / spread))
        return torch.where(shown[:, None], known, self.not_shown.to(known.dtype))

    def hidden(self, rows: int) -> Tensor:
        """What rows without a condition are told, (B, D)."""
        return self.not_shown.expand(rows, -1)
