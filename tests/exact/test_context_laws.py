"""Context guidance: what is hidden is each row's own, and the weights stay exact."""

import numpy as np
import pytest
import torch
from token_measures import measure

from scidiff.core import seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.guidance.particles import guided_sample
from scidiff.guidance.selection import smc
from scidiff.samplers.context import Degraded, context_guided
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.testing import Table, check_full_graph, check_sampler

L, V = 4, 3
P = np.random.default_rng(4).dirichlet(np.full(V**L, 0.5)).reshape([V] * L)
TABLE = Table.of(torch.from_numpy(P))
MASK = TABLE.mask_id


def degraded(fraction, length=L, seed=0, table=TABLE):
    return Degraded(table.denoiser(), length, seeded(seed), fraction=fraction)


def masked(denoiser, **options):
    return MaskedSampler(denoiser, FixedCanvas.blank(L, MASK), **options)


def rows(*texts):
    return TokenState(torch.tensor([[MASK if c == "?" else int(c) for c in t] for t in texts]))


@pytest.mark.parametrize("fraction, hidden", [(0.0, 0), (0.2, 1), (0.5, 2), (0.7, 3), (1.0, 3)])
def test_the_fraction_of_the_written_symbols_is_hidden(fraction, hidden):
    x = rows("2?34", "4?23", "3?33")
    after = degraded(fraction).degrade(x)
    assert ((after == MASK).sum(1) == 1 + hidden).all()
    assert (after[x.ids == MASK] == MASK).all()
    assert (after[after != MASK] == x.ids[after != MASK]).all()


def test_each_row_hides_its_own_positions_whatever_its_company():
    # a published sampler hides the positions of row 0 in every row
    x = TokenState(torch.randint(2, 5, (200, 12), generator=seeded(1)))
    x.ids[:, 5] = MASK
    inner = degraded(0.5, 12)
    after = inner.degrade(x)
    patterns = {tuple(p) for p in (after == MASK).tolist()}
    assert len(patterns) > 150
    assert torch.equal(inner.degrade(x[torch.tensor([7, 3])]), after[[7, 3]])


def test_hidden_sets_are_uniform_over_the_draws_of_the_table():
    x, runs = rows("2?34", "4?23"), 4_000
    hidden = torch.stack([degraded(0.3, seed=s).degrade(x) == MASK for s in range(runs)])
    share = hidden[..., [0, 2, 3]].double().mean(0)
    assert ((share - 1 / 3).abs() < 4 * (2 / 9 / runs) ** 0.5).all()
    both = (hidden[:, 0, 0] & hidden[:, 1, 0]).double().mean()
    assert abs(both - 1 / 9) < 4 * (8 / 81 / runs) ** 0.5  # rows are independent


def test_ends_and_finished_rows_are_left_alone():
    x = TokenState(torch.tensor([[2, MASK, EOS, PAD], [2, 3, 4, 2]]))
    after = degraded(1.0).degrade(x)
    assert after.tolist() == [[MASK, MASK, EOS, PAD], [2, 3, 4, 2]]


def test_rows_may_differ_in_fraction():
    x = rows("2?34", "2?34")
    own = degraded(lambda x: torch.tensor([0.0, 1.0])).degrade(x)
    assert own.tolist() == [x.ids[0].tolist(), [MASK] * 4]


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0])
def test_weights_are_exact_for_the_product_of_contrasts(weight):
    denoiser = context_guided(TABLE.denoiser(), L, seeded(0), weight=weight, fraction=0.5)
    target = measure(denoiser, TABLE)
    if weight == 1:
        torch.testing.assert_close(target, TABLE.p)
    run = guided_sample(masked(denoiser), None, 8_000, seeded(3), select=smc(0.7), populations=400)
    w = run.log_w.exp().view(400, -1)
    f = (run.x.ids[:, 0] == run.x.ids[:, 3]).double().view(400, -1)
    ends = (TABLE.seqs[:, 0] == TABLE.seqs[:, 3]).double()
    for estimate, exact in ((w.mean(1), target.sum()), ((w * f).mean(1), target @ ends)):
        assert abs(estimate.mean() - exact) < 4 * estimate.std() / 20 + 1e-9


def test_it_sharpens():
    def entropy(weight):
        denoiser = context_guided(TABLE.denoiser(), L, seeded(0), weight=weight)
        x = TokenState(TABLE.states[(TABLE.states == MASK).sum(1) == 1])
        log_p = denoiser.log_probs(denoiser(x, 0))[x.ids == MASK]
        return float(-(log_p.exp() * log_p.clamp(min=-1e9)).sum(1).mean())

    assert entropy(2.0) < entropy(1.0) < entropy(0.0)


def test_the_contract_and_refusals():
    denoiser = context_guided(TABLE.denoiser(), L, seeded(0), weight=2.0)
    check_sampler(masked(denoiser, tokens_per_step=2))
    check_full_graph(masked(denoiser))
    assert denoiser.rows > 0
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\], got 1.5"):
        degraded(1.5)
    with pytest.raises(ValueError, match="at most 2 positions, got 4"):
        degraded(0.5, 2).degrade(rows("2?34"))
