"""The exact measure of a masked denoiser: mass carried along every order, one token a step."""

import torch
from torch import Tensor

from scidiff.data.tokens import TokenState
from scidiff.testing import Table


def measure(denoiser, table: Table, *, normalised: bool = False) -> Tensor:
    """Mass (N,) that one token a step in random order gives each sequence of `table`: by the
    weights before they are normalised, or by the law drawn from."""
    states, mask = table.states, table.mask_id
    trunk = denoiser(TokenState(states), 0)
    told = (denoiser.log_probs if normalised else denoiser.log_weights)(trunk).double().exp()
    hidden, mass = states == mask, torch.zeros(len(states), dtype=torch.float64)
    mass[table.index(torch.full((1, table.length), mask))] = 1
    for left in range(table.length, 0, -1):
        here = torch.where(hidden.sum(1) == left, mass, 0.0)
        for at in range(table.length):
            for v in table.seqs.unique():
                after = states.clone()
                after[:, at] = v
                moved = torch.where(hidden[:, at], here * told[:, at, v] / left, 0.0)
                mass = mass.index_add(0, table.index(after), moved)
    return mass[table.index(table.seqs)]
