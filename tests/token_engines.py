"""Small engines of token rows over the symbols C and N, with weights drawn at random."""

import torch

from scidiff.api.token_engine import TokenEngine
from scidiff.core import seeded
from scidiff.data.tokens import TokenState, Vocabulary
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.networks.token_transformer import (
    TokenTransformer,
    TokenTransformerConfig,
)

L = 8
VOCABULARY = Vocabulary(("C", "N"))


def engine(kind="autoregressive", **sampling):
    net = TokenTransformer(TokenTransformerConfig(len(VOCABULARY), L, width=16, depth=1, heads=2))
    rng = seeded(5)
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim == 2:
                p.copy_(torch.randn(p.shape, generator=rng) / p.shape[1] ** 0.5)
        net.own.weight[VOCABULARY.mask_id] = 0
    block = {"masked": None, "autoregressive": 1, "block": 4}[kind]
    config = {
        "process": {"kind": kind, "block_size": block},
        "sampling": {"block_size": block, **sampling},
        "length_counts": [0, 1, 1, 2],
    }
    return TokenEngine(net.eval(), VOCABULARY, config)


def left_to_right(e, ids):
    """log p (L,) of each token given those before it, as the sampler of blocks of one sees it."""
    denoiser, out = TokenDenoiser(e.network, 1), []
    for i in range(L):
        x = TokenState(torch.where(torch.arange(L) < i, ids, e.network.mask_id)[None])
        out.append(denoiser.log_probs(denoiser(x, i))[0, i, ids[i]])
    return torch.stack(out).double()
