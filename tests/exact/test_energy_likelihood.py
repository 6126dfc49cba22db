"""Normalisers from few draws and the bound on log p of the residual model, against enumeration."""

from itertools import combinations

import pytest
import torch
from energy_table import CARRIED, MASK, ORACLE, TABLE, L, uneven, weighed

from scidiff.core import seeded
from scidiff.data.tokens import TokenState
from scidiff.processes.masked import MaskedProcess
from scidiff.samplers.energy_likelihood import EnergyBound, log_mean

BLANK = torch.full((L,), MASK)


def expected(energy, n):
    """Exact means of the estimates of log Z from n <= 3 draws of the 81 candidates, and log Z."""
    q, w = weighed(energy, BLANK)
    draws = torch.cartesian_prod(*[torch.arange(len(q))] * n).view(-1, n)
    chance = q[draws].prod(1)
    return [float(chance @ e) for e in log_mean(w.log()[draws])], float((q @ w).log())


@pytest.mark.parametrize("energy", [ORACLE, uneven])
def test_the_lower_estimate_rises_and_the_jackknife_is_nearer(energy):
    (low2, middle2, _), log_z = expected(energy, 2)
    (low3, middle3, _), _ = expected(energy, 3)
    assert low2 < low3 < log_z
    assert abs(middle2 - log_z) < log_z - low2
    assert abs(middle3 - log_z) < log_z - low3


def test_three_draws_of_a_mild_energy_bracket_the_normaliser():
    (low, middle, high), log_z = expected(ORACLE, 3)
    assert low < log_z < high
    assert middle == pytest.approx((low + high) / 2)


def test_leaving_out_is_what_its_name_says():
    log_w = torch.tensor([[0.3, -1.0, 2.0, 0.5]], dtype=torch.float64)
    mean = log_w.exp().mean().log()
    without = torch.stack([log_w[:, [j for j in range(4) if j != i]].exp().mean().log()
                           for i in range(4)]).mean()  # fmt: skip
    low, middle, high = log_mean(log_w)
    torch.testing.assert_close(low, mean[None])
    torch.testing.assert_close(middle, (4 * mean - 3 * without)[None])
    torch.testing.assert_close(high, (7 * mean - 6 * without)[None])


def bound(energy, row, tokens_per_step):
    """The residual model's bound by enumeration: every step, every order, every candidate."""
    total = 0.0
    for n in range(L, 0, -tokens_per_step):
        m, values = min(tokens_per_step, n), []
        for hidden in combinations(range(L), n):
            ids = row.clone()
            ids[list(hidden)] = MASK
            q, w = weighed(energy, ids)
            for now in combinations(hidden, m):
                fits = (TABLE.seqs[:, now] == row[list(now)]).all(1)
                values.append(float(((q * w)[fits].sum() / (q @ w)).log()))
        total += sum(values) / len(values)
    return total


@pytest.mark.parametrize("tokens_per_step", [1, 2, 3, 4])
def test_the_right_energy_has_no_gap(tokens_per_step):
    for i in (0, 40):
        exact = bound(ORACLE, TABLE.seqs[i], tokens_per_step)
        assert exact == pytest.approx(float(TABLE.p[i].log()), abs=1e-12)


def test_weighing_the_joint_by_tokens_is_no_bound():
    # n / k times -log p(x_hidden | x_shown), averaged over data, lies below the data's entropy
    entropy = -float(TABLE.p @ TABLE.p.log())
    claimed = 0.0
    for n in range(1, L + 1):
        for hidden in combinations(range(L), n):
            shown = [i for i in range(L) if i not in hidden]
            place = (TABLE.seqs[:, shown] * 10 ** torch.arange(len(shown))).sum(1)
            p_shown = (TABLE.p * (place == place[:, None])).sum(1)
            each = float(TABLE.p @ (TABLE.p / p_shown).log())
            claimed -= each * (L / n) / len(list(combinations(range(L), n))) / L
    assert claimed < entropy - 0.05


@pytest.mark.parametrize("energy", [ORACLE, CARRIED, uneven])
@pytest.mark.parametrize("tokens_per_step", [1, 2, 4])
def test_draws_bracket_the_bound(energy, tokens_per_step):
    row, n = TABLE.seqs[50], 4000
    exact = bound(energy, row, tokens_per_step)
    estimate = EnergyBound(
        TABLE.denoiser(), energy, MaskedProcess(MASK), tokens_per_step, candidates=24
    )
    low, middle, high = estimate(TokenState(row.expand(n, L).contiguous()), seeded(0))
    error = float(middle.std()) / n**0.5
    assert float(low.mean()) < exact + 4 * error
    assert float(high.mean()) > exact - 4 * error
    # the second order that is left is far smaller than the first, half of high - low
    left = 0.1 * float((high - low).mean()) / 2
    assert abs(float(middle.mean()) - exact) < 4 * error + left


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="at least 2 of them, got 1"):
        log_mean(torch.zeros(3, 1))
    with pytest.raises(ValueError, match="no draw of row 2 has a finite energy"):
        log_mean(torch.tensor([[0.0, -torch.inf], [-torch.inf, -torch.inf]]))
    process = MaskedProcess(MASK)
    with pytest.raises(ValueError, match="candidates must be at least 2, got 1"):
        EnergyBound(TABLE.denoiser(), ORACLE, process, candidates=1)
    with pytest.raises(ValueError, match="tokens_per_step must be at least 1, got 0"):
        EnergyBound(TABLE.denoiser(), ORACLE, process, tokens_per_step=0)
