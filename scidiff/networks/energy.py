"""Energies of whole rows: what a product of marginals does not know.

A masked network predicts every hidden position by itself, p_diff(x0 | x_t) = prod_l p(x0_l | x_t).
The residual model p_diff(x0 | x_t) exp(-E(x_t, x0)) / Z(x_t) puts the dependence back (EDLM, Xu et
al. 2024, arXiv 2410.21357, eq. 6): a low energy is a row like the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scidiff.data.tokens import EOS, FIRST_SYMBOL, PAD, TokenState
from scidiff.networks.layers import Block, rotary_table
from scidiff.processes.masked import TokenNetwork, cross_entropy


class Energy(Protocol):
    """What a clean row costs, seen from a partly hidden one."""

    def __call__(self, x: TokenState, clean: Tensor, log_drawn: Tensor) -> Tensor:
        """Energies (B, K) of K clean rows (B, K, L) for each row of x (B).

        `log_drawn` (B, K) is the log-probability of each under the law that it was drawn from,
        the product over what x hides: an energy that names its law outright takes it back out.
        """
        ...


# ---------------------------------------------------------------- from an autoregressive model


class Autoregressive:
    """E = -log p_AR(x0) + log p_diff(x0 | x_t): the residual model is p_AR given what x_t shows
    (Xu et al. 2024, section 4.1).

    `carry_over` counts only the tokens that x_t hides (coAR): prod over hidden l of p_AR(x0_l |
    x0_<l), which needs no Z (it is 1), but does not look at what is shown behind a hidden token.
    """

    def __init__(
        self, log_probs: Callable[[Tensor], Tensor], mask_id: int, *, carry_over: bool = False
    ) -> None:
        self.log_probs, self.mask_id, self.carry_over = log_probs, mask_id, carry_over

    def __call__(self, x: TokenState, clean: Tensor, log_drawn: Tensor) -> Tensor:
        log_p = self.log_probs(clean.flatten(0, 1)).view(clean.shape).double()
        if self.carry_over:
            log_p = torch.where((x.ids == self.mask_id)[:, None], log_p, 0.0)
        return log_drawn - log_p.sum(-1)


class LeftToRight:
    """log p(x_l | x_<l) (M, L) of every token of rows (M, L) from one pass of a left-to-right
    network, 0 at PAD; and by `laws` what else may stand there.

    `blocks` says that the network was trained on blocks and reads its clean copy. `translate` (V,)
    are the network's ids of the rows' ids, where the two vocabularies differ; both have PAD = 0.
    On the CPU equal rows are read once and each micro-batch of about 1,000 tokens is cut behind
    its longest row. Rows go to `device`, where the network is, and their values come back. `ends`
    False leaves `laws` over symbols alone: neither PAD nor EOS, of rows whose end is given.
    """

    def __init__(
        self,
        network: TokenNetwork,
        mask_id: int,
        *,
        blocks: bool = False,
        translate: Tensor | None = None,
        device: torch.device | None = None,
        ends: bool = True,
    ) -> None:
        self.device, self.ends = device, ends
        self.network, self.mask_id, self.blocks = network, mask_id, blocks
        self.translate, self.rows = translate, 0

    @torch.no_grad()
    def __call__(self, ids: Tensor) -> Tensor:
        return self._read(ids if self.device is None else ids.to(self.device)).to(ids.device)

    def _read(self, ids: Tensor) -> Tensor:
        ids = ids if self.translate is None else self.translate.to(ids.device)[ids]
        if ids.device.type != "cpu":
            return self._evaluate(ids)
        distinct, back = ids.unique(dim=0, return_inverse=True)
        out = torch.zeros(distinct.shape, dtype=torch.float32)
        lengths = (distinct != PAD).sum(1)
        rows = lengths.argsort(descending=True)
        while len(rows):
            widest = max(1, int(lengths[rows[0]]))
            chunk, rows = rows.tensor_split([max(1, 1024 // widest)])
            out[chunk, :widest] = self._evaluate(distinct[chunk, :widest])
        return out[back]

    def _evaluate(self, ids: Tensor) -> Tensor:
        return torch.where(ids == PAD, 0.0, -cross_entropy(self.network, self._trunk(ids), ids))

    def _trunk(self, ids: Tensor) -> Tensor:
        self.rows += len(ids)
        if self.blocks:
            return self.network.two_copy(torch.full_like(ids, self.mask_id), ids, 1)
        return self.network.causal(ids)

    @torch.no_grad()
    def laws(self, ids: Tensor, positions: Tensor, live: Tensor) -> Tensor:
        """log p(v | x_<l) (M, P, V) at the positions l (M, P) of rows (M, L), over the ids of the
        rows and normalised; behind an EOS only PAD may stand. What is said where not `live` (M, P)
        means nothing; on the CPU rows are read up to their last live position, and those without
        one are told -inf at no cost."""
        table = self.translate
        theirs = ids if table is None else table.to(ids.device)[ids]
        width = len(table) if table is not None else self.mask_id + 1
        told = torch.full((*positions.shape, width), float("-inf"), device=ids.device)
        for rows, read in self._asked(positions, live, ids.shape[1]):
            here = theirs[rows, :read].to(self.device)
            at = positions[rows].clamp(max=read - 1).to(self.device)
            trunk = self._trunk(here)
            trunk = trunk.gather(1, at[..., None].expand(-1, -1, trunk.shape[-1]))
            told[rows] = self._over_ours(self.network.log_probs(trunk)).to(told)
        ended = (F.pad(ids[:, :-1], (1, 0)) == EOS).cumsum(1).gather(1, positions) > 0
        pads = torch.where(torch.arange(width, device=ids.device) == PAD, 0.0, float("-inf"))
        return torch.where(ended[..., None], pads, told)

    def _asked(
        self, positions: Tensor, live: Tensor, length: int
    ) -> Iterator[tuple[Tensor, int]]:
        """Rows (n,) that are read together, and how far."""
        if live.device.type != "cpu":
            yield torch.arange(len(live), device=live.device), length
            return
        far = torch.where(live, positions + 1, 0).amax(1)
        rows = far.argsort(descending=True)
        rows = rows[: int((far > 0).sum())]
        while len(rows):
            width = int(far[rows[0]])
            chunk, rows = rows.tensor_split([max(1, 1024 // width)])
            yield chunk, width

    def _over_ours(self, log_p: Tensor) -> Tensor:
        """Log-probabilities (.., V) of the rows' ids from those of the network's."""
        ours = log_p if self.translate is None else log_p[..., self.translate.to(log_p.device)]
        if not self.ends:
            ends = torch.arange(ours.shape[-1], device=ours.device) < FIRST_SYMBOL
            ours = ours.masked_fill(ends, float("-inf"))
        return ours.log_softmax(-1)


# ---------------------------------------------------------------- learned by contrast


@dataclass(frozen=True)
class EnergyTransformerConfig:
    vocab_size: int  # with PAD, EOS and MASK
    max_length: int  # positions, EOS included
    width: int = 128
    depth: int = 4
    heads: int = 4
    expand: int = 4  # MLP width / width

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width must be a multiple of 2 * heads = {2 * self.heads}, got {self.width}"
            )


class EnergyTransformer(nn.Module):
    """E(x_t, x0) (B,): both rows embedded position by position, a transformer over their
    projection, the mean over what is not PAD, and a head of two layers (Xu et al. 2024, section
    4.2).

    Attention knows how far positions are apart and the mean forgets where they stood, so places
    are embedded as well: without them rows that say the same elsewhere look much alike. An
    untrained one is 0 everywhere, so that the residual model starts as the masked one.
    """

    angles: Tensor

    def __init__(self, config: EnergyTransformerConfig) -> None:
        super().__init__()
        self.config = config
        W = config.width
        self.noisy = nn.Embedding(config.vocab_size, W)
        self.clean = nn.Embedding(config.vocab_size, W)
        self.places = nn.Embedding(config.max_length, W)
        self.join = nn.Linear(2 * W, W)
        self.blocks = nn.ModuleList(
            Block(W, config.heads, config.expand) for _ in range(config.depth)
        )
        self.norm = nn.RMSNorm(W)
        self.up, self.out = nn.Linear(W, W), nn.Linear(W, 1)
        angles = rotary_table(config.max_length, W // config.heads)
        self.register_buffer("angles", angles, persistent=False)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def energy(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """E (B,) of clean rows (B, L) seen from partly hidden rows (B, L); float32."""
        real = clean != PAD
        both = torch.cat([self.noisy(noisy), self.clean(clean)], -1)
        placed = self.join(both) + self.places.weight[: clean.shape[1]]
        h = F.rms_norm(placed.float(), (self.config.width,))
        angles, mask = self.angles[: clean.shape[1]], real[:, None, None, :]
        for block in self.blocks:
            h = block(h, angles, mask, False)
        h = torch.where(real[..., None], self.norm(h), 0.0).sum(1) / real.sum(1, keepdim=True)
        with torch.autocast(h.device.type, enabled=False):
            return self.out(F.gelu(self.up(h.float()))).squeeze(-1)


class Contrastive:
    """The energies of a network with `energy(noisy, clean)`, as samplers ask for them."""

    def __init__(self, network: EnergyTransformer) -> None:
        self.network, self.rows = network.eval(), 0

    @torch.no_grad()
    def __call__(self, x: TokenState, clean: Tensor, log_drawn: Tensor) -> Tensor:
        B, K, L = clean.shape
        self.rows += B * K
        noisy = x.ids.repeat_interleave(K, 0)  # row b K + k: candidate k of row b
        return self.network.energy(noisy, clean.reshape(B * K, L)).view(B, K)
