"""Policies of block sizes for a trained model: learnt from the validity of what it draws, less
what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scidiff.api.infilling import read_rows
from scidiff.api.token_engine import TokenEngine
from scidiff.api.typed import typed
from scidiff.core import ScidiffError, seeded, torch_seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.size_learning import Round, learn_sizes
from scidiff.networks.size_policy import SizePolicy, SizePolicyConfig
from scidiff.samplers.block_sizes import LearnedSizes
from scidiff.samplers.masked import MaskedSampler

LEAN = 3.0  # most rows of a trained model are valid where most tokens are written alone

if TYPE_CHECKING:
    from scidiff.api.model import Model


@typed
def learn_block_policy(
    model: Model,
    file: str | Path,
    *,
    cost: float = 0.01,
    sizes: Sequence[int] = (1, 2, 4, 8),
    rounds: int = 60,
    rows: int = 128,
    lr: float = 0.01,
    seed: int = 0,
) -> list[Round]:
    """Learn how many tokens to write at once and write the policy to `file` (.safetensors).

    A row is worth 1 if it is valid and pays `cost` for every network call it takes. Where `file`
    lies in `block_policies/` of the model's folder, `model.sample(n, block_policy="its name")`
    finds it; elsewhere by its path. Raises ScidiffError for models that do not write in blocks
    and for sizes beyond theirs.
    """
    engine = model.engine
    if not isinstance(engine, TokenEngine) or not engine.block_causal:
        raise ScidiffError(
            f"a policy of block sizes needs a model that writes strings in blocks, got {model}"
        )
    most = engine.config["process"].get("block_size") or 1
    if max(sizes, default=0) > most:
        raise ScidiffError(f"sizes must be at most the model's block_size {most}, got {sizes}")
    with torch_seeded(seed):
        policy = SizePolicy(SizePolicyConfig(tuple(sizes), engine.network.trunk_width, lean=LEAN))

    def make(chosen: LearnedSizes) -> MaskedSampler:
        return engine.with_sizes(chosen, most)

    def valid(x: TokenState) -> Tensor:
        return torch.tensor([float(r.valid) for r in read_rows(model, x, {})])

    found = learn_sizes(
        make, policy, valid, cost=cost, rounds=rounds, rows=rows, lr=lr, rng=seeded(seed)
    )
    policy.save(Path(file))
    return found
