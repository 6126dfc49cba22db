"""Look-ahead at block ends: a step that runs each row through its own blocks."""

import math

import pytest
import torch

from scidiff.core import Tape, seeded
from scidiff.data.records import Record
from scidiff.data.tokens import TokenState
from scidiff.guidance.lookahead import Decoded
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import per_parent
from scidiff.rewards.scoring import Scorer
from scidiff.samplers.constraints import Count
from scidiff.samplers.masked import FixedCanvas, LengthLaw, MaskedSampler
from scidiff.samplers.paces import Threshold
from scidiff.samplers.strided import (
    BlockStridedSampler,
    StridedSampler,
    finished,
    short_blocks,
    steps_until,
)
from scidiff.testing import chain_table, check_sampler
from tests.token_engines import VOCABULARY, L, engine

MASK = VOCABULARY.mask_id
TABLE = chain_table()
PACES = [{}, {"threshold": 0.9}, {"threshold": 0.5}, {"tokens_per_step": 2},
         {"threshold": 0.5, "prefix_cache": False}, {"block_entropy": 0.8}]  # fmt: skip


def sharp():
    """An engine that is sure of some tokens, so that rows differ in pace."""
    e = engine("block")
    with torch.no_grad():
        e.network.head.weight.mul_(8)
    return e


def writer(**settings):
    return sharp().sampler(**{"block_size": 2, **settings})


def table_blocks(threshold=None, **options):
    pace = 1 if threshold is None else Threshold(threshold)
    blank = FixedCanvas.blank(4, TABLE.mask_id)
    return MaskedSampler(TABLE.denoiser(), blank, block_size=2, tokens_per_step=pace, **options)


@pytest.mark.parametrize("settings", PACES)
@pytest.mark.parametrize("blocks", [1, 4 / 3, 1.5, 2, 3])
def test_every_look_of_an_unfinished_row_stands_at_a_block_end(settings, blocks):
    strided = BlockStridedSampler(writer(**settings), blocks)
    x, rng = strided.init(200, seeded(0)), seeded(1)
    assert strided.num_steps == math.ceil(4 / blocks - 1e-9)
    for k in range(strided.num_steps):
        x = strided.step(x, k, rng)
        hidden = (x.ids == MASK).view(-1, 4, 2)
        left = hidden.any(-1).sum(1)
        assert torch.equal(hidden.any(-1), hidden.all(-1))
        assert set(left.tolist()) <= {0, max(0, 4 - math.ceil((k + 1) * blocks - 1e-9))}
    assert finished(strided, x).all()


def test_a_fixed_stride_does_not_stand_there_where_rows_differ_in_pace():
    sampler = writer(threshold=0.9)
    x = sampler.init(200, seeded(0))
    for k in range(3):
        x = sampler.step(x, k, seeded(k))
    hidden = (x.ids == MASK).view(-1, 4, 2)
    assert not torch.equal(hidden.any(-1), hidden.all(-1)) and len(hidden.sum((1, 2)).unique()) > 2


