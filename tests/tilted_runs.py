"""Weights of guided runs over token rows against the law they estimate."""

import torch

from scidiff.core import seeded
from scidiff.guidance.particles import guided_sample

RUNS, K = 1500, 6


def z_scores(sampler, reward, select, target, branch=1, law=None):
    """Estimates of Z and of Z P(first token = 2) by 1500 populations of 6, against the truth, in
    standard errors.

    `target` is the `testing.Tilted` of the reward, whose strength is taken; a reward of None is 0.
    law (N,): what the sampler draws, by default the table's own.
    """
    table = target.table
    law = table.p if law is None else law
    g = guided_sample(
        sampler, reward, RUNS * K, seeded(0), select=select, branch=branch, populations=RUNS,
        strength=target.strength,
    )  # fmt: skip
    tilt = law if reward is None else law * (target.strength * target.rewards).exp()
    w = g.log_w.exp().view(RUNS, K)
    out = []
    for f, truth in (
        (torch.ones(RUNS, K), tilt.sum()),
        ((g.x.ids[:, 0] == 2).view(RUNS, K), tilt[table.seqs[:, 0] == 2].sum()),
    ):
        values = (w * f).mean(1)
        out.append(float((values.mean() - truth) / (values.std() / RUNS**0.5)))
    return out
