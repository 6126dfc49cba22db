"""What a run of the training loop is told: sizes, schedule, optimisers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

PRECISIONS = ("bf16-mixed", "32-true")  # fp16 is left out: it needs loss scaling


@dataclass(frozen=True)
class TrainConfig:
    steps: int
    batch_size: int = 256
    lr: float = 3e-3
    warmup: int = 200
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.999
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed"
    compile: bool = (
        False  # fuse the network's blocks with torch.compile (needs a C++ compiler on the CPU)
    )
    accumulate: int = 1
    log_every: int = 50
    validate_every: int = 1000
    checkpoint_every: int = 500
    patience: int = 0  # stop after this many validations without a better loss; 0 = never
    seed: int = 0

    __pydantic_config__ = {"extra": "forbid"}  # an unknown key of a recipe is an error

    def __post_init__(self) -> None:
        every = ("log_every", "validate_every", "checkpoint_every")
        for name in ("steps", "batch_size", "accumulate", *every):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("warmup", "patience", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"training.{name} must be >= 0, got {getattr(self, name)}")
        if not self.lr > 0 or not self.clip > 0:
            raise ValueError(f"lr and clip must be positive, got {self.lr} and {self.clip}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"training.ema must be in [0, 1), got {self.ema}")
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}"
            )

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to 1 % at the last step."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def optimizers(network: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices inside blocks, AdamW for embeddings, heads, norms
    and biases."""
    inside = [p for n, p in network.named_parameters() if p.ndim == 2 and "blocks." in n]
    ids = {id(p) for p in inside}
    rest = [p for p in network.parameters() if id(p) not in ids]
    adam = torch.optim.AdamW(
        rest, lr=config.lr, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    if not inside:
        return [adam]
    muon = torch.optim.Muon(
        inside, lr=config.lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, adam]
