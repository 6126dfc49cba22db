"""A token network as a sampler sees it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from scidiff.core import ScidiffError
from scidiff.data.tokens import PAD, TokenState
from scidiff.networks.token_transformer import GivenTokens, TokenTransformer


class TokenDenoiser:
    """A TokenTransformer as the sampler sees it: evaluate a state, read log-probabilities where
    needed. Conditions of the state are told to the network unless `shown` is False.

    On the CPU only unfinished rows and columns up to the last block in use are evaluated, in
    micro-batches of about 1,000 tokens that fit the cache; on a GPU the whole batch runs as it
    is, so nothing waits for the device. `micro_batch` bounds the rows of one network call.
    """

    def __init__(
        self,
        network: TokenTransformer,
        block_size: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        micro_batch: int | None = None,
        compact: bool | None = None,
        shown: bool = True,
    ) -> None:
        if block_size is not None and not 1 <= block_size <= network.config.max_length:
            raise ScidiffError(
                f"block_size must be None or in 1..{network.config.max_length} "
                f"(the model's length), got {block_size}"
            )
        self.network, self.block_size, self.dtype = network.eval(), block_size, dtype
        self.micro_batch, self.shown, self.rows = micro_batch, shown, 0
        self.mask_id, self.vocab_size = network.mask_id, network.config.vocab_size
        on_cpu = next(network.parameters()).device.type == "cpu"
        self.compact = on_cpu if compact is None else compact

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """Trunk output (B, L, D) at x; zero where `compact` found nothing left to say."""
        if self.compact:
            return self._compacted(x)
        if self.micro_batch is None:
            return self._evaluate(x)
        rows = torch.arange(len(x), device=x.ids.device).split(self.micro_batch)
        return torch.cat([self._evaluate(x[r]) for r in rows])

    @torch.no_grad()
    def log_probs(self, trunk: Tensor) -> Tensor:
        """(B, M, D) -> (B, M, V) float32, normalised, MASK = -inf."""
        return self.network.log_probs(trunk)

    @torch.no_grad()
    def _evaluate(self, x: TokenState) -> Tensor:
        self.rows += len(x)
        network: TokenTransformer | GivenTokens = self.network
        device = x.ids.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            if self.shown and x.condition is not None:
                everyone = torch.ones(len(x), dtype=torch.bool, device=x.ids.device)
                network = self.network.given(x.condition, everyone)
            if self.block_size is None:
                return network.bidirectional(x.ids).float()
            return network.prefix(x.ids, self.block_size).float()

    def _compacted(self, x: TokenState) -> Tensor:
        """Evaluate unfinished rows only, longest first, each micro-batch cut to the columns it
        needs."""
        ids, x = x.ids, replace(x, trunk=None)
        out = torch.zeros(*ids.shape, self.network.trunk_width, device=ids.device)
        needed = self._columns(ids)
        rows = torch.argsort(needed, stable=True)
        rows = rows[needed[rows] > 0]
        while len(rows):
            widest = int(needed[rows[-1]])
            size = min(max(1, 1024 // widest), self.micro_batch or len(ids))
            chunk, rows = rows[-size:], rows[:-size]
            part = x[chunk]
            out[chunk, :widest] = self._evaluate(replace(part, ids=part.ids[:, :widest]))
        return out

    def _columns(self, ids: Tensor) -> Tensor:
        """How many columns each row needs: up to its end, or to the end of its first block with a
        MASK; 0 if finished."""
        hidden = ids == self.mask_id
        if self.block_size is None:
            behind = (ids != PAD).flip(1).int().argmax(1)  # PADs may also stand inside a row
            return torch.where(hidden.any(1), ids.shape[1] - behind, 0)
        end = (hidden.int().argmax(1) // self.block_size + 1) * self.block_size
        return torch.where(hidden.any(1), end.clamp(max=ids.shape[1]), 0)
