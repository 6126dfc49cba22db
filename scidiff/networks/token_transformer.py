"""A time-agnostic transformer over tokens: bidirectional, block-causal and causal with one set of
weights.

The input of position i is own(x_i) + previous(x_{i-1}), and own(MASK) = 0. While own() is zero for
every symbol, a clean
copy, a masked copy and a causal pass agree, so a network trained autoregressively (`causal`, one
cheap pass) is already
the block-diffusion network of block size 1: the adaptation to larger blocks (SDAR) starts without
a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scidiff.data.tokens import EOS, PAD, Vocabulary
from scidiff.networks.conditioning import (
    ConditionEmbedding,
    Standard,
    check_standard,
    time_features,
)
from scidiff.networks.flex_attention import two_copy_tiles
from scidiff.networks.layers import Block, Mask, Seen, rotary_table


@dataclass(frozen=True)
class TokenTransformerConfig:
    vocab_size: int  # with PAD, EOS and MASK
    max_length: int  # positions, EOS included
    width: int = 256
    depth: int = 4
    heads: int = 4
    expand: int = 4  # MLP width / width
    time: bool = False  # read t: needed by a flow, of no use to masked diffusion
    conditions: Standard = ()  # mean and spread of each number given

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width must be a multiple of 2 * heads = {2 * self.heads}, got {self.width}"
            )
        check_standard(self.conditions)


def shifted(ids: Tensor) -> Tensor:
    """The token before each position; EOS stands before the first."""
    return F.pad(ids[:, :-1], (1, 0), value=EOS)


def block_causal_mask(length: int, block_size: int, device: torch.device) -> Tensor:
    """(L, L) bool: position i may attend j when j's block is not later than i's."""
    block = torch.arange(length, device=device) // block_size
    return block[:, None] >= block[None, :]


def two_copy_mask(length: int, block_size: int, device: torch.device) -> Tensor:
    """(2L, 2L) bool over [noisy; clean]: Arriola et al. 2025 (BD3-LM), section 4.

    A noisy position attends its own noisy block and all earlier clean blocks; a clean one its own
    and earlier clean blocks.
    """
    block = torch.arange(length, device=device) // block_size
    q, k = block[:, None], block[None, :]
    return torch.cat(
        [torch.cat([q == k, q > k], 1), torch.cat([torch.zeros_like(q == k), q >= k], 1)]
    )


class TokenTransformer(nn.Module):
    """Trunk (B, L, D) and a head in float32 or wider; see the module's docstring for the input.

    The time and, with `conditions`, what `given` embeds are added to the input of every position;
    both maps start at zero, so that an untold network is where training begins.
    """

    angles: Tensor
    flex_from: int | None = None  # positions of both copies from which tiles are used; None: never

    def __init__(self, config: TokenTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.mask_id = config.vocab_size - 1
        self.own = nn.Embedding(config.vocab_size, config.width, padding_idx=self.mask_id)
        self.previous = nn.Embedding(config.vocab_size, config.width)
        blocks = [Block(config.width, config.heads, config.expand) for _ in range(config.depth)]
        self.blocks = nn.ModuleList(blocks)
        self.time_in = nn.Linear(64, config.width, bias=False) if config.time else None
        asked = config.conditions
        self.asked = ConditionEmbedding(asked, config.width) if asked else None
        self.asked_in = nn.Linear(config.width, config.width, bias=False) if asked else None
        self.norm = nn.RMSNorm(config.width)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.register_buffer(
            "angles",
            rotary_table(config.max_length, config.width // config.heads),
            persistent=False,
        )
        nn.init.normal_(self.previous.weight, std=1.0)
        branches = [layer for block in blocks for layer in (block.attention.out, block.down)]
        told = [layer.weight for layer in (self.time_in, self.asked_in) if layer is not None]
        ends = [self.own.weight, self.head.weight, *(layer.weight for layer in branches)]
        for weight in (*ends, *told):
            nn.init.zeros_(weight)

    def extended(self, vocabulary: Vocabulary) -> TokenTransformer:
        """A copy for a vocabulary that has more symbols behind the old ones; the new ones start
        as MASK's neighbourhood."""
        bigger = TokenTransformer(replace(self.config, vocab_size=len(vocabulary)))
        state, keep = self.state_dict(), self.mask_id  # every id but MASK stays
        for key in ("own.weight", "previous.weight", "head.weight"):
            rows = torch.zeros_like(bigger.state_dict()[key])
            rows[:keep], rows[-1] = state[key][:keep], state[key][-1]
            if key == "previous.weight":
                rows[keep:-1] = state[key][-1]
            state[key] = rows
        bigger.load_state_dict(state)
        return bigger

    @property
    def max_length(self) -> int:
        return self.config.max_length

    @property
    def trunk_width(self) -> int:
        """Channels of the trunk's output."""
        return self.config.width

    def trunk(
        self,
        ids: Tensor,
        previous: Tensor,
        angles: Tensor,
        mask: Mask | None = None,
        *,
        causal: bool = False,
        t: Tensor | None = None,
        condition: Tensor | None = None,
        seen: Sequence[Seen] | None = None,
    ) -> Tensor:
        """One pass over ids (B, L) whose left neighbours are `previous` (B, L), with an embedded
        condition (B, D) and what each layer has `seen` before: (B, L, D)."""
        x = F.rms_norm(self.own(ids) + self.previous(previous), (self.config.width,))
        if (t is None) == self.config.time:
            raise ValueError(f"t must be {'(B,)' if self.config.time else None} here, got {t}")
        if self.time_in is not None and t is not None:
            x = x + self.time_in(time_features(t, 64))[:, None]
        if self.asked is not None and self.asked_in is not None:
            told = self.asked.hidden(len(ids)) if condition is None else condition
            x = x + self.asked_in(told)[:, None]
        for i, block in enumerate(self.blocks):
            x = block(x, angles, mask, causal, None if seen is None else seen[i])
        return self.norm(x)

    def given(self, condition: Tensor, shown: Tensor) -> GivenTokens:
        """The network for rows with conditions (B, C) in their own units, hidden where not
        `shown` (B,) bool."""
        if self.asked is None:
            raise ValueError("this network was made without conditions and is given none")
        return GivenTokens(self, self.asked(condition, shown))

    def bidirectional(
        self, ids: Tensor, t: Tensor | None = None, condition: Tensor | None = None
    ) -> Tensor:
        """Every position attends every position that is not PAD; t (B,) where it is read."""
        seen = (ids != PAD)[:, None, None, :]
        angles = self.angles[: ids.shape[1]]
        return self.trunk(ids, shifted(ids), angles, seen, t=t, condition=condition)

    def causal(self, clean: Tensor, condition: Tensor | None = None) -> Tensor:
        """Autoregressive pass: position i sees clean[:, :i] only, through its left neighbour and
        the keys before it."""
        hidden, angles = torch.full_like(clean, self.mask_id), self.angles[: clean.shape[1]]
        return self.trunk(hidden, shifted(clean), angles, causal=True, condition=condition)

    def prefix(self, ids: Tensor, block_size: int, condition: Tensor | None = None) -> Tensor:
        """Block-causal pass over clean blocks followed by the block being generated."""
        L = ids.shape[1]
        seen = block_causal_mask(L, block_size, ids.device)
        return self.trunk(ids, shifted(ids), self.angles[:L], seen, condition=condition)

    def behind(
        self,
        ids: Tensor,
        places: Tensor,
        mask: Tensor | None,
        seen: Sequence[Seen],
        condition: Tensor | None = None,
    ) -> Tensor:
        """The positions `places` (B, W), or (1, W) the same of all rows, of ids (B, L), behind
        what each layer has `seen`: (B, W, D)."""
        at = places.expand(len(ids), -1)
        own, before = (row.gather(1, at) for row in (ids, shifted(ids)))
        angles = self.angles[places][:, None]
        return self.trunk(own, before, angles, mask, condition=condition, seen=seen)

    def two_copy(
        self, noisy: Tensor, clean: Tensor, block_size: int, condition: Tensor | None = None
    ) -> Tensor:
        """Training pass of block diffusion over [noisy; clean] (B, 2L); returns the noisy half (B,
        L, D)."""
        L = noisy.shape[1]
        first = torch.arange(L, device=noisy.device) % block_size == 0
        previous = torch.cat(
            [torch.where(first, shifted(clean), shifted(noisy)), shifted(clean)], 1
        )
        both, angles = torch.cat([noisy, clean], 1), self.angles[:L].repeat(2, 1)
        tiles = self.flex_from is not None and 2 * L >= self.flex_from
        seen = (two_copy_tiles if tiles else two_copy_mask)(L, block_size, noisy.device)
        return self.trunk(both, previous, angles, seen, condition=condition)[:, :L]

    def log_scores(self, trunk: Tensor) -> Tensor:
        """The head's output (..., V) in float32 or wider; MASK has none (SUBS, Sahoo et al. 2024,
        section 3.2)."""
        wide = torch.promote_types(trunk.dtype, torch.float32)
        with torch.autocast(trunk.device.type, enabled=False):
            logits = F.linear(trunk.to(wide), self.head.weight.to(wide))
            hidden = torch.full((), self.mask_id, device=trunk.device)
            return logits.index_fill(-1, hidden, float("-inf"))

    def log_probs(self, trunk: Tensor) -> Tensor:
        """Token log-probabilities (..., V) in float32 or wider."""
        return self.log_scores(trunk).log_softmax(-1)


