"""A small network that says how much of a block to write before the network is asked again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scidiff.core import ScidiffError

TOLD = 3  # numbers that are told of every size, see `SizePolicy`


@dataclass(frozen=True)
class SizePolicyConfig:
    """The sizes to choose from, how many channels of the token network's trunk are read, and how
    much likelier, in log-odds, the smallest size is than each other one at first."""

    sizes: tuple[int, ...]
    trunk: int = 0
    width: int = 32
    lean: float = 0.0

    def __post_init__(self) -> None:
        least, grow = self.sizes[0] if self.sizes else 0, sorted(set(self.sizes))
        if least < 1 or list(self.sizes) != grow or any(size % least for size in self.sizes):
            raise ValueError(f"sizes must grow and be multiples of the first, got {self.sizes}")
        if self.trunk < 0 or self.width < 1:
            raise ValueError(
                f"trunk must be 0 or more and width at least 1, got {self.trunk}, {self.width}"
            )


class SizePolicy(nn.Module):
    """log pi(size | block) up to a constant (CtrlDiff, arXiv 2505.14455): one hidden layer over
    the trunk at the first hidden position and, of the hidden positions that each size would
    write, how many there are, the sum of their entropies and that sum without its largest term.

    At first the sizes are as likely as each other, but for `lean`: where rows that are written in
    large parts are worth nothing, there is nothing to learn from them.
    """

    def __init__(self, config: SizePolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden = nn.Linear(config.trunk + TOLD * len(config.sizes), config.width)
        self.out = nn.Linear(config.width, len(config.sizes))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        nn.init.constant_(self.out.bias[:1], config.lean)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, trunk + 3 S) -> scores (B, S)."""
        return self.out(torch.tanh(self.hidden(features)))

    def save(self, file: Path) -> None:
        """Write weights and config to one file."""
        file.parent.mkdir(parents=True, exist_ok=True)
        told = {"size_policy": json.dumps(asdict(self.config))}
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, file, metadata=told)


def load_size_policy(file: Path) -> SizePolicy:
    """Read what `SizePolicy.save` wrote; raises ScidiffError for any other file."""
    try:
        with safe_open(file, "pt") as content:
            told = content.metadata() or {}
            weights = {key: content.get_tensor(key) for key in content.keys()}
        found = json.loads(told["size_policy"])
        policy = SizePolicy(SizePolicyConfig(**{**found, "sizes": tuple(found["sizes"])}))
        policy.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ScidiffError(f"{file} holds no policy of block sizes: {error}") from error
    return policy.eval()
