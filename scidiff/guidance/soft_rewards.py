"""Fine-tuning by the gradient of a reward that reads soft tokens (DRAKES, Wang et al. 2024, arXiv
2410.13643): the last steps of a chain are drawn so that a gradient passes through their tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scidiff.core import Rng, uniform
from scidiff.data.tokens import TokenState
from scidiff.guidance.finetune_likelihoods import asked
from scidiff.guidance.finetune_objectives import check_strength
from scidiff.guidance.particles import positive
from scidiff.guidance.policy_gradient import Replay
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.predictions import evaluate

SoftScore = Callable[[Tensor], Tensor]
"""reward(soft) -> (B,), differentiable, soft (B, L, V) one-hot rows with MASK as the last id."""


@dataclass(frozen=True)
class SoftReward:
    """-strength r(x) + sum_k KL(p(. | x_k) || p_ref(. | x_k)) of chains of `sampler`, as a
    process for the training loop.

    The last `truncate` steps of a chain are drawn by the straight-through Gumbel-softmax (Jang et
    al. 2017, arXiv 1611.01144): the token is a draw of the sampler's law, its gradient that of
    softmax((log p + Gumbel noise) / temperature), and later steps read it as such. That gradient
    is biased, and of low variance. The divergence of each step is that of the tokens it wrote,
    exact. Rows that end before these steps have no gradient.
    """

    sampler: MaskedSampler = field(repr=False)
    reward: SoftScore = field(repr=False)
    reference: Any = field(repr=False)
    strength: float
    truncate: int = 50
    temperature: float = 1.0
    symbols: bool = False
    about: str = ""

    def __post_init__(self) -> None:
        check_strength(self.strength)
        positive("truncate", self.truncate)
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        Replay(self.sampler)  # refuses samplers whose law has no such gradient

    def noise(self, x0: TokenState, t: Tensor, rng: Rng) -> TokenState:
        """The rows as they are."""
        return x0

    def loss(self, network: nn.Module, x0: TokenState, rng: Rng) -> Tensor:
        """Unreduced loss (B,) of as many chains as x0 has rows; nothing else of it is read."""
        x, first = self._before(len(x0), rng)
        soft = F.one_hot(x.ids, self.sampler.denoiser.vocab_size).float()
        paid = torch.zeros(len(x0), device=x.ids.device)
        for k in range(first, self.sampler.num_steps):
            x, soft, gap = self._step(network, x, soft, k, rng)
            paid = paid + gap
        worth = self.reward(soft)
        if worth.shape != paid.shape:
            raise ValueError(
                f"a reward on soft rows must return {tuple(paid.shape)}, got {tuple(worth.shape)}"
            )
        return paid - self.strength * worth

    @torch.no_grad()
    def _before(self, n: int, rng: Rng) -> tuple[TokenState, int]:
        """Chains where the steps with a gradient begin."""
        x, first = self.sampler.init(n, rng), max(0, self.sampler.num_steps - self.truncate)
        for k in range(first):
            x = self.sampler.step(x, k, rng)
        return x, first

    def _step(
        self, network: nn.Module, x: TokenState, soft: Tensor, k: int, rng: Rng
    ) -> tuple[TokenState, Tensor, Tensor]:
        """Write the tokens of step k: the state, its soft rows, and the divergence (B,)."""
        with torch.no_grad():
            places, live = self.sampler.choose(x, rng)
            told = self._law(self.reference, x, places)
        with soft_inputs(network, soft):
            law = self._law(network, x, places)
        tokens, drawn = straight_through(law, self.temperature, rng)
        never = law == -torch.inf  # filled before the difference: there it has no gradient
        gap = (law.exp() * (law.masked_fill(never, 0) - told.masked_fill(never, 0))).sum(-1)
        where = places[..., None].expand(-1, -1, soft.shape[-1])
        written = torch.where(live[..., None], drawn, soft.gather(1, where))
        ids = self.sampler.commit(x.ids, places, live, tokens)
        # what ends a row is no draw: PADs behind its end have no gradient
        after = F.one_hot(ids, soft.shape[-1]).float()
        kept = torch.where((ids == x.ids)[..., None], soft, after).scatter(1, where, written)
        x = replace(x, ids=ids, trunk=None)
        if k + 1 < self.sampler.num_steps:
            x = evaluate(self.sampler.denoiser, x, k + 1)
        return x, kept, torch.where(live, gap, 0.0).sum(1)

    def _law(self, network: Any, x: TokenState, places: Tensor) -> Tensor:
        """Log-probabilities (B, M, V) that the sampler draws from at `places` (B, M)."""
        network = asked(network, x.condition, self.symbols)
        size = self.sampler.denoiser.block_size
        trunk = network.bidirectional(x.ids) if size is None else network.prefix(x.ids, size)
        there = trunk.gather(1, places[..., None].expand(-1, -1, trunk.shape[-1]))
        return self.sampler.draw.law(network.log_probs(there)).log_softmax(-1)


def straight_through(log_p: Tensor, temperature: float, rng: Rng) -> tuple[Tensor, Tensor]:
    """Draw tokens (...) from log_p (..., V), and one-hot rows (..., V) of them whose gradient is
    that of softmax((log_p + Gumbel noise) / temperature)."""
    u = uniform(log_p.shape, rng).double().clamp(min=2.0**-25)
    keys = log_p + (-(-u.log()).log()).to(log_p)
    tokens = keys.argmax(-1)
    relaxed = (keys / temperature).softmax(-1)
    return tokens, F.one_hot(tokens, log_p.shape[-1]) + relaxed - relaxed.detach()


@contextmanager
def soft_inputs(network: nn.Module, soft: Tensor) -> Iterator[None]:
    """Let the gradient of a token network's pass reach soft rows (B, L, V), which it reads as the
    tokens that they hold: its two embeddings are linear in them. Raises ValueError for a network
    without such embeddings."""
    own, previous = (getattr(network, name, None) for name in ("own", "previous"))
    if not isinstance(own, nn.Embedding) or not isinstance(previous, nn.Embedding):
        raise ValueError(
            f"soft tokens need a TokenTransformer, got {type(network).__name__}"
        )
    change = soft - soft.detach()
    before = F.pad(change[:, :-1], (0, 0, 1, 0))

    def reading(rows: Tensor) -> Callable[[nn.Embedding, Any, Tensor], Tensor]:
        return lambda module, _, out: out + (rows @ module.weight).to(out.dtype)

    hooks = [own.register_forward_hook(reading(change)),
             previous.register_forward_hook(reading(before))]  # fmt: skip
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass
class Draws:
    """Batches that say only how many chains a step draws."""

    batch_size: int

    def __len__(self) -> int:
        return self.batch_size

    def __call__(self, step: int, rank: int = 0, world: int = 1) -> TokenState:
        """Rows of the part of process `rank`."""
        size = len(range(rank, self.batch_size, world))
        return TokenState(torch.zeros(size, 1, dtype=torch.int64))

    def units(self, x0: TokenState) -> Tensor:
        """Rows, ()."""
        return torch.tensor(len(x0))

    def once(self) -> Iterator[TokenState]:
        """Nothing is held out."""
        return iter(())
