"""Continuous graphs to token rows: the nearest graph that satisfies constraints, and what that
changed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scidiff.core import seeded
from scidiff.data.graph_tokens import EDGES, entries, node_symbols, triangle
from scidiff.data.graphs import GraphState
from scidiff.data.tokens import EOS, FIRST_SYMBOL, PAD, TokenState, Vocabulary
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.constraints import Constraint
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import Confidence


class Told:
    """A prediction that was made once and for all: log-probabilities (B, L, V)."""

    block_size: int | None = None
    rows = 0

    def __init__(self, log_probs: Tensor) -> None:
        self.told, self.vocab_size = log_probs, log_probs.shape[-1]
        self.mask_id = self.vocab_size - 1

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        return self.told

    def log_probs(self, trunk: Tensor) -> Tensor:
        return trunk


def quantised(
    state: GraphState, vocabulary: Vocabulary, constraints: Sequence[Constraint] = ()
) -> tuple[Tensor, Tensor]:
    """Round X to a node type and A to an edge type: ids (B, L) with EOS, and where the constraints
    changed what rounding alone gives (B, L) bool.

    Greedy: the position whose rounding is surest is written first, with the likeliest token that
    leaves its row possible, under the likelihoods exp(-(x - value)^2 / 0.1). It finds a good graph
    that is near, not the nearest. A position where nothing is possible stays MASK.
    """
    told, ids = graph_log_probs(state, vocabulary), blank_rows(state.mask, vocabulary.mask_id)
    rounded = torch.where(ids == vocabulary.mask_id, told.argmax(-1), ids)
    if not constraints or not bool((ids == vocabulary.mask_id).any()):
        return rounded, torch.zeros_like(rounded, dtype=torch.bool)
    canvas = FixedCanvas(ids, vocabulary.mask_id)
    sampler = MaskedSampler(
        Told(told), canvas, order=Confidence(), temperature=0, constraints=constraints
    )
    rng = seeded(0, device=ids.device)  # nothing is drawn from it
    x = sampler.init(len(ids), rng)
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, rng)
    return x.ids, x.ids != rounded


def graph_log_probs(state: GraphState, vocabulary: Vocabulary) -> Tensor:
    """Log-probabilities (B, L, V) of every token from how far X is from one-hot rows in the order
    of `node_symbols`, and A from edge values; L leaves room for EOS."""
    (B, N, _), V = state.X.shape, len(vocabulary)
    i, j = (index.to(state.X.device) for index in entries(N))
    told = state.X.new_full((B, triangle(N) + 1, V), float("-inf"))
    diagonal, beside = (i == j).nonzero()[:, 0], (i != j).nonzero()[:, 0]
    for column, symbol in enumerate(node_symbols(vocabulary)):
        told[:, diagonal, FIRST_SYMBOL + vocabulary.symbols.index(symbol)] = (
            20 * state.X[..., column]  # |x - e_c|^2 / 0.1 up to what all c share
        )
    pairs = state.A[:, i[beside], j[beside]]
    for value, symbol in enumerate(EDGES):
        if symbol in vocabulary.symbols:
            told[:, beside, FIRST_SYMBOL + vocabulary.symbols.index(symbol)] = (
                -((pairs - value) ** 2) / 0.1
            )
    told[:, -1, EOS] = 0.0
    return told.log_softmax(-1)


def blank_rows(mask: Tensor, mask_id: int) -> Tensor:
    """Rows (B, L) of MASK for the graphs whose nodes are given by `mask` (B, N), the first ones of
    each row; then EOS and PAD."""
    B, N = mask.shape
    position = torch.arange(triangle(N) + 1, device=mask.device)
    size = mask.sum(1)
    end = (size * (size + 1) // 2)[:, None]
    return torch.where(position < end, mask_id, torch.where(position == end, EOS, PAD))
