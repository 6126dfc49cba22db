"""Noise-contrastive training of energies: tell data from what a masked model draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from scidiff.core import Rng
from scidiff.data.tokens import TokenState
from scidiff.processes.masked import MaskedProcess, hide_exactly, stratified_counts


class EnergyNetwork(Protocol):
    """What contrastive training asks of a network."""

    def energy(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """E (B,) of clean rows (B, L) seen from partly hidden rows (B, L)."""
        ...


@dataclass(frozen=True)
class ContrastiveProcess:
    """Learn the energy E(x_t, x0) of the residual model p_diff(x0 | x_t) exp(-E) by contrast:

        loss = -log s(-E(x_t, x0)) - log s(E(x_t, x-)),  x- ~ p_diff(. | x_t), s the sigmoid

    (Gutmann and Hyvarinen 2010; EDLM, Xu et al. 2024, arXiv 2410.21357, eq. 9). Its minimum is
    E = log p_diff(x0 | x_t) - log p_data(x0 | x_t), where the residual model is the data's own
    posterior and Z = 1. At E = 0 the loss is 2 log 2 a row.

    `masked` says which symbols may be hidden; `negatives(x_t, rng)` draws a clean row (B, L) of
    every row: `samplers.energy.Negatives` asks a trained masked model.
    """

    masked: MaskedProcess
    negatives: Callable[[TokenState, Rng], Tensor]

    def noise(self, x0: TokenState, t: Tensor, rng: Rng) -> TokenState:
        """Hide each symbol independently with probability t (B,)."""
        return self.masked.noise(x0, t, rng)

    def loss(self, network: EnergyNetwork, x0: TokenState, rng: Rng) -> Tensor:
        """Unreduced loss (B,) in nats a row, at k ~ U{1..n} hidden symbols of n."""
        eligible = self.masked.eligible(x0.ids)
        k = stratified_counts(eligible.sum(1).clamp(min=1), rng)
        hidden = hide_exactly(eligible, k, rng)
        noisy = torch.where(hidden, self.masked.mask_id, x0.ids)
        negative = self.negatives(TokenState(noisy, condition=x0.condition), rng)
        # one pass over both, so that compiled and averaged layers see them alike
        both = network.energy(noisy.repeat(2, 1), torch.cat([x0.ids, negative]))
        positive, contrast = both.chunk(2)
        return softplus(positive) + softplus(-contrast)
