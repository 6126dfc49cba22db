"""An enumerable joint law seen through discrete flow noise: its exact denoiser, and the exact law
of a sampler that uses it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from scidiff.processes.discrete_flow import TokenNoise
from scidiff.testing import Table


class FlowOracle:
    """p(x0 at i | x_t) for every position i, for noise at time t."""

    block_size, rows = None, 0

    def __init__(self, table: Table, law: TokenNoise) -> None:
        self.table, self.law = table, law
        self.mask_id, self.vocab_size = table.mask_id, table.vocab_size

    def __call__(self, x, t):
        self.rows += len(x)
        everywhere = self.posterior(self.table.states, torch.as_tensor(t, dtype=torch.float64))
        return everywhere[self.table.index(x.ids)].log()

    def log_probs(self, trunk):
        return trunk

    def posterior(self, ids: Tensor, t: Tensor) -> Tensor:
        """(B, L, V)."""
        seqs, t = self.table.seqs, t.reshape(-1, 1, 1)
        noise = self.law.at(ids).double()[torch.arange(ids.shape[1]), ids][:, None]  # (B, 1, L)
        seen = (1 - t) * (ids[:, None] == seqs) + t * noise  # (B, N, L)
        weights = seen.prod(-1) * self.table.p
        one_hot = F.one_hot(seqs, self.vocab_size).double()
        joint = torch.einsum("bn,nlv->blv", weights, one_hot)
        possible = joint.sum(-1, keepdim=True) > 0  # other rows get any token in use
        joint = torch.where(possible, joint, one_hot.sum((0, 1)))
        return joint / joint.sum(-1, keepdim=True)


def step_matrix(sampler, k: int) -> Tensor:
    """The exact kernel (S, S) of step k over all rows of the table, from the sampler's own kernel,
    noise and denoiser: the draws become their laws."""
    oracle, states = sampler.denoiser, sampler.denoiser.table.states
    S, L = states.shape
    t, s = (sampler.times[j].double() for j in (k, k + 1))
    told, law = oracle.posterior(states, t), sampler.law.at(states).double()
    moved = torch.zeros(S, L, oracle.vocab_size, dtype=torch.float64)
    for v in range(oracle.vocab_size):
        x0 = torch.full_like(states, v)
        moved += told[..., v, None] * sampler.kernel(
            states, x0, t.view(1, 1, 1), s.view(1, 1, 1), law
        )
    return moved.gather(2, states.T.expand(S, L, S)).prod(1)


def final_law(sampler) -> Tensor:
    """The exact law of finished rows, (N,) over the table's sequences."""
    table = sampler.denoiser.table
    start = sampler.law.at(table.states).double()[torch.arange(table.length), table.states]
    law = start.prod(1)
    for k in range(sampler.num_steps):
        law = law @ step_matrix(sampler, k)
    return law[table.index(table.seqs)]
