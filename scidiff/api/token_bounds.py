"""Which bound on log p a model of token rows is read by, and what its lengths add to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scidiff.data.tokens import TokenState
from scidiff.messages import nearest
from scidiff.processes.block import BlockProcess
from scidiff.processes.flow_bounds import JumpBound, StepBound
from scidiff.processes.hiding import AtRate
from scidiff.processes.masked import MaskedProcess
from scidiff.processes.noise_levels import Power
from scidiff.samplers.token_likelihood import (
    SymbolsOnly,
    exact_log_likelihood,
    log_likelihood,
    order_log_likelihood,
)

MASKED = ("k", "t", "order", "sequential")
BLOCKS = ("k",)
FLOW = ("t",)

Found = tuple[Tensor, Tensor]
"""log p in nats or a lower bound, and its standard error, each (B,)."""


def masked_bound(
    network: Any, x0: TokenState, mask_id: int, method: str | None, draws: int, seed: int
) -> Found:
    """log p(row | its length) of a model of masked diffusion.

    k: hide an exact count (the least variable; the default). t: at a rate, the continuous-time
    bound. order: whole random orders, n network rows each. sequential: from left to right, exact
    for a sampler with that order.
    """
    method = _chosen(method, MASKED, "masked diffusion")
    told = SymbolsOnly(network)
    if method in ("order", "sequential"):
        orders = draws if method == "order" else 0
        return order_log_likelihood(told, MaskedProcess(mask_id), x0, orders, seed)
    process = MaskedProcess(mask_id, AtRate(Power(2.0))) if method == "t" else None
    return log_likelihood(told, process or MaskedProcess(mask_id), x0, draws, seed)


def block_bound(
    network: Any, x0: TokenState, process: BlockProcess, method: str | None, draws: int, seed: int
) -> Found:
    """log p(row) of a model that writes from left to right; exact for blocks of one token."""
    _chosen(method, BLOCKS, "blocks")
    if process.block_size == 1:
        return exact_log_likelihood(network, process, x0)
    return log_likelihood(network, process, x0, draws, seed)


def flow_bound(
    network: Any, x0: TokenState, process: JumpBound | StepBound, method: str | None, draws: int,
    seed: int,
) -> Found:  # fmt: skip
    """log p(row | its length) of a discrete flow: in continuous time, or of a chain of steps."""
    _chosen(method, FLOW, "discrete flow")
    return log_likelihood(network, process, x0, draws, seed)


def length_log_prob(counts: Sequence[float], x0: TokenState, eligible: Tensor) -> Tensor:
    """log of how often training rows are as long as each row (B,), float64: the law that lengths
    are drawn from, and -inf for a length that no training row has."""
    law = torch.tensor(counts, dtype=torch.float64)
    size = eligible.sum(1).cpu()
    found = torch.zeros(len(size), dtype=torch.float64)
    inside = size < len(law)
    found[inside] = law[size[inside]] / law.sum()
    return found.log()


def _chosen(method: str | None, known: Sequence[str], of: str) -> str:
    chosen = known[0] if method is None else method
    if chosen not in known:
        raise ValueError(
            f"method of {of} must be one of {', '.join(known)}, got {chosen!r}"
            f"{nearest(chosen, known)}"
        )
    return chosen
