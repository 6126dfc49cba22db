"""Sequence, then structure: a causal transformer writes the atoms of a molecule one by one, and a
second one places them in blocks, told the hidden states of the first (UniGenX, Zhang et al. 2025,
arXiv 2503.06687)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from scidiff.networks.continuous_blocks import ContinuousBlocks, ContinuousBlocksConfig
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig


@dataclass(frozen=True)
class PointBlockNetworkConfig:
    vocab_size: int  # with PAD, EOS and MASK
    max_atoms: int
    width: int = 128
    heads: int = 4
    sequence_depth: int = 3  # of the transformer that writes atoms
    token_depth: int = 1  # of what places atoms: over all of them, both directions,
    depth: int = 5  # over blocks
    head_depth: int = 0  # and of a head that alone sees noise; 0: the whole sees it
    expand: int = 2
    spatial: int = 4  # see `ContinuousBlocksConfig`

    def sequence(self) -> TokenTransformerConfig:
        """Of the part that writes atoms, and their end."""
        sizes = self.width, self.sequence_depth, self.heads, self.expand
        return TokenTransformerConfig(self.vocab_size, self.max_atoms + 1, *sizes)

    def structure(self) -> ContinuousBlocksConfig:
        """Of the part that places them."""
        return ContinuousBlocksConfig(
            self.vocab_size, self.max_atoms, 3, self.width, self.heads, self.depth,
            self.token_depth, self.head_depth, self.expand, self.width, self.spatial,
        )  # fmt: skip


class PointBlockNetwork(nn.Module):
    """Two transformers with one loss: hidden states of `sequence` are what `structure` is told."""

    def __init__(self, config: PointBlockNetworkConfig) -> None:
        super().__init__()
        if config.max_atoms < 1:
            raise ValueError(f"max_atoms must be at least 1, got {config.max_atoms}")
        self.config = config
        self.sequence = TokenTransformer(config.sequence())
        self.structure = ContinuousBlocks(config.structure())

    @property
    def max_length(self) -> int:
        """Atoms of the largest molecule."""
        return self.config.max_atoms

    @property
    def blocks(self) -> list[nn.Module]:
        """The layers, which training may compile."""
        s = self.structure
        return [*self.sequence.blocks, *s.token_blocks, *s.blocks, *s.head_blocks]

    def read(self, ids: Tensor) -> Tensor:
        """Hidden states (B, L, D) of ids (B, L): state i has read the first i of them and says
        what comes next."""
        return self.sequence.causal(ids)
