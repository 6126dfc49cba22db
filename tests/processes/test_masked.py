"""Masked diffusion's noise and loss against laws that can be enumerated."""

import pytest
import torch
from token_tables import MASK, ExactNetwork, L, TableNetwork, any_order_bound, z_score

from scidiff.core import seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.processes.hiding import hide_exactly, stratified_counts
from scidiff.processes.masked import MaskedProcess, cross_entropy
from scidiff.testing import chain_table


def test_exactly_so_many_are_hidden():
    eligible = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]]).bool()
    for count in (0, 1, 3, 5):
        hidden = hide_exactly(eligible, torch.tensor([count] * 3), seeded(0))
        assert not (hidden & ~eligible).any()
        assert hidden.sum(1).tolist() == [min(count, 5), min(count, 3), 0]


def test_every_subset_is_equally_likely():
    n = 20_000
    eligible = torch.tensor([[True, False, True, True, True]]).expand(n, 5)
    hidden = hide_exactly(eligible, torch.full((n,), 2), seeded(0))
    counts = (hidden * 2 ** torch.arange(5)).sum(1).bincount()
    counts = counts[counts > 0].double()
    assert len(counts) == 6  # 4 choose 2
    chi2 = float(((counts - n / 6) ** 2 / (n / 6)).sum())
    assert chi2 < 25.7  # 1e-4 quantile of chi-square with 5 degrees of freedom


def test_counts_are_uniform_and_stratified():
    limit = torch.full((600,), 3)
    k = stratified_counts(limit, seeded(0))
    assert k.bincount().tolist() == [0, 200, 200, 200]
    mixed = torch.stack(
        [stratified_counts(torch.tensor([1, 5, 2]), seeded(0, j)) for j in range(4000)]
    )
    assert mixed.min(0).values.tolist() == [1, 1, 1]
    assert mixed.max(0).values.tolist() == [1, 5, 2]
    for column, limit_here in enumerate((1, 5, 2)):
        p = mixed[:, column].bincount(minlength=6)[1:].double() / 4000
        assert (p[:limit_here] - 1 / limit_here).abs().max() < 0.04


def test_noise_hides_symbols_only_at_rate_t():
    ids = torch.tensor([[2, 3, 4, 2, EOS, PAD]]).expand(4000, 6)
    t = torch.linspace(0, 1, 4000)
    x = MaskedProcess(MASK).noise(TokenState(ids), t, seeded(0))
    hidden = x.ids == MASK
    assert not hidden[:, 4:].any() and torch.equal(x.ids[~hidden], ids[~hidden])
    assert not hidden[0].any() and hidden[-1, :4].all()
    assert abs(float(hidden[:1000, :4].double().mean()) - 0.125) < 0.02


@pytest.mark.parametrize("row", [[2, 3, 4, 2], [2, 4, EOS, PAD], [3, 4, 2, EOS]])
def test_loss_is_unbiased_for_the_any_order_bound(row):
    network, row = TableNetwork(), torch.tensor(row)
    free = [i for i, token in enumerate(row.tolist()) if token >= 2]
    exact = any_order_bound(network, row, free)
    # batches of 64 are stratified, so the independent repeats are the batch means
    means = torch.stack(
        [
            MaskedProcess(MASK).loss(network, TokenState(row.expand(64, L)), seeded(0, j)).mean()
            for j in range(150)
        ]
    )
    assert abs(z_score(means, exact)) < 4


def test_loss_is_unbiased_for_log_p_of_an_exact_network():
    table = chain_table()
    network, process = ExactNetwork(table), MaskedProcess(table.mask_id)
    losses = torch.stack(
        [process.loss(network, TokenState(table.seqs), seeded(0, j)) for j in range(300)]
    )
    z = (losses.mean(0) + table.p.log()) / (losses.std(0) / 300**0.5)
    assert z.abs().max() < 4.5  # the largest of 81
    assert abs(float(z.mean())) < 4 / 81**0.5


def test_an_empty_string_costs_nothing():
    loss = MaskedProcess(MASK).loss(
        TableNetwork(), TokenState(torch.tensor([[EOS, PAD, PAD, PAD]])), seeded(0)
    )
    assert loss.tolist() == [0.0]


def test_cross_entropy_reads_the_token_that_is_there():
    network, ids = TableNetwork(), torch.tensor([[2, 3, 4, 2]])
    trunk = network.bidirectional(ids)
    expected = [-float(trunk[0, i, token]) for i, token in enumerate((2, 3, 4, 2))]
    assert cross_entropy(network, trunk, ids)[0].tolist() == expected
