"""Likelihoods of token rows against enumerated ones: every method, its error, and that a row's
value is its own."""

from itertools import product

import pytest
import torch
from flow_targets import FlowOracle
from token_tables import MASK, ExactNetwork, TableNetwork, V, any_order_bound

from scidiff.core import seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.processes.block import BlockProcess
from scidiff.processes.discrete_flow import TokenNoise
from scidiff.processes.flow_bounds import JumpBound, StepBound
from scidiff.processes.hiding import AtRate
from scidiff.processes.masked import MaskedProcess
from scidiff.processes.noise_levels import Cosine, Power
from scidiff.processes.reverse_laws import evidence, one_hot
from scidiff.samplers.token_likelihood import (
    SymbolsOnly,
    exact_log_likelihood,
    log_likelihood,
    order_log_likelihood,
)
from scidiff.testing import chain_table

ROWS = torch.tensor([[2, 3, 4, 2], [2, 4, EOS, PAD], [3, 4, 2, EOS], [4, EOS, PAD, PAD]])
FREE = [[0, 1, 2, 3], [0, 1], [0, 1, 2], [0]]
COUNT, RATE = MaskedProcess(MASK), MaskedProcess(MASK, AtRate(Cosine()))


def random_network(**options):
    network = TokenTransformer(TokenTransformerConfig(V, 8, width=16, depth=1, heads=2, **options))
    with torch.no_grad():
        for i, p in enumerate(network.parameters()):
            if p.ndim == 2:
                p.copy_(torch.randn(p.shape, generator=seeded(5, i)) / p.shape[1] ** 0.5)
        network.own.weight[MASK] = 0
    return network.eval()


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("process", [COUNT, RATE])
def test_draws_estimate_the_any_order_bound_with_an_honest_error(process):
    network, x0 = TableNetwork(), TokenState(ROWS)
    exact = torch.tensor(
        [-any_order_bound(network, row, free) for row, free in zip(ROWS, FREE, strict=True)]
    )
    runs = [log_likelihood(network, process, x0, 64, seed) for seed in range(100)]
    value, error = (torch.stack(column) for column in zip(*runs, strict=True))
    assert error.shape == (100, 4) and value.dtype == torch.float64
    z = (value.mean(0) - exact) / (value.std(0) / 10).clamp(min=1e-9)
    assert z[:3].abs().max() < 4
    ratio = error.square().mean(0).sqrt() / value.std(0)
    assert (ratio[:3] > 0.8).all() and (ratio[:3] < 1.25).all(), ratio
    if process is COUNT:  # one symbol has one order
        assert torch.allclose(value[:, 3], exact[3].double())


def test_orders_estimate_the_same_bound():
    network, x0 = TableNetwork(), TokenState(ROWS)
    value, error = order_log_likelihood(network, COUNT, x0, 400, 0)
    for i, (row, free) in enumerate(zip(ROWS, FREE, strict=True)):
        exact = -any_order_bound(network, row, free)
        assert abs(float(value[i]) - exact) < 4 * float(error[i]) + 1e-9


def test_from_left_to_right_there_is_one_order():
    network = TableNetwork()
    value, error = order_log_likelihood(network, COUNT, TokenState(ROWS), 0, 0)
    for i, (row, free) in enumerate(zip(ROWS, FREE, strict=True)):
        ids, total = row.clone(), 0.0
        ids[free] = MASK
        for j in free:
            total += float(network.bidirectional(ids[None])[0, j, row[j]])
            ids[j] = row[j]
        assert float(value[i]) == pytest.approx(total)
    assert not error.any()


def test_an_exact_network_knows_log_p_in_every_order():
    table = chain_table()
    network, x0 = ExactNetwork(table), TokenState(table.seqs)
    process = MaskedProcess(table.mask_id)
    for orders in (0, 3):
        value, error = order_log_likelihood(network, process, x0, orders, 0)
        assert torch.allclose(value, table.p.log())
        assert error.abs().max() < 1e-9
    value, error = log_likelihood(network, process, x0, 32, 0)
    z = (value - table.p.log()) / error
    assert abs(float(z.mean())) < 4 * 1.2 / 81**0.5


def test_from_left_to_right_the_law_of_symbols_sums_to_one():
    network = SymbolsOnly(random_network())
    every = torch.tensor([[*row, EOS, PAD] for row in product((2, 3, 4), repeat=3)])
    value, _ = order_log_likelihood(network, COUNT, TokenState(every), 0, 0)
    assert float(value.exp().sum()) == pytest.approx(1, abs=1e-5)
    leaking, _ = order_log_likelihood(random_network(), COUNT, TokenState(every), 0, 0)
    assert float(leaking.exp().sum()) < 0.9