@pytest.mark.parametrize("settings", [{}, {"tokens_per_step": 2}, {"steps": 2}])
@pytest.mark.parametrize("blocks", [1, 2])
def test_at_one_pace_it_is_the_fixed_stride(settings, blocks):
    inner = writer(**settings)
    a = BlockStridedSampler(inner, blocks)
    b = StridedSampler(inner, blocks * 2 // settings.get("tokens_per_step", 1))
    assert a.num_steps == b.num_steps
    x, y = a.init(50, seeded(0)), b.init(50, seeded(0))
    for k in range(a.num_steps):
        x, y = a.step(x, k, seeded(k)), b.step(y, k, seeded(k))
        assert torch.equal(x.ids, y.ids)
    assert torch.equal(sample(a, 50, seeded(3)).ids, sample(inner, 50, seeded(3)).ids)


@pytest.mark.parametrize("settings", PACES)
def test_who_waits_changes_nothing_for_the_others(settings):
    """A row of a tape is the same whoever is beside it, and stores what the network says there."""
    inner = writer(**settings)
    strided, tape = BlockStridedSampler(inner), Tape(seeded(2))
    x = strided.step(strided.init(60, tape), 0, tape)
    rows = torch.arange(0, 60, 7)
    tape.rewind()
    cut = tape[rows]
    y = strided.step(strided.init(len(rows), cut), 0, cut)
    assert torch.equal(y.ids, x[rows].ids)
    open_ = (~finished(strided, x)).nonzero()[:, 0]
    here = (x.ids[open_] == MASK).int().argmax(1)[:, None]
    fresh = inner.denoiser(TokenState(x.ids[open_]), 0).gather(
        1, here[..., None].expand(-1, -1, x.trunk.values.shape[-1]))
    assert torch.allclose(x.trunk[open_].gather(here), fresh, atol=1e-5)


@pytest.mark.parametrize("threshold", [None, 0.45])
def test_it_is_a_sampler(threshold):
    check_sampler(BlockStridedSampler(table_blocks(threshold)))


@pytest.mark.parametrize("threshold", [None, 0.45])
def test_the_law_is_the_inner_samplers(threshold):
    inner = table_blocks(threshold)
    strided, n = BlockStridedSampler(inner), 40_000
    digits = TABLE.vocab_size ** torch.arange(4)
    a, b = ((sample(s, n, seeded(i)).ids * digits).sum(1) for i, s in enumerate((inner, strided)))
    words = torch.cat([a, b]).unique()
    p, q = ((torch.searchsorted(words, w)).bincount(minlength=len(words)) for w in (a, b))
    chi2 = ((p - q).double() ** 2 / (p + q)).sum()
    assert abs(chi2 - (len(words) - 1)) < 4 * (2 * (len(words) - 1)) ** 0.5


def test_rows_that_start_with_given_blocks_write_their_own():
    ids = torch.full((2, L), MASK)
    ids[1, :5] = 2
    inner = engine("block").sampler(FixedCanvas(ids, MASK), block_size=2, threshold=0.9)
    strided = BlockStridedSampler(inner)
    x = strided.step(strided.init(40, seeded(0)), 0, seeded(1))
    left = (x.ids == MASK).view(-1, 4, 2).any(-1).sum(1)
    assert set(left[:20].tolist()) <= {0, 3} and set(left[20:].tolist()) <= {0, 1}
    assert not (sample(strided, 40, seeded(2)).ids == MASK).any()
    lengths = LengthLaw([0, 1, 1, 1, 1], MASK, L)
    some = engine("block").sampler(lengths, block_size=2, threshold=0.9)
    assert not (sample(BlockStridedSampler(some), 40, seeded(2)).ids == MASK).any()


@pytest.mark.parametrize("threshold", [None, 0.45])
def test_ratios_of_a_stretch_are_those_of_its_steps(threshold):
    """The mean weight is the share of rows that hold one or two of token 2, under the law."""
    count = Count([2], TABLE.vocab_size, least=1, most=2)
    ids = sample(table_blocks(threshold), 100_000, seeded(0)).ids
    share = (((ids == 2).sum(1) >= 1) & ((ids == 2).sum(1) <= 2)).double().mean()
    bound = BlockStridedSampler(table_blocks(threshold, constraints=[count]))
    z = guided_sample(bound, None, 8_000, seeded(5), select=per_parent, branch=2,
                      populations=400).log_z.exp()  # fmt: skip
    assert abs(z.mean() - share) < 4 * (z.var() / 400 + share * (1 - share) / 100_000) ** 0.5


def test_a_row_that_gets_stuck_ends_the_run_all_the_same():
    late = table_blocks(constraints=[lambda ids: (ids == TABLE.mask_id).any(1)])
    x = sample(BlockStridedSampler(late), 20, seeded(0))
    assert ((x.ids == TABLE.mask_id).sum(1) == 1).all()


def test_steps_of_open_paces_are_tried():
    e = engine("block")
    slow, fast = (e.sampler(block_size=4, threshold=theta) for theta in (1.0, 0.01))
    assert e.typical_steps(slow) <= 8 and e.typical_steps(fast) <= 2
    before = torch.random.get_rng_state()
    assert steps_until(fast, 0.95, 64, seeded(0)) == e.typical_steps(fast)
    assert torch.equal(before, torch.random.get_rng_state())


def test_steps_of_a_fixed_pace_are_those_of_whole_blocks():
    e = engine("block")  # 95 % of its rows have three symbols and an end
    assert [e.typical_steps(e.sampler(block_size=b)) for b in (1, 2, 4)] == [4, 4, 4]
    assert e.typical_steps(e.sampler(block_size=2, tokens_per_step=2)) == 2
    assert e.typical_blocks(2) == 2 and short_blocks(e.sampler(block_size=2)) == 2
    assert short_blocks(e.sampler(block_size=1)) is None is short_blocks(e.sampler())


# ---------------------------------------------------------------- budgets


class Words:
    """Rows up to their end, each an object of its own name."""

    def decode(self, x):
        words = [VOCABULARY.decode(row) for row in x.ids]
        return [Record(w, w, True) for w in words]


def designed(sampler, n, branch, budget, seed):
    told = Decoded(Words(), Scorer(lambda words: [len(w) / 10 for w in words], budget=budget))
    guided = guided_sample(sampler, told, n, seeded(seed), select=per_parent, branch=branch,
                           populations=n)  # fmt: skip
    assert guided.scored.all() and guided.ledger.asked <= budget and told.kept == 0
    return guided


@pytest.mark.parametrize("stride", [1, 2, 5, 7])
@pytest.mark.parametrize("budget", [4, 7, 12, 36])
def test_a_budget_scores_every_end_however_many_go_on(stride, budget):
    for seed in range(5):
        designed(StridedSampler(flat(), stride), 4, 8, budget, seed)


def test_no_calls_are_kept_for_copies_of_finished_rows():
    """One look after 7 of 8 tokens: what is finished there is all asked for."""
    asked = [designed(StridedSampler(flat(), 7), 1, 16, 17, seed).ledger.asked
             for seed in range(5)]  # fmt: skip
    assert min(asked) >= 3 and max(asked) > 5


def flat():
    return engine("block").sampler(block_size=2)
