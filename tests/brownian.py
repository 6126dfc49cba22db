"""One Brownian path seen at every resolution, to measure strong orders with."""

import torch

from scidiff.core import seeded


def brownian(shape, length, levels, seed=0):
    """(W, H) of 2^levels equal intervals of [0, length], each (2^levels, *shape) float64.

    W is the increment, H = 1/h int (W_u - u W / h) du the space-time Levy area. Halving draws
    Z ~ N(0, h/16) and N ~ N(0, h/48): W_l = W/2 + 3H/2 + Z, H_l = H/4 - Z/2 + N,
    H_r = H/4 - Z/2 - N (Foster et al. 2020; Jelincic et al. 2024). Level j has its own
    generator, so a finer call sees the same path.
    """
    W, H = _normal((1, *shape), seed, 0, length, length / 12)
    for level in range(levels):
        h = length / 2**level
        Z, N = _normal(W.shape, seed, level + 1, h / 16, h / 48)
        left = W / 2 + 3 * H / 2 + Z
        W = torch.stack([left, W - left], 1).flatten(0, 1)
        H = torch.stack([H / 4 - Z / 2 + N, H / 4 - Z / 2 - N], 1).flatten(0, 1)
    return W, H


def _normal(shape, seed, level, *variances):
    rng = seeded(seed, level)
    return [v**0.5 * torch.randn(shape, generator=rng, dtype=torch.float64) for v in variances]
