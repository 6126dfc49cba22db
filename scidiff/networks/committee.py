"""Several networks of one shape that were trained from different seeds: their mean predicts, their
spread tells how far it can be trusted (deep ensembles, Lakshminarayanan et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from scidiff.networks.fingerprint_oracle import FingerprintOracle, FingerprintOracleConfig
from scidiff.networks.sequence_oracle import SequenceOracle, SequenceOracleConfig

Shape = SequenceOracleConfig | FingerprintOracleConfig


@dataclass(frozen=True)
class CommitteeConfig:
    """What each of the `members` is: one of the two shapes; a mapping is read as one."""

    members: int
    sequence: SequenceOracleConfig | None = None
    fingerprint: FingerprintOracleConfig | None = None

    def __post_init__(self) -> None:
        if self.members < 2:
            raise ValueError(f"a committee has at least 2 members, got {self.members}")
        kinds = {"sequence": SequenceOracleConfig, "fingerprint": FingerprintOracleConfig}
        for name, kind in kinds.items():
            given = getattr(self, name)
            if isinstance(given, dict):  # as config.json holds it
                object.__setattr__(self, name, kind(**given))
        if (self.sequence is None) == (self.fingerprint is None):
            raise ValueError("a committee is of sequence or of fingerprint networks")

    @classmethod
    def of(cls, shape: Shape, members: int) -> Self:
        if isinstance(shape, SequenceOracleConfig):
            return cls(members, sequence=shape)
        return cls(members, fingerprint=shape)


class Committee(nn.Module):
    """Inputs as its members take them, to the mean of what they say (B, C)."""

    def __init__(self, config: CommitteeConfig) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(
            SequenceOracle(config.sequence) if config.sequence is not None
            else FingerprintOracle(config.fingerprint)  # type: ignore[arg-type]
            for _ in range(config.members))

    @classmethod
    def of(cls, networks: Sequence[Any]) -> Self:
        """Put trained networks of one shape together."""
        made = cls(CommitteeConfig.of(networks[0].config, len(networks)))
        made.members = nn.ModuleList(networks)
        return made

    def _each(self, inputs: Tensor) -> Tensor:
        return torch.stack([member(inputs) for member in self.members])

    def forward(self, inputs: Tensor) -> Tensor:
        return self._each(inputs).mean(0)

    def spread(self, inputs: Tensor) -> Tensor:
        """Standard deviation of what the members say, (B, C)."""
        return self._each(inputs).std(0)

    def features(self, inputs: Tensor) -> Tensor:
        """Activations that the outputs are linear in, of all members side by side."""
        return torch.cat([member.features(inputs) for member in self.members], 1)  # type: ignore[operator]
