"""Token laws small enough to propagate exactly, and a network that says the same everywhere."""

from itertools import permutations

import numpy as np
import torch

from scidiff.core import Shared, Tape, seeded
from scidiff.data.tokens import TokenState
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.samplers.predictions import remembering
from scidiff.testing import Table


def dirichlet_tables() -> list[Table]:
    rng = np.random.default_rng(0)
    return [
        Table.of(torch.from_numpy(rng.dirichlet(np.full(81, c)).reshape([3] * 4)))
        for c in (1.0, 0.1)
    ]


FLAT, PEAKED = dirichlet_tables()


def masked(table: Table, **options) -> MaskedSampler:
    return MaskedSampler(
        table.denoiser(), FixedCanvas.blank(table.length, table.mask_id), **options
    )


def transition(sampler: MaskedSampler, table: Table) -> torch.Tensor:
    """Exact kernel (S, S) of one step, from the sampler's own choose, token_law and commit.

    Every order of the keys and every word of tokens is listed: the draws become their laws.
    """
    S, L, M = len(table.states), table.length, sampler.widest
    keys = torch.tensor(list(permutations(range(L)))).float() / L
    words = torch.cartesian_prod(*[table.seqs.unique()] * M).view(-1, M)
    kernel = torch.zeros(S, S, dtype=torch.float64)
    x = TokenState(table.states, Shared(sampler.denoiser(TokenState(table.states), 0)))
    x = remembering(x, torch.ones_like(table.states, dtype=torch.bool))  # all was hidden at first
    for key in keys:
        positions, live = sampler.choose(x, Tape(seeded(0), [("uniform", key.expand(S, L))]))
        law = sampler.token_law(x, positions)
        for word in words:
            p = law.gather(2, word.expand(S, M)[..., None])[..., 0].exp()
            p = torch.where(live, p, 1 / len(table.seqs.unique())).prod(1) / len(keys)
            after = sampler.commit(x.ids, positions, live, word.expand(S, M))
            kernel[torch.arange(S), table.index(after)] += p
    return kernel


def propagated(table: Table, kernels: list[torch.Tensor]) -> torch.Tensor:
    law = torch.zeros(len(table.states), dtype=torch.float64)
    law[table.index(torch.full((1, table.length), table.mask_id))] = 1.0
    for kernel in kernels:
        law = law @ kernel
    return law[table.index(table.seqs)]


def exact_law(table: Table, **options) -> torch.Tensor:
    sampler = masked(table, **options)
    return propagated(table, [transition(sampler, table)] * sampler.num_steps)


def distance(p: torch.Tensor, q: torch.Tensor) -> float:
    return float((p - q).abs().sum() / 2)


def chi2_z(table: Table, ids: torch.Tensor, p: torch.Tensor) -> float:
    """Standardised chi2 of finished rows, on any device, against p: about N(0, 1)."""
    n, possible, ids = len(ids), p > 0, ids.cpu()
    observed = table.frequencies(ids) * n
    assert observed[~possible].sum() == 0
    statistic = ((observed - n * p)[possible] ** 2 / (n * p[possible])).sum()
    freedom = int(possible.sum()) - 1
    return float((statistic - freedom) / (2 * freedom) ** 0.5)


MASK = 9


class Flat:
    """Says the same everywhere; token t has log-weight `slope` t."""

    mask_id, vocab_size = MASK, MASK + 1

    def __init__(self, slope=0.0, block_size=None, dtype=torch.float32):
        self.slope, self.block_size, self.dtype, self.rows, self.calls = (
            slope,
            block_size,
            dtype,
            0,
            0,
        )

    def __call__(self, x, k):
        self.rows, self.calls = self.rows + len(x), self.calls + 1
        assert x.trunk is None
        return torch.ones(*x.ids.shape, 3, dtype=self.dtype)

    def log_probs(self, trunk):
        logits = (self.slope * torch.arange(MASK + 1.0)).expand(*trunk.shape[:-1], -1).clone()
        logits[..., MASK] = float("-inf")
        return logits.log_softmax(-1)


def path(sampler, n, seed=0):
    x = sampler.init(n, seeded(seed))
    states = [x]
    for k in range(sampler.num_steps):
        states.append(x := sampler.step(x, k, seeded(seed, k)))
    return states
