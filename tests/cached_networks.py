"""A small token network whose words differ, for tests of what networks keep."""

import torch

from scidiff.core import seeded
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig

V, L = 9, 14
MASK = V - 1


def network(conditions=()):
    config = TokenTransformerConfig(V, L, width=32, depth=2, heads=2, conditions=conditions)
    net, rng = TokenTransformer(config), seeded(0)
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim == 2:
                p.copy_(1.5 * torch.randn(p.shape, generator=rng) / p.shape[1] ** 0.5)
        net.own.weight[MASK] = 0
    return net.eval()
