"""Absorbing (masked) diffusion on tokens: hide tokens, predict them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scidiff.core import Rng, Stacked
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.processes.hiding import ExactCount, Hiding, hide_each
from scidiff.processes.hiding import hide_exactly as hide_exactly
from scidiff.processes.hiding import stratified_counts as stratified_counts


class TokenNetwork(Protocol):
    """What the processes on tokens ask of a network."""

    @property
    def max_length(self) -> int:
        """Positions it can read, EOS included."""
        ...

    def bidirectional(self, ids: Tensor) -> Tensor:
        """Every position of ids (B, L) sees all that is not PAD: trunk output (B, L, D)."""
        ...

    def causal(self, clean: Tensor) -> Tensor:
        """Every position of clean (B, L) sees those before it: (B, L, D)."""
        ...

    def two_copy(self, noisy: Tensor, clean: Tensor, block_size: int) -> Tensor:
        """Every position of noisy (B, L) sees its noisy block and the clean ones before: (B, L,
        D)."""
        ...

    def log_probs(self, trunk: Tensor) -> Tensor:
        """Normalised log-probabilities (..., V) of trunk (..., D), MASK = -inf."""
        ...


@dataclass(frozen=True)
class Hidden(Stacked):
    """Rows with some tokens hidden, and how much each hidden token counts."""

    clean: Tensor  # (B, L) int64
    noisy: Tensor  # (B, L) int64
    weight: Tensor  # (B, L), 0 where nothing is to be predicted

    def cut(self, width: int) -> Hidden:
        """The first `width` positions: what is behind the end of every row says nothing."""
        return Hidden(self.clean[:, :width], self.noisy[:, :width], self.weight[:, :width])

    def weighted(self, errors: Tensor) -> Tensor:
        """The sum (B,) of errors (B, L), which may be infinite where they do not count."""
        return (torch.where(self.weight > 0, errors, 0.0) * self.weight).sum(1)


def cross_entropy(network: TokenNetwork, trunk: Tensor, ids: Tensor) -> Tensor:
    """-log p(ids) (B, L) from the network's trunk output (B, L, D)."""
    return -network.log_probs(trunk).gather(-1, ids[..., None]).squeeze(-1)


@dataclass(frozen=True)
class MaskedProcess:
    """Masked diffusion with the length known: EOS and PAD are given, every symbol may be hidden.

    The loss is the weighted cross-entropy of what `hiding` hides. It bounds -log p(x0 | length) in
    nats; with the default it is schedule-free.
    """

    mask_id: int
    hiding: Hiding = ExactCount()

    def eligible(self, ids: Tensor) -> Tensor:
        return (ids != PAD) & (ids != EOS)

    def noise(self, x0: TokenState, t: Tensor, rng: Rng) -> TokenState:
        """Hide each symbol independently with probability t (B,)."""
        hidden = hide_each(self.eligible(x0.ids), t, rng)
        return TokenState(torch.where(hidden, self.mask_id, x0.ids))

    def corrupt(self, x0: TokenState, rng: Rng) -> Hidden:
        """Draw what the loss reads."""
        hidden, weight = self.hiding(self.eligible(x0.ids), rng)
        noisy = torch.where(hidden, self.mask_id, x0.ids)
        return Hidden(x0.ids, noisy, hidden * weight[:, None])

    def cost(self, network: TokenNetwork, x: Hidden) -> Tensor:
        """The loss (B,) of what was drawn."""
        errors = cross_entropy(network, network.bidirectional(x.noisy), x.clean)
        return x.weighted(errors)

    def loss(self, network: TokenNetwork, x0: TokenState, rng: Rng) -> Tensor:
        return self.cost(network, self.corrupt(x0, rng))
