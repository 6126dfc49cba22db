"""Contrastive training of energies on a law that can be listed."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scidiff.core import seeded, uniform
from scidiff.data.tokens import TokenState
from scidiff.guidance.particles import sample
from scidiff.networks.energy import Contrastive, EnergyTransformer, EnergyTransformerConfig
from scidiff.processes.energy import ContrastiveProcess
from scidiff.processes.masked import MaskedProcess
from scidiff.samplers.energy import EnergySampler, Negatives
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.testing import Table
from scidiff.training.config import TrainConfig
from scidiff.training.trainer import Trainer

P = np.random.default_rng(0).dirichlet(np.full(81, 0.5)).reshape([3] * 4)
TABLE = Table.of(torch.from_numpy(P))
L, MASK = TABLE.length, TABLE.mask_id
PROCESS = ContrastiveProcess(MaskedProcess(MASK), Negatives(TABLE.denoiser()))


def listed():
    """log p_diff - log p_data (S, N) of every sequence at every state, the energy of least loss,
    0 where it does not fit; and p_diff (S, N)."""
    each = TABLE.log_conditionals.gather(2, TABLE.seqs.T.expand(len(TABLE.states), -1, -1))
    log_q = torch.where((TABLE.states != MASK)[..., None], 0.0, each).sum(1)
    p = TABLE.completions / TABLE.completions.sum(1, keepdim=True)
    return torch.where(p > 0, log_q - p.log(), 0.0), torch.where(p > 0, log_q.exp(), 0.0)


BEST, DRAWN = listed()


def best(noisy, clean):
    column = ((clean - 2) * 3 ** torch.arange(L - 1, -1, -1)).sum(-1)
    return BEST[TABLE.index(noisy), column]


class Fixed:
    """A network of one energy."""

    def __init__(self, energy):
        self.energy = energy


def expected_loss(energy):
    """The mean loss over all rows, all sets of hidden positions and all negatives."""
    total = 0.0
    for n in range(1, L + 1):
        sets = list(combinations(range(L), n))
        for hidden in sets:
            noisy = TABLE.seqs.clone()
            noisy[:, hidden] = MASK
            q = DRAWN[TABLE.index(noisy)]
            pairs = energy(noisy.repeat_interleave(81, 0), TABLE.seqs.repeat(81, 1)).view(81, 81)
            each = F.softplus(energy(noisy, TABLE.seqs)) + (q * F.softplus(-pairs)).sum(1)
            total += float(TABLE.p @ each) / len(sets) / L
    return total


def rows(n, rng):
    at = torch.searchsorted(TABLE.p.cumsum(0), uniform((n,), rng).double(), right=True)
    return TokenState(TABLE.seqs[at.clamp(max=80)])


def tilted(noisy, clean):
    return best(noisy, clean) + 0.5 * (clean[:, 0] - 3)


@pytest.mark.parametrize("energy", [best, tilted])
def test_the_loss_is_that_of_telling_data_from_draws(energy):
    loss = PROCESS.loss(Fixed(energy), rows(20_000, seeded(0)), seeded(1))
    z = (float(loss.mean()) - expected_loss(energy)) / float(loss.std()) * len(loss) ** 0.5
    assert abs(z) < 4


def test_the_log_ratio_is_the_minimum():
    least = expected_loss(best)
    assert least < 2 * np.log(2)
    for step in (-0.1, 0.1):
        shifted = expected_loss(lambda noisy, clean, s=step: best(noisy, clean) + s)
        assert least < shifted < least + 0.01
    assert least < expected_loss(tilted)


class Endless:
    """Batches of fresh rows."""

    def __len__(self):
        return 256

    def __call__(self, step, rank=0, world=1):
        return rows(256, seeded(7, step))

    def units(self, x0):
        return torch.tensor(len(x0))


def test_a_trained_energy_draws_the_tokens_of_a_step_together(tmp_path):
    torch.manual_seed(0)
    net = EnergyTransformer(EnergyTransformerConfig(TABLE.vocab_size, L, 32, 2, 2))
    config = TrainConfig(steps=300, lr=5e-3, warmup=20, ema=0.98)
    trainer = Trainer(net, PROCESS, Endless(), config, tmp_path, accelerator="cpu")
    trainer.fit()
    trainer.use_averaged()
    ids = torch.full((1, L), MASK)
    learned = Contrastive(net)(TokenState(ids), TABLE.seqs[None], torch.zeros(1, 81))[0].double()
    wanted = best(ids.expand(81, L), TABLE.seqs)
    assert float(torch.corrcoef(torch.stack([learned, wanted]))[0, 1]) > 0.8
    plain = MaskedSampler(TABLE.denoiser(), FixedCanvas.blank(L, MASK), tokens_per_step=4)
    steered = EnergySampler(plain, Contrastive(net), candidates=16)
    apart = [
        float((TABLE.frequencies(sample(s, 10_000, seeded(3)).ids) - TABLE.p).abs().sum() / 2)
        for s in (plain, steered)
    ]
    assert apart[1] < 0.5 * apart[0]


def test_rows_without_symbols_cost_no_more_than_a_guess():
    empty = TokenState(torch.tensor([[1, 0, 0, 0]]))
    process = ContrastiveProcess(MaskedProcess(MASK), lambda x, rng: x.ids)
    loss = process.loss(Fixed(lambda noisy, clean: clean[:, 0] * 0.0), empty, seeded(0))
    torch.testing.assert_close(loss, torch.tensor([2 * np.log(2)], dtype=loss.dtype))
