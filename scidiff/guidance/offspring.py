"""Offspring: what a model makes of finished rows when it goes back a part of the way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scidiff.core import Renoisable, uniform
from scidiff.data.tokens import PAD, TokenState
from scidiff.guidance.particles import sample
from scidiff.guidance.refine import Restarted
from scidiff.samplers.masked import MaskedSampler

LEVELS = 8  # steps that a brood of continuous states is taken back to, at most


@torch.no_grad()
def offspring(
    sampler: Renoisable[Any], clean: Any, rng: torch.Generator, *, reach: float = 1.0
) -> Any:
    """One child of every finished row `clean`: the row is taken back to a step k, uniform among
    the last share `reach` of those it took, and denoised again.

    The model is the mutation: a child is a draw of p(x | what step k keeps of its parent), so
    where all rows take as many steps, children of draws of an exact sampler are draws of it. Token
    rows have a k each; other states, whose noise has one level a batch, share `LEVELS` of them.
    """
    if not 0 < reach <= 1:
        raise ValueError(f"reach must lie in (0, 1], got {reach}")
    took = steps_taken(sampler, clean)
    if isinstance(clean, TokenState):
        back = (uniform(took.shape, rng) * reach * took).long() + 1
        k = (took - back).clamp(min=0)
        return _denoised(sampler, sampler.renoise(clean, k, rng), k, rng)  # type: ignore[arg-type]
    parts, rows = [], torch.arange(len(clean), device=rng.device)
    for part in rows.tensor_split(min(LEVELS, len(rows))):
        undone = int(float(uniform((), rng)) * reach * sampler.num_steps) + 1
        first = max(0, sampler.num_steps - undone)
        parts.append(sample(Restarted(sampler, clean[part], first), len(part), rng))
    return type(clean).cat(parts)


def _denoised(sampler: Renoisable[Any], x: Any, k: Tensor, rng: torch.Generator) -> Any:
    """Run each row from its own step (B,) to the end; a finished row is a fixed point of step."""
    last = sampler.num_steps
    for _ in range(last - int(k.min())):
        x, k = sampler.step(x, k.clamp(max=last - 1), rng), k + 1
    return x


def steps_taken(sampler: Renoisable[Any], clean: Any) -> Tensor:
    """Steps (B,) that finished rows took: of a sampler that writes so many tokens a step those up
    to a row's end, else all."""
    everyone = torch.full((len(clean),), sampler.num_steps)
    if not isinstance(sampler, MaskedSampler):
        return everyone
    written = (sampler.canvas.free(clean.ids) & (clean.ids != PAD)).sum(1)
    share = written.double() / max(1, sampler.canvas.max_masked)
    return (share * sampler.num_steps).ceil().long().clamp(1, sampler.num_steps)
