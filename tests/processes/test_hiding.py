"""Every way to hide tokens estimates the bound it says, exactly enumerated; and score entropy is
the cross-entropy of ratios that sum to one."""

from itertools import combinations

import pytest
import torch
from token_tables import MASK, ExactNetwork, L, TableNetwork, any_order_bound, z_score

from scidiff.core import seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.processes.hiding import AtRate, ExactCount, OnGrid, stratified
from scidiff.processes.masked import MaskedProcess
from scidiff.processes.noise_levels import (
    Clipped,
    Cosine,
    CosineSquared,
    LinearSigma,
    LogLinear,
    Power,
)
from scidiff.processes.score_entropy import ScoreEntropyProcess
from scidiff.testing import chain_table

SCHEDULES = [LogLinear(), Cosine(), CosineSquared(), Power(2.0), Power(0.5)]
ROW = torch.tensor([2, 4, 3, EOS])


def means(process, network, row, batches=150, size=64):
    """Means of independent batches: the rows of one batch are stratified."""
    x0 = TokenState(row.expand(size, L))
    return torch.stack([process.loss(network, x0, seeded(3, j)).mean() for j in range(batches)])


@pytest.mark.parametrize("hiding", [ExactCount(), *map(AtRate, SCHEDULES)], ids=str)
def test_all_estimate_the_any_order_bound(hiding):
    network = TableNetwork()
    exact = any_order_bound(network, ROW, [0, 1, 2])
    assert abs(z_score(means(MaskedProcess(MASK, hiding), network, ROW), exact)) < 4


@pytest.mark.parametrize("hiding", [ExactCount(), *map(AtRate, SCHEDULES)], ids=str)
def test_with_an_exact_network_that_is_log_p(hiding):
    table = chain_table()
    row = table.seqs[17]
    found = means(MaskedProcess(table.mask_id, hiding), ExactNetwork(table), row)
    assert abs(z_score(found, float(-table.p[17].log()))) < 4


def grid_bound(network, row, free, hiding):
    """Sum over steps and over sets of hidden positions, written out."""
    total, T = 0.0, hiding.steps
    for i in range(1, T + 1):
        t, s = (hiding.schedule.rate(torch.tensor(j / T).double()) for j in (i, i - 1))
        for k in range(1, len(free) + 1):
            for some in combinations(free, k):
                ids = row.clone()
                ids[list(some)] = MASK
                told = network.log_probs(network.bidirectional(ids[None]))[0]
                nll = -sum(float(told[j, row[j]]) for j in some)
                total += float(t**k * (1 - t) ** (len(free) - k) * (t - s) / t) * nll
    return total


@pytest.mark.parametrize("hiding", [OnGrid(2), OnGrid(3), OnGrid(4, Cosine())], ids=str)
def test_discrete_time_is_the_bound_of_its_steps(hiding):
    network = TableNetwork()
    exact = grid_bound(network, ROW, [0, 1, 2], hiding)
    assert abs(z_score(means(MaskedProcess(MASK, hiding), network, ROW), exact)) < 4


def test_one_step_is_the_product_of_the_marginals():
    network, x0 = TableNetwork(), TokenState(ROW.expand(5, L))
    alone = grid_bound(network, ROW, [0, 1, 2], OnGrid(1))
    loss = MaskedProcess(MASK, OnGrid(1)).loss(network, x0, seeded(0))
    assert torch.allclose(loss, torch.full_like(loss, alone))


def test_many_steps_come_down_to_continuous_time():
    table = chain_table()
    network = ExactNetwork(table)
    entropy = -float((table.p * table.p.log()).sum())
    gaps = [
        sum(float(p) * grid_bound_of(table, network, row, steps)
            for p, row in zip(table.p, table.seqs, strict=True)) - entropy
        for steps in (8, 16, 32, 400)
    ]  # fmt: skip
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] > 0 and gaps[3] < 0.01
    assert gaps[1] / gaps[2] == pytest.approx(2, rel=0.15)


def grid_bound_of(table, network, row, steps):
    """As `grid_bound`, with every state's errors read once."""
    hidden = table.states == table.mask_id
    same = ((table.states == row) | hidden).all(1)
    told = -network.log_probs(table.log_conditionals[same]).gather(
        -1, row.expand(int(same.sum()), -1)[..., None]
    )[..., 0]
    k, errors = hidden[same].sum(1), (told * hidden[same]).sum(1)
    t = torch.arange(1, steps + 1).double()[:, None] / steps
    chance = t**k * (1 - t) ** (len(row) - k)
    return float((chance / (t * steps) * errors).sum())