def test_blocks_of_one_are_exact():
    network, x0 = random_network(), TokenState(ROWS)
    value, error = exact_log_likelihood(network, BlockProcess(MASK, 1), x0)
    expected = -BlockProcess(MASK, 1).loss(network, x0, seeded(3)).double()
    assert torch.allclose(value, expected, atol=1e-5) and not error.any()


class Completed(FlowOracle):
    """The exact law of clean tokens; what the token itself says taken out, or not."""

    def __init__(self, table, law, leave_one_out):
        super().__init__(table, law)
        self.leave_one_out = leave_one_out

    def bidirectional(self, ids, t):
        told, t = self.posterior(ids, t.double()).log(), t.double()[:, None, None]
        if not self.leave_one_out:
            return told
        return told - one_hot(ids, told) * evidence(ids, t, self.law.at(ids))[..., None]


def test_uniform_noise_in_continuous_time_and_in_steps():
    table = chain_table()
    allowed = torch.tensor([[False, False, True, True, True, False]])
    law = TokenNoise(TokenNoise.uniform(allowed, torch.zeros(4).long()).laws.double(),
                     torch.zeros(4).long())  # fmt: skip
    x0 = TokenState(table.seqs[::9])
    exact = table.p[::9].log()
    value, error = log_likelihood(Completed(table, law, True), JumpBound(law), x0, 256, 0)
    assert ((value - exact) / error).abs().max() < 4
    steps = StepBound(law, 200, Power(2.0))
    value, error = log_likelihood(Completed(table, law, False), steps, x0, 256, 0)
    assert ((value - exact) / error).abs().max() < 4.5


# ---------------------------------------------------------------- a row's value is its own


@pytest.mark.parametrize("process", [COUNT, RATE, BlockProcess(MASK, 2), BlockProcess(MASK, 3)])
def test_values_do_not_depend_on_company_place_or_padding(process):
    network = random_network()
    wide = torch.nn.functional.pad(ROWS, (0, 4))
    wide[0, 4] = EOS
    whole, spread = log_likelihood(network, process, TokenState(wide), 16, 0)
    order = torch.tensor([3, 0, 0, 2])
    moved, again = log_likelihood(network, process, TokenState(wide[order]), 16, 0)
    assert torch.allclose(moved, whole[order], atol=1e-5)
    assert torch.allclose(again, spread[order], atol=1e-5)
    alone, _ = log_likelihood(network, process, TokenState(wide[1:2]), 16, 0)
    assert torch.allclose(alone, whole[1:2], atol=1e-5)
    other, _ = log_likelihood(network, process, TokenState(wide), 16, 1)
    assert not torch.allclose(other[:3], whole[:3], atol=1e-3)


def test_many_rows_are_read_in_slabs(monkeypatch):
    network, x0 = random_network(), TokenState(ROWS[[0, 1, 2, 2, 1]])
    whole = log_likelihood(network, COUNT, x0, 16, 0)
    monkeypatch.setattr("scidiff.samplers.token_likelihood.ROWS", 2)
    monkeypatch.setattr("scidiff.samplers.token_likelihood.TOKENS_A_CALL", 12)
    parts = log_likelihood(network, COUNT, x0, 16, 0)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole, parts, strict=True))


def test_exact_counts_vary_less_than_rates():
    table = chain_table()
    network, x0 = ExactNetwork(table), TokenState(table.seqs)
    _, count = log_likelihood(network, MaskedProcess(table.mask_id), x0, 64, 0)
    _, rate = log_likelihood(network, MaskedProcess(table.mask_id, AtRate()), x0, 64, 0)
    assert count.square().mean() < 0.7 * rate.square().mean()


def test_every_row_is_told_its_own_condition():
    network = random_network(conditions=((0.0, 1.0),))
    with torch.no_grad():
        network.asked_in.weight.copy_(torch.randn(16, 16, generator=seeded(8)))
    condition = torch.tensor([[0.0], [3.0], [-2.0], [0.0]])
    x0 = TokenState(ROWS, condition=condition)
    value, _ = log_likelihood(network, COUNT, x0, 16, 0)
    for i in range(4):
        one = TokenState(ROWS[i : i + 1], condition=condition[i : i + 1])
        assert torch.allclose(log_likelihood(network, COUNT, one, 16, 0)[0], value[i], atol=1e-5)
    unasked, _ = log_likelihood(network, COUNT, TokenState(ROWS), 16, 0)
    assert (unasked - value).abs().max() > 1e-2


@pytest.mark.parametrize(
    "ask, message",
    [
        (lambda n, x: log_likelihood(n, COUNT, x, 1, 0), "draws must be at least 2.* got 1"),
        (lambda n, x: order_log_likelihood(n, COUNT, x, 1, 0), "0 or at least 2, got 1"),
    ],
)
def test_too_few_draws(ask, message):
    with pytest.raises(ValueError, match=message):
        ask(TableNetwork(), TokenState(ROWS))
