"""Discrete flow on token rows: every token is clean with probability 1 - t and noise with
probability t.

Strings and graphs alike: noise is drawn from a law of the position's kind, so the nodes of a graph
turn into node types and its pairs into edge types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.data.graph_tokens import entries, node_count
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.processes.hiding import hide_each, stratified
from scidiff.processes.noise_levels import (
    CosineSquared,
    LogLinear,
    MiddleSteps,
    NearNoise,
    NoiseLevel,
    Power,
    named,
)

DISTORTIONS: dict[str, NoiseLevel] = {
    "identity": LogLinear(),
    "polydec": Power(2.0),
    "polyinc": NearNoise(),
    "cos": CosineSquared(),
    "revcos": MiddleSteps(),
}
"""How much is noise a share u before the end (Qin et al. 2024, arXiv 2410.04263, appendix B, where
they are functions of 1 - u): polydec takes its small steps near the data, polyinc near the noise,
cos at both ends."""


class TimedTokenNetwork(Protocol):
    """What this process asks of a network."""

    def bidirectional(self, ids: Tensor, t: Tensor) -> Tensor:
        """Trunk output (B, L, D) for noisy ids (B, L) at times t (B,)."""
        ...

    def log_probs(self, trunk: Tensor) -> Tensor:
        """Normalised log-probabilities (..., V) of trunk (..., D), MASK = -inf."""
        ...


def distorted(name: str, u: Tensor) -> Tensor:
    """Time t in [0, 1] after a share u of the way from noise to data."""
    return named(name, DISTORTIONS, "distortion").rate(1 - u)


def graph_kinds(length: int) -> Tensor:
    """The kind of every position of a graph's row (L,): 0 a node, 1 a pair."""
    i, j = entries(node_count(length))
    kinds = torch.zeros(length, dtype=torch.int64)
    kinds[: len(i)] = (i != j).long()
    return kinds


@dataclass(frozen=True)
class TokenNoise:
    """The law of noise at every position, one law a kind of position."""

    laws: Tensor  # (K, V) probabilities
    kinds: Tensor  # (L,) int64 kind of every position; shorter rows use the first ones

    def __post_init__(self) -> None:
        good = self.laws.ndim == 2 and bool((self.laws >= 0).all())
        if not good or not torch.allclose(self.laws.sum(1), self.laws.new_ones(len(self.laws))):
            raise ValueError(
                f"laws must be (K, V) probabilities that sum to 1, got {self.laws.tolist()}"
            )
        if self.kinds.ndim != 1 or not 0 <= int(self.kinds.min()) <= int(self.kinds.max()) < len(
            self.laws
        ):
            raise ValueError(
                f"kinds must be (L,) in 0..{len(self.laws) - 1}, got {self.kinds.tolist()}"
            )

    @classmethod
    def marginal(cls, ids: Tensor, kinds: Tensor, vocab_size: int) -> TokenNoise:
        """Count how often each symbol stands at each kind of position in rows (B, L)
        (Vignac et al. 2023, arXiv 2209.14734)."""
        at = kinds[: ids.shape[1]].to(ids.device) * vocab_size + ids
        size = (int(kinds.max()) + 1) * vocab_size
        counts = torch.bincount(at[eligible(ids)], minlength=size).double().view(-1, vocab_size)
        if bool((counts.sum(1) == 0).any()):
            raise ValueError("a marginal needs a symbol of every kind of position, some have none")
        return cls((counts / counts.sum(1, keepdim=True)).float(), kinds)

    @classmethod
    def uniform(cls, allowed: Tensor, kinds: Tensor) -> TokenNoise:
        """Every symbol that is allowed (K, V) bool at its kind of position, equally often."""
        return cls(allowed / allowed.sum(1, keepdim=True), kinds)

    @classmethod
    def absorbing(cls, mask_id: int, length: int) -> TokenNoise:
        """Noise is MASK: masked diffusion, on a time grid."""
        return cls(torch.eye(mask_id + 1)[mask_id:], torch.zeros(length, dtype=torch.int64))

    def at(self, ids: Tensor) -> Tensor:
        """The law of noise at the positions of ids (B, L): (L, V)."""
        L = ids.shape[1]
        if L > len(self.kinds):
            raise ValueError(f"this noise is known for {len(self.kinds)} positions, got {L}")
        return self.laws.to(ids.device)[self.kinds[:L].to(ids.device)]

    def draw(self, ids: Tensor, rng: Rng) -> Tensor:
        """Draw noise (B, L) for the positions of ids (B, L) by inverting the cumulative laws."""
        cdf = self.at(ids).double().cumsum(-1)
        u = uniform(ids.shape, rng).to(ids.device)[..., None]
        return (u >= cdf / cdf[:, -1:]).sum(-1)


def eligible(ids: Tensor) -> Tensor:
    """Where a row (B, L) has symbols: its length is given, so EOS and PAD stay."""
    return (ids != PAD) & (ids != EOS)


def replace_tokens(law: TokenNoise, ids: Tensor, t: Tensor, rng: Rng) -> Tensor:
    """Rows (B, L) with each symbol replaced by noise independently with probability t (B,)."""
    return torch.where(hide_each(eligible(ids), t, rng), law.draw(ids, rng), ids)


@dataclass(frozen=True)
class DiscreteFlowProcess:
    """Predict clean tokens from p_t(x | x0) = (1 - t) 1[x = x0] + t law(x) at every position
    (Campbell et al. 2024, arXiv 2402.04997; Qin et al. 2024, arXiv 2410.04263; their time runs the
    other way).

    The loss of a row is sum over kinds of weight x mean cross-entropy over the row's positions of
    that kind; (1, 5) is the published weight of nodes and edges (Vignac et al. 2023).
    """

    law: TokenNoise
    weights: tuple[float, ...] = (1.0,)
    distortion: str = "identity"  # where training times lie

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.law.laws):
            raise ValueError(
                f"weights must have one entry for each of {len(self.law.laws)} kinds, "
                f"got {self.weights}"
            )
        distorted(self.distortion, torch.zeros(()))

    def noise(self, x0: TokenState, t: Tensor, rng: Rng) -> TokenState:
        """Replace each symbol by noise independently with probability t (B,)."""
        return TokenState(replace_tokens(self.law, x0.ids, t, rng))

    def loss(self, network: TimedTokenNetwork, x0: TokenState, rng: Rng) -> Tensor:
        t = self.times(len(x0), rng).to(x0.ids.device)
        trunk = network.bidirectional(self.noise(x0, t, rng).ids, t)
        told = network.log_probs(trunk).gather(-1, x0.ids[..., None]).squeeze(-1)
        # where, not a product: what may not stand behind the end has log-probability -inf there
        errors = torch.where(eligible(x0.ids), -told, 0.0)
        return (errors * self.shares(x0.ids)).sum(1)

    def times(self, n: int, rng: Rng) -> Tensor:
        """Draw n training times in (0, 1], stratified over the batch to lower the variance."""
        return distorted(self.distortion, stratified(n, rng)).float()

    def shares(self, ids: Tensor) -> Tensor:
        """The weight (B, L) of every position: its kind's, shared by the row's positions of that
        kind."""
        K = len(self.weights)
        kind = self.law.kinds[: ids.shape[1]].to(ids.device)
        member = (kind == torch.arange(K, device=ids.device)[:, None]) & eligible(ids)[:, None]
        weights = torch.tensor(self.weights, device=ids.device)[:, None]
        return (member * weights / member.sum(-1, keepdim=True).clamp(min=1)).sum(1)
