"""Absorbing (masked) diffusion on tokens: hide tokens, predict them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scidiff.core import Rng, uniform
from scidiff.data.tokens import EOS, PAD, TokenState


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


def cross_entropy(network: nn.Module, trunk: Tensor, ids: Tensor) -> Tensor:
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

    def loss(self, network: nn.Module, x0: TokenState, rng: Rng) -> Tensor:
        eligible = self.eligible(x0.ids)
        n = eligible.sum(1)
        k = stratified_counts(n.clamp(min=1), rng)
        hidden = hide_exactly(eligible, k, rng)
        trunk = network.bidirectional(torch.where(hidden, self.mask_id, x0.ids))
        return (cross_entropy(network, trunk, x0.ids) * hidden).sum(1) * n / k
