"""Second order for masked sampling with several tokens a step.

Tokens of one step are drawn independently, so the dependence of a pair is lost when both fall into
one step. In random order that happens to D of the n (n - 1) / 2 pairs of a row, whichever they
are, with equal chances; the other X pairs are right. If p0 is the first prediction of a row and p
the current one, p - p0 is what the tokens written so far have taught, and

    p^ = p + (D / X) (p - p0), cut at 0 and normalised,

counts it (X + D) / X times, so that in the mean over orders every pair has its whole dependence.
To first order in the dependence between positions the law of a row is made of its pairs, hence the
error falls from first to second order, at no further network call. Rows with strong dependences
gain less. Own derivation; several tokens a step are of Zheng et al. 2024 (arXiv 2409.02908).
"""

from __future__ import annotations

import torch
from torch import Tensor

from scidiff.samplers.paces import Fixed, Pace, Scheduled


def extrapolated(now: Tensor, first: Tensor, weight: Tensor) -> Tensor:
    """log of p + w (p - p0), cut at 0 and normalised, (B, M, V); `now` and `first` are log p and
    log p0 (B, M, V), w is (B,). A token that p excludes stays excluded."""
    p, p0 = now.softmax(-1), first.softmax(-1)
    bent = (p + weight[:, None, None] * (p - p0)).clamp(min=0)
    bent = torch.where(p > 0, bent, 0.0)
    return (bent / bent.sum(-1, keepdim=True)).log()


def pair_weight(pace: Pace, total: Tensor) -> Tensor:
    """D / X for rows that generate `total` (B,) positions, 0 where all are written in one step:
    then nothing was learnt that could be extrapolated. float32 (B,)."""
    if not isinstance(pace, Fixed | Scheduled):
        raise ValueError(
            f"second_order needs a pace that is known in advance, Fixed or Scheduled, got {pace}"
        )
    together = pace.pairs_together(total)
    apart = total * (total - 1) // 2 - together
    return torch.where(apart > 0, together / apart.clamp(min=1), 0.0)
