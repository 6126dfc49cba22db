"""Resampling that keeps populations apart: by priorities, which leave the law as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.data.records import Record
from scidiff.guidance.selection import PerParent, Resample, per_parent

Factors = Callable[[Sequence[Any], Sequence[float]], Sequence[float]]
"""factors(objects, copies) -> one above 0 for each object of one population, of which resampling
by the weights alone would make so many copies; None stands for an object that is not known."""


@dataclass
class Spread:
    """`rule` with priorities w f in place of the weights w: f says how welcome the object is that
    a particle's look-ahead decoded to, beside those of its own population.

    A resampled particle carries its weight over its share, so the choice is proper whatever f is;
    where f is not even, so are the weights. What was decoded is heard from the reward
    (`Decoded.telling`); a choice before which nothing was heard is that of `rule`.
    """

    factors: Factors
    rule: Resample = field(default_factory=Resample)
    proper: bool = True
    resamples: bool = True
    _heard: list[Any] = field(default_factory=list, repr=False)

    def hear(self, records: Sequence[Record]) -> None:
        """Learn what the candidates of the next choice decoded to, in their order; with several
        draws of each the first one counts."""
        self._heard = [record.obj if record.valid else None for record in records]

    @property
    def final(self) -> PerParent:
        """The rule of the last step."""
        return self.rule.final

    def __call__(self, log_w: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        kept, each = per_parent(log_w, rng)
        heard, self._heard = self._heard[:: max(1, len(self._heard) // log_w.numel())], []
        log_f = torch.zeros_like(each)
        if heard:
            rows = kept + log_w[0].numel() * torch.arange(len(kept), device=kept.device)[:, None]
            copies = each.softmax(-1) * each.shape[1]
            told = [self.factors([heard[i] for i in row], many)
                    for row, many in zip(rows.tolist(), copies.tolist(), strict=True)]
            log_f = torch.tensor(told, dtype=each.dtype, device=each.device).log()
        drawn, each = self.rule.by_priority(each, log_f, rng)
        return kept.gather(1, drawn), each
