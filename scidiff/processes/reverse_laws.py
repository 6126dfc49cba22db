"""Discrete noise run backwards, position by position: where a noisy token goes when its clean one
is known, or known up to a law.

At time t a token is clean with probability 1 - t and drawn from `law` with probability t:
q_t(x | x0) = (1 - t) 1[x = x0] + t law(x). Shapes everywhere: tokens (B, L), laws of clean tokens
(B, L, V), the noise's law (L, V), times t > s of shape (), (B, 1, 1) or (1, 1, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def one_hot(ids: Tensor, like: Tensor) -> Tensor:
    """Certainty of ids, (B, L, V) in the type of `like` (..., V)."""
    return F.one_hot(ids, like.shape[-1]).to(like.dtype)


def posterior(x_t: Tensor, clean: Tensor, t: Tensor, s: Tensor, law: Tensor) -> Tensor:
    """sum over x0 of clean(x0) q(x_s | x_t, x0), (B, L, V), where

        q(x_s | x_t, x0) = q(x_t | x_s) q_s(x_s | x0) / q_t(x_t | x0),
        q(x_t | x_s) = r 1[x_t = x_s] + (1 - r) law(x_t), r = (1 - t) / (1 - s)

    (D3PM, Austin et al. 2021, arXiv 2107.03006, eq. 3 and 4). An x0 that cannot have become x_t
    leaves it where it is (absorbing noise: what is written is kept).
    """
    here = one_hot(x_t, law)
    law_x = (law * here).sum(-1, keepdim=True)
    r = torch.where(s < 1, (1 - t) / torch.where(s < 1, 1 - s, 1.0), 0.0)
    seen = (1 - t) * here + t * law_x  # q_t(x_t | x0) for every x0
    possible = seen > 0
    told = torch.where(possible, clean / torch.where(possible, seen, 1.0), 0.0)
    before = (1 - s) * told + s * law * told.sum(-1, keepdim=True)
    stay = torch.where(possible, 0.0, clean).sum(-1, keepdim=True)
    moved = (r * here + (1 - r) * law_x) * before + stay * here
    return torch.where(s > 0, moved, clean)


def jump_rates(x_t: Tensor, clean: Tensor, t: Tensor, law: Tensor) -> Tensor:
    """sum over x0 of clean(x0) times the rate of jumps to every other token as t falls, (B, L, V),
    0 at x_t itself; 0 < t < 1.

    The time reversal of the noise that replaces a token at rate 1 / (1 - t) (Campbell et al. 2022,
    arXiv 2205.14987, proposition 1), law(x_t) q_t(y | x0) / (q_t(x_t | x0) (1 - t)), is with
    A = q_t(x_t | x_t)

        clean(y) / t + law(y) (1 / (1 - t) - clean(x_t) / A).

    A token that noise never draws is clean for certain and does not jump.
    """
    here = one_hot(x_t, law)
    law_x = (law * here).sum(-1, keepdim=True)
    clean_x = (clean * here).sum(-1, keepdim=True)
    # the bracket without its cancellation, which takes all digits near t = 1 and at a clean x_t
    spread = (t * law_x / (1 - t) + (1 - clean_x)) / ((1 - t) + t * law_x)
    return torch.where(law_x > 0, clean / t + law * spread, 0.0) * (1 - here)


def evidence(x_t: Tensor, t: Tensor, law: Tensor) -> Tensor:
    """log of q_t(x_t | x0 = x_t) / q_t(x_t | x0 = any other), (B, L): what a token says of its own
    clean value. Infinite where noise never draws it."""
    law_x = (law * one_hot(x_t, law)).sum(-1, keepdim=True)
    return torch.log1p((1 - t) / (t * law_x))[..., 0]


def with_evidence(told: Tensor, x_t: Tensor, said: Tensor) -> Tensor:
    """log p(x0 | x_t) (B, L, V) of a network that tells p(x0 at i | x_t everywhere but at i), and
    the evidence (B, L) of x_t itself.

    This is what the prediction means in uniform diffusion (UDLM, Schiff et al. 2024, arXiv
    2412.10193): their reverse kernel q(x_s | x_t, x = prediction) is `posterior` of this law. With
    absorbing noise it keeps what is written.
    """
    here = one_hot(x_t, told) > 0
    finite = said.isfinite()[..., None]
    raised = torch.where(here & finite, told + said[..., None], told)
    certain = torch.where(here, 0.0, float("-inf"))
    return torch.where(finite, raised.log_softmax(-1), certain.to(told))
