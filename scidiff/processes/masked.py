"""Absorbing (masked) diffusion on tokens: hide tokens, predict them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.data.tokens import EOS, PAD, TokenState


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


def hide_exactly(eligible: Tensor, count: Tensor, rng: Rng) -> Tensor:
    """Choose `count` (B,) of each row's eligible (B, L) positions uniformly: (B, L) bool."""
    keys = torch.where(eligible, uniform(eligible.shape, rng).to(eligible.device), 2.0)
    return eligible & (keys.argsort(1).argsort(1) < count[:, None])


def stratified_counts(limit: Tensor, rng: Rng) -> Tensor:
    """Draw k ~ U{1..limit} for every entry of `limit`, stratified over the batch to lower the
    variance of the loss."""
    B = len(limit)
    rank = uniform((B,), rng).to(limit.device).argsort()
    u = (rank + uniform((B,), rng).to(limit.device)) / B
    return (u * limit).long().clamp(max=limit - 1) + 1


def cross_entropy(network: TokenNetwork, trunk: Tensor, ids: Tensor) -> Tensor:
    """-log p(ids) (B, L) from the network's trunk output (B, L, D)."""
    return -network.log_probs(trunk).gather(-1, ids[..., None]).squeeze(-1)


@dataclass(frozen=True)
class MaskedProcess:
    """Masked diffusion with the length known: EOS and PAD are given, every symbol may be hidden.

    The loss is schedule-free: hide exactly k ~ U{1..n} of a row's n symbols and weigh the
    cross-entropy by n / k
    (any-order autoregressive form of the ELBO; Ou et al. 2024, eq. 3.6). It bounds -log p(x0 |
    length) in nats.
    """

    mask_id: int

    def eligible(self, ids: Tensor) -> Tensor:
        return (ids != PAD) & (ids != EOS)

    def noise(self, x0: TokenState, t: Tensor, rng: Rng) -> TokenState:
        """Hide each symbol independently with probability t (B,)."""
        hidden = self.eligible(x0.ids) & (uniform(x0.ids.shape, rng).to(t.device) < t[:, None])
        return TokenState(torch.where(hidden, self.mask_id, x0.ids))

    def loss(self, network: TokenNetwork, x0: TokenState, rng: Rng) -> Tensor:
        eligible = self.eligible(x0.ids)
        n = eligible.sum(1)
        k = stratified_counts(n.clamp(min=1), rng)
        hidden = hide_exactly(eligible, k, rng)
        trunk = network.bidirectional(torch.where(hidden, self.mask_id, x0.ids))
        return (cross_entropy(network, trunk, x0.ids) * hidden).sum(1) * n / k