def test_exact_counts_vary_least():
    table = chain_table()
    network = ExactNetwork(table)
    x0 = TokenState(table.seqs)
    spread = {
        name: torch.stack(
            [MaskedProcess(table.mask_id, h).loss(network, x0, seeded(1, j)) for j in range(200)]
        ).var(0)
        for name, h in [("k", ExactCount()), ("rate", AtRate()), ("cosine", AtRate(Cosine()))]
    }
    assert spread["k"].mean() < 0.7 * spread["rate"].mean()
    assert spread["k"].mean() < 0.7 * spread["cosine"].mean()


def test_clipped_rates_leave_the_rest_out():
    network = TableNetwork()
    whole = any_order_bound(network, ROW, [0, 1, 2])
    parts = [
        means(MaskedProcess(MASK, AtRate(Clipped(*ends))), network, ROW)
        for ends in [(0.0, 0.4), (0.4, 1.0)]
    ]
    assert all(p.mean() < 0.9 * whole for p in parts)
    assert abs(z_score(parts[0] + parts[1], whole)) < 4


def test_an_empty_row_costs_nothing():
    x0 = TokenState(torch.tensor([[EOS, PAD, PAD, PAD]]))
    for hiding in (ExactCount(), AtRate(), OnGrid(4)):
        assert MaskedProcess(MASK, hiding).loss(TableNetwork(), x0, seeded(0)).tolist() == [0.0]


def test_every_number_has_its_own_share():
    u = stratified(500, seeded(0))
    assert torch.equal((u * 500).long().sort().values, torch.arange(500))
    assert (u[1:] < u[:-1]).double().mean() == pytest.approx(0.5, abs=0.1)


def test_a_chain_has_at_least_one_step():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        OnGrid(0)


# ---------------------------------------------------------------- score entropy


class Scores(TableNetwork):
    """Ratios e^shift times those that sum to one."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.shift = shift

    def log_scores(self, trunk):
        return trunk + self.shift


@pytest.mark.parametrize("hiding", [ExactCount(), AtRate(Cosine()), OnGrid(5)], ids=str)
def test_ratios_that_sum_to_one_cost_the_cross_entropy(hiding):
    inner, x0 = MaskedProcess(MASK, hiding), TokenState(ROW.expand(200, L))
    found = ScoreEntropyProcess(inner).loss(Scores(), x0, seeded(4))
    assert torch.allclose(found, inner.loss(Scores(), x0, seeded(4)), rtol=1e-9)


@pytest.mark.parametrize("shift", [-0.4, 0.5])
def test_other_sums_cost_more(shift):
    inner, x0 = MaskedProcess(MASK), TokenState(ROW.expand(200, L))
    more = ScoreEntropyProcess(inner).loss(Scores(shift), x0, seeded(4))
    # exp(shift) - 1 - shift for every hidden token, and n / k of k of them are n = 3
    torch.testing.assert_close(
        more - inner.loss(Scores(), x0, seeded(4)),
        torch.full((200,), 3 * (torch.tensor(shift).exp() - 1 - shift), dtype=torch.float64),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("schedule", [LogLinear(1e-3), LinearSigma(0.1, 4.0)])
def test_it_is_the_published_score_entropy(schedule):
    """sigma' (sum_y s_y - a log s_x0 + a (log a - 1)) with s = a c."""
    t = torch.tensor(0.37, dtype=torch.float64, requires_grad=True)
    sigma = -schedule.alpha(t).log()
    (rate,) = torch.autograd.grad(sigma, t)
    a = 1 / sigma.detach().expm1()
    network, ids = Scores(0.3), torch.where(torch.arange(L) == 1, MASK, ROW)[None]
    s = a * network.log_scores(network.bidirectional(ids))[0, 1].exp()
    published = rate * (s.sum() - a * s[ROW[1]].log() + a * (a.log() - 1))

    class One:
        def __call__(self, eligible, rng):
            return torch.arange(L)[None] == 1, schedule.weight(t.detach())[None]

    process = ScoreEntropyProcess(MaskedProcess(MASK, One()))
    loss = process.loss(network, TokenState(ROW[None]), seeded(0))
    assert torch.allclose(loss[0], published, rtol=1e-9)
