"""Score entropy (SEDD): masked diffusion learned as ratios of probabilities that need not sum to
one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from scidiff.core import Rng
from scidiff.data.tokens import TokenState
from scidiff.processes.masked import Hidden, MaskedProcess


class ScoreNetwork(Protocol):
    """What this loss asks of a network."""

    def bidirectional(self, ids: Tensor) -> Tensor:
        """Every position of ids (B, L) sees all that is not PAD: trunk output (B, L, D)."""
        ...

    def log_scores(self, trunk: Tensor) -> Tensor:
        """Logarithms (..., V) of positive numbers, MASK = -inf; `log_probs` is their softmax."""
        ...


@dataclass(frozen=True)
class ScoreEntropyProcess:
    """Masked diffusion of `inner`, trained by denoising score entropy (Lou et al. 2024,
    arXiv 2310.16834, theorem 3.6).

    The ratio p_t(x with y at i) / p_t(x) of a hidden position i is a c_y, a = alpha / (1 - alpha),
    with the time only in a (Ou et al. 2024, theorem 1). With c = exp(log_scores) their loss

        sigma' (sum_y s_y - a log s_x0 + a (log a - 1)),   s = a c, sigma' a = weight,

    is weight (sum_y c_y - 1 - log c_x0): the cross-entropy where c sums to 1, and above it
    elsewhere, so it drives the sum there. Samplers use c normalised.
    """

    inner: MaskedProcess

    def noise(self, x0: TokenState, t: Tensor, rng: Rng) -> TokenState:
        """Hide each symbol independently with probability t (B,)."""
        return self.inner.noise(x0, t, rng)

    def corrupt(self, x0: TokenState, rng: Rng) -> Hidden:
        """Draw what the loss reads."""
        return self.inner.corrupt(x0, rng)

    def cost(self, network: ScoreNetwork, x: Hidden) -> Tensor:
        """The loss (B,) of what was drawn."""
        told = network.log_scores(network.bidirectional(x.noisy))
        at_x0 = told.gather(-1, x.clean[..., None]).squeeze(-1)
        return x.weighted(told.exp().sum(-1) - 1 - at_x0)

    def loss(self, network: ScoreNetwork, x0: TokenState, rng: Rng) -> Tensor:
        return self.cost(network, self.corrupt(x0, rng))