@dataclass(frozen=True)
class GivenTokens:
    """A token network bound to the conditions of its rows: the same passes."""

    network: TokenTransformer
    condition: Tensor  # (B, D) embedded, the learned vector where it is hidden

    @property
    def max_length(self) -> int:
        return self.network.max_length

    def bidirectional(self, ids: Tensor, t: Tensor | None = None) -> Tensor:
        """See TokenTransformer.bidirectional."""
        return self.network.bidirectional(ids, t, self.condition)

    def causal(self, clean: Tensor) -> Tensor:
        """See TokenTransformer.causal."""
        return self.network.causal(clean, self.condition)

    def prefix(self, ids: Tensor, block_size: int) -> Tensor:
        """See TokenTransformer.prefix."""
        return self.network.prefix(ids, block_size, self.condition)

    def behind(
        self, ids: Tensor, places: Tensor, mask: Tensor | None, seen: Sequence[Seen]
    ) -> Tensor:
        """See TokenTransformer.behind."""
        return self.network.behind(ids, places, mask, seen, self.condition)

    def two_copy(self, noisy: Tensor, clean: Tensor, block_size: int) -> Tensor:
        """See TokenTransformer.two_copy."""
        return self.network.two_copy(noisy, clean, block_size, self.condition)

    def log_scores(self, trunk: Tensor) -> Tensor:
        """See TokenTransformer.log_scores."""
        return self.network.log_scores(trunk)

    def log_probs(self, trunk: Tensor) -> Tensor:
        """See TokenTransformer.log_probs."""
        return self.network.log_probs(trunk)
