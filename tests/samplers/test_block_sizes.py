"""Parts of a block whose size follows the entropies that the network names at first sight."""

import pytest
import torch
from token_laws import FLAT, MASK, PEAKED, Flat, masked, path

from scidiff.core import seeded
from scidiff.guidance.particles import sample
from scidiff.samplers.block_sizes import EntropySizes, inside
from scidiff.samplers.blocks import in_current_block
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import Confidence, Sequential
from scidiff.samplers.paces import EntropyBounded, Scheduled, Threshold
from scidiff.samplers.predictions import everywhere, in_block, known
from scidiff.testing import check_full_graph, check_sampler


def random_law(seed, n=50, length=12, V=5):
    logits = 3 * torch.randn(n, length, V, generator=seeded(seed))
    return (logits * torch.rand(n, length, 1, generator=seeded(seed, 1))).log_softmax(-1)


@pytest.mark.parametrize("bound", [0.0, 0.4, 1.0, 3.0, 100.0])
def test_the_largest_part_within_the_bound_is_chosen(bound):
    log_p, sizes = random_law(1), EntropySizes(bound, (2, 4, 8))
    here = torch.rand(50, 12, generator=seeded(2)) < 0.7
    here[:, -1] = True
    part = sizes.choose(here, log_p)
    nats = -(log_p.exp() * log_p).sum(-1)
    for row in range(50):
        start = int(here[row].int().argmax()) // 2 * 2
        fit = 2
        for size in (2, 4, 8):
            told = nats[row, start : start + size][here[row, start : start + size]]
            if float(told.sum() - told.max()) <= bound:
                fit = size
        assert part[row].tolist() == [start, start + fit]


def sized(bound, sizes=(1, 2, 4), table=PEAKED, **options):
    return masked(table, sizes=EntropySizes(bound, sizes), **options)


@pytest.mark.parametrize("table", [FLAT, PEAKED])
@pytest.mark.parametrize("bound", [0.0, 0.3, 1.2])
@pytest.mark.parametrize("options", [{}, {"block_size": 2}, {"order": Confidence()}])
def test_one_token_a_step_stays_exact(table, bound, options):
    n = 40_000
    found = table.frequencies(sample(sized(bound, table=table, **options), n, seeded(3)).ids)
    expected = table.p * n
    often = expected > 5
    chi = (((found * n - expected) ** 2 / expected)[often]).sum()
    dof = int(often.sum()) - 1
    assert abs(float(chi) - dof) / (2 * dof) ** 0.5 < 4


def test_a_part_stands_until_it_is_written():
    s, seen = sized(0.6), set()
    x, rng = s.init(200, seeded(4)), seeded(5)
    for k in range(s.num_steps - 1):
        part, hidden = known(x, 1), x.ids == PEAKED.mask_id
        y = s.step(x, k, rng)
        wrote = hidden & (y.ids != PEAKED.mask_id)
        assert not (wrote & ~inside(part, 4)).any()  # nothing behind it is written before
        left = ((y.ids == PEAKED.mask_id) & inside(part, 4)).any(1)
        assert torch.equal(known(y, 1)[left], part[left])
        seen |= set((part[:, 1] - part[:, 0]).tolist())
        x = y
    assert seen == {1, 2, 4}


def test_the_ends_of_the_dial():
    wide, plain = (sample(s, 300, seeded(6)).ids for s in (sized(100.0), masked(PEAKED)))
    assert torch.equal(wide, plain)
    narrow = sized(0.0, table=FLAT)  # every position of it is uncertain
    for k, x in enumerate(path(narrow, 20)[:-1]):
        assert ((x.ids != FLAT.mask_id).sum(1) == k).all()
        assert (x.ids[:, :k] != FLAT.mask_id).all()


def test_easy_parts_are_long():
    """Positions that are certain cost no steps of their own."""
    sure = torch.full((1, 8, 9), float("-inf"))
    sure[..., 3] = 0.0
    sure[:, :2] = torch.full((9,), 1 / 9).log()
    sizes = EntropySizes(0.1, (2, 4, 8))
    assert sizes.choose(torch.ones(1, 8, dtype=torch.bool), sure).tolist() == [[0, 2]]
    assert sizes.choose(torch.arange(8)[None] >= 2, sure).tolist() == [[2, 10]]


@pytest.mark.parametrize("pace", [3, Scheduled(2, "linear"), Threshold(0.4), EntropyBounded(0.5)])
@pytest.mark.parametrize("block_size", [None, 6])
def test_rows_finish_in_time_and_keep_the_contract(pace, block_size):
    rows = torch.full((3, 13), MASK)
    rows[1, 2:5] = 3
    rows[2, :7] = 4
    s = MaskedSampler(
        Flat(0.3), FixedCanvas(rows, MASK), sizes=EntropySizes(0.8, (2, 4)),
        block_size=block_size, tokens_per_step=pace,
    )  # fmt: skip
    assert not (sample(s, 60, seeded(7)).ids == MASK).any()
    one = MaskedSampler(
        Flat(0.3), FixedCanvas(rows[:1], MASK), sizes=EntropySizes(0.8, (2, 4)),
        block_size=block_size, tokens_per_step=pace,
    )  # fmt: skip
    check_sampler(one)
    clean = sample(one, 20, seeded(8))
    for k in range(one.num_steps):
        x = one.renoise(clean, k, seeded(9))
        for later in range(k, one.num_steps):
            x = one.step(x, later, seeded(10, later))
        assert not (x.ids == MASK).any()


def test_a_step_never_waits_for_the_device():
    check_full_graph(sized(0.5, order=Sequential()))


@pytest.mark.parametrize("bound, sizes, message", [
    (-1.0, (4,), "block_entropy must be finite and not negative, got -1"),
    (float("inf"), (4,), "finite"), (1.0, (), "sizes must grow"), (1.0, (4, 6), "multiples"),
    (1.0, (4, 4), "grow"), (1.0, (0, 4), "grow"),
])  # fmt: skip
def test_wrong_sizes_are_refused(bound, sizes, message):
    with pytest.raises(ValueError, match=message):
        EntropySizes(bound, sizes)


def test_sizes_are_asked_of_samplers_that_have_blocks():
    with pytest.raises(ValueError, match="second_order is for plain predictions of whole rows"):
        sized(0.5, second_order=True)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_head_runs_in_the_current_block(size):
    s = masked(PEAKED, block_size=size)
    x, heads, rng = s.init(40, seeded(11)), [], seeded(12)
    plain = s.denoiser.log_probs
    s.denoiser.log_probs = lambda trunk: (heads.append(trunk.shape[1]), plain(trunk))[1]
    for k in range(s.num_steps - 1):
        hidden = x.ids == PEAKED.mask_id
        here = in_current_block(hidden, size)
        told, whole = in_block(s.denoiser, x, hidden, size), everywhere(s.denoiser, x)
        assert torch.equal(told[here], whole[here]) and here.any(1).all()
        x = s.step(x, k, rng)
    assert heads[0] == size
