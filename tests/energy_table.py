"""A law of rows that can be listed, the energies that know it, and the sampler of both."""

import numpy as np
import torch

from scidiff.core import Shared
from scidiff.data.tokens import TokenState
from scidiff.networks.energy import Autoregressive
from scidiff.samplers.energy import EnergySampler, log_drawn
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.testing import Table

P = np.random.default_rng(0).dirichlet(np.ones(81)).reshape([3] * 4)
TABLE = Table.of(torch.from_numpy(P))
L, MASK = TABLE.length, TABLE.mask_id


def left_to_right(ids):
    """The table's own log p(x_l | x_<l) (M, L)."""
    parts = []
    for i in range(L):
        seen = torch.where(torch.arange(L) < i, ids, MASK)
        told = TABLE.log_conditionals[TABLE.index(seen), i]
        parts.append(told.gather(1, ids[:, i : i + 1])[:, 0])
    return torch.stack(parts, 1)


ORACLE = Autoregressive(left_to_right, MASK)
CARRIED = Autoregressive(left_to_right, MASK, carry_over=True)


def upside_down(x, clean, drawn):
    return -ORACLE(x, clean, drawn)


def uneven(x, clean, drawn):
    """An energy that is nobody's law: by tokens, their neighbours and what is shown."""
    symbols, shown = clean.double(), (x.ids != MASK).sum(1)[:, None]
    return ((symbols - 3) * (symbols.roll(1, -1) - 2.5)).sum(-1) / (2.0 + shown)


def sampler(energy=ORACLE, tokens_per_step=2, **options):
    inner = MaskedSampler(
        TABLE.denoiser(), FixedCanvas.blank(L, MASK), tokens_per_step=tokens_per_step
    )
    return EnergySampler(inner, energy, **options)


def at(ids):
    """States (B) with the oracle's prediction."""
    x = TokenState(ids)
    return TokenState(ids, Shared(TABLE.denoiser()(x, 0)))


def weighed(energy, ids):
    """Every sequence with its chance q (N,) under the product of marginals at one state ids (L,),
    and its weight w (N,) in the sampler's hands."""
    s, clean = sampler(energy), TABLE.seqs[None]
    x = at(ids[None])
    drawn = log_drawn(TABLE.log_conditionals[TABLE.index(ids[None])], x.ids == MASK, clean)
    fits = ((ids == MASK) | (ids == TABLE.seqs)).all(1)
    return torch.where(fits, drawn[0].exp(), 0.0), s.log_weights(x, clean, drawn)[0].exp()
