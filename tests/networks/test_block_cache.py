"""The cache of finished blocks: the same output as reading the prefix again, whatever happens to
the rows, for less work and as much memory as stated."""

import pytest
import torch
from cached_networks import MASK, L, network

from scidiff.core import ScidiffError, seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.networks import block_cache
from scidiff.networks.block_cache import PrefixCache, row_bytes
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.compose import ClassifierFree
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import Confidence, Entropy, Margin, Random, Sequential
from scidiff.samplers.paces import EntropyBounded, Scheduled, Threshold
from scidiff.samplers.predictions import evaluate
from scidiff.samplers.token_products import TokenProduct
from scidiff.testing import check_sampler


def ragged():
    """Rows that begin with prompts of different lengths, two of which also give a later part, one
    that is given whole and one that has nothing."""
    rows = torch.full((6, L), MASK)
    clean = torch.randint(2, MASK, rows.shape, generator=seeded(1))
    for row, prompt in enumerate((0, 1, 5, 9)):
        rows[row, :prompt] = clean[row, :prompt]
    rows[3, 10:] = clean[3, 10:]
    rows[4, 4:10] = clean[4, 4:10]
    rows[5] = clean[5]
    rows[5, 7], rows[5, 8:] = EOS, PAD
    return rows


def sampler(block_size, cache, *, net=None, canvas=None, **options):
    denoiser = TokenDenoiser(net or network(), block_size, prefix_cache=cache)
    canvas = canvas or FixedCanvas(ragged(), MASK)
    return MaskedSampler(denoiser, canvas, block_size=block_size, **options)


def agrees(x, block_size, net=None):
    """Whether the stored prediction is that of the whole prefix, where a sampler reads it."""
    plain = TokenDenoiser(net or network(), block_size, prefix_cache=False)(x, 0)
    hidden = x.ids == MASK
    first = hidden.int().argmax(1, keepdim=True) // block_size
    read = hidden & (torch.arange(x.ids.shape[1]) // block_size == first)
    torch.testing.assert_close(x.trunk.dense()[read], plain[read], atol=1e-5, rtol=0)


PACES = {
    "one": 1, "three": 3, "scheduled": Scheduled(2, "linear"), "threshold": Threshold(0.3),
    "entropy": EntropyBounded(1.0),
}  # fmt: skip
ORDERS = {
    "random": Random(), "sequential": Sequential(), "confidence": Confidence(),
    "margin": Margin(), "by entropy": Entropy(),
}  # fmt: skip


CASES = [(1, "one", "random"), (1, "three", "sequential"), (13, "one", "random"),
         *((4, pace, "confidence") for pace in PACES), *((5, pace, "random") for pace in PACES),
         *((4, "one", order) for order in ORDERS)]  # fmt: skip


@pytest.mark.parametrize("size, pace, order", CASES)
def test_cached_equals_uncached_at_every_step_of_ragged_rows(size, pace, order):
    s = sampler(size, True, order=ORDERS[order], tokens_per_step=PACES[pace])
    rng, x = seeded(2), s.init(12, seeded(3))
    agrees(x, size)
    for k in range(s.num_steps - 1):
        x = s.step(x, k, rng)
        agrees(x, size)
    assert not (s.step(x, s.num_steps - 1, rng).ids == MASK).any()


@pytest.mark.parametrize("size, pace", [(1, 1), (4, Threshold(0.3)), (5, 2)])
def test_selection_moves_the_cache_with_its_row(size, pace):
    s, rng = sampler(size, True, tokens_per_step=pace), seeded(4)
    x = s.init(12, seeded(5))
    for k in range(s.num_steps - 1):
        x = s.step(x[torch.randint(0, 12, (12,), generator=rng)], k, rng)
        agrees(x, size)
        assert all(len(page.values) <= 2 * 12 + 1 + 12 for page in x.cache.pages)


def test_what_nobody_reads_is_dropped():
    """Rows that are rewritten again and again, some of them in turn."""
    s, rng, B = sampler(4, True, canvas=FixedCanvas.blank(L, MASK)), seeded(23), 8
    x = s.init(B, rng)
    for i in range(30):
        ids = torch.full((B, L), MASK)
        ids[:, :4] = torch.randint(2, MASK, (B, 4), generator=rng)
        ids = torch.where((torch.arange(B) % 3 == i % 3)[:, None], ids, x.ids)
        x = evaluate(s.denoiser, TokenState(ids, cache=x.cache), 4)
        agrees(x, 4)
    assert len(x.cache.pages[0].values) <= 2 * (B + 1) + 1 + B


@pytest.mark.parametrize("size", [1, 4])
def test_a_state_can_be_gone_on_from_twice(size):
    s, rng = sampler(size, True), seeded(6)
    x = s.init(6, seeded(7))
    for k in range(3):
        x = s.step(x, k, rng)
    one = two = x
    for k in range(3, s.num_steps - 1):
        one, two = s.step(one, k, rng), s.step(two, k, rng)
        agrees(one, size)
        agrees(two, size)
        agrees(type(one).cat([two, one]), size)
    assert not torch.equal(one.ids, two.ids)


def test_rows_that_are_changed_from_outside_are_read_again():
    s, rng = sampler(4, True, canvas=FixedCanvas.blank(L, MASK)), seeded(8)
    x = s.init(20, seeded(9))
    for k in range(9):
        x = s.step(x, k, rng)
    ids = x.ids.clone()
    live = (ids == MASK).any(1).nonzero()[:, 0]
    assert len(live) > 3
    ids[live[0], 2] = MASK  # hidden again inside a finished block
    ids[live[1:], 0] = (ids[live[1:], 0] - 1) % (MASK - 2) + 2  # another token
    ids[live[2], 5:] = MASK
    y = evaluate(s.denoiser, TokenState(ids, cache=x.cache), 9)
    agrees(y, 4)
    for k in range(9, s.num_steps):
        y = s.step(y, k, rng)
        if y.trunk is not None:
            agrees(y, 4)


def test_what_stood_behind_a_rewritten_block_is_forgotten():
    """The later block holds the tokens it held before, but they follow others now."""
    s = sampler(4, True)
    rows = ragged()[4:5].repeat(1, 1)
    rows[0, :12] = torch.tensor([2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6, 7])
    x = evaluate(s.denoiser, TokenState(rows), 0)
    other = rows.clone()
    other[0, 0], other[0, 4:] = 7, MASK
    y = evaluate(s.denoiser, TokenState(other, cache=x.cache), 0)
    other = rows.clone()
    other[0, 0] = 7
    z = evaluate(s.denoiser, TokenState(other, cache=y.cache), 0)
    agrees(z, 4)


def test_renoising_keeps_what_is_still_right():
    s, rng = sampler(4, True, canvas=FixedCanvas.blank(L, MASK)), seeded(10)
    x = s.init(6, rng)
    for k in range(s.num_steps):
        x = s.step(x, k, rng)
    assert x.cache is None  # nobody would read it
    agrees(s.renoise(x, 6, rng), 4)


def counted(net, monkeypatch):
    """Positions that the network evaluates."""
    seen, plain = [], net.behind
    monkeypatch.setattr(net, "behind", lambda ids, places, *a: (
        seen.append(len(ids) * places.shape[1]), plain(ids, places, *a))[1])  # fmt: skip
    return seen


def test_only_new_positions_are_evaluated(monkeypatch):
    net = network()
    seen, B = counted(net, monkeypatch), 5
    s, rng = sampler(4, True, net=net, canvas=FixedCanvas.blank(L, MASK)), seeded(11)
    x, widths = s.init(B, seeded(12)), []
    for k in range(s.num_steps - 1):
        live = (x.ids == MASK).any(1)
        seen.clear()
        x = s.step(x, k, rng)
        live &= (x.ids == MASK).any(1)
        widths.append(sum(seen) / max(1, int(live.sum())))
    short = [4, 4, 4, 8]  # the block that was finished, once, and the next
    assert widths[:12] == [*short, *short, 4, 4, 4, 4 + 2][:12]


def test_prompts_are_read_once_and_finished_rows_never(monkeypatch):
    net = network()
    seen = counted(net, monkeypatch)
    s = sampler(4, True, net=net)
    x = s.init(6, seeded(13))
    # blocks of 4 up to the first hidden one: 1, 1, 2, 3, 1 and none
    assert sum(seen) == 4 * (1 + 1 + 2 + 3 + 1) and s.denoiser.rows == 5
    seen.clear()
    s.step(x, 0, seeded(14))
    assert sum(seen) <= 5 * 8


def test_candidates_share_their_parents_blocks():
    s, rng = sampler(4, True, canvas=FixedCanvas.blank(L, MASK)), seeded(15)
    x = s.init(3, rng)
    for k in range(8):
        x = s.step(x, k, rng)
    many = x[torch.arange(3).repeat_interleave(5)]
    for k in range(8, 12):
        many = s.step(many, k, rng)
    for before, after in zip(x.cache.pages[:2], many.cache.pages[:2], strict=True):
        assert before.values.data_ptr() == after.values.data_ptr()
    wrote = (many.cache.ids[:, 8:12] != MASK).all(1)  # each its own third block, or it has ended
    assert len(many.cache.pages[2].values) == int(wrote.sum()) + 1 > 2


CONDITIONS = ((0.0, 1.0), (2.0, 3.0))


@pytest.mark.parametrize("size", [1, 4])
def test_conditions_belong_to_what_is_kept(size):
    net, told = network(CONDITIONS), torch.tensor([[0.5, 1.0], [-1.0, 4.0], [2.0, 0.0]])
    with torch.no_grad():
        torch.nn.init.normal_(net.asked_in.weight, generator=seeded(1))
    s = sampler(size, True, net=net, condition=told)
    x, rng = s.init(12, seeded(16)), seeded(17)
    for k in range(6):
        x = s.step(x, k, rng)
        agrees(x, size, net)
    other = TokenState(x.ids, condition=x.condition.flip(0), cache=x.cache)
    assert not torch.equal(other.condition, x.condition)
    agrees(evaluate(s.denoiser, other, 6), size, net)


def test_low_precision_keeps_low_precision():
    net = network()
    both = [TokenDenoiser(net, 4, prefix_cache=c, dtype=torch.bfloat16) for c in (True, False)]
    s = MaskedSampler(both[0], FixedCanvas(ragged(), MASK), block_size=4)
    x, rng = s.init(12, seeded(18)), seeded(19)
    for k in range(5):
        x = s.step(x, k, rng)
    assert x.cache.pages[0].values.dtype == torch.bfloat16
    hidden = x.ids == MASK
    here = hidden & (torch.arange(L) // 4 == hidden.int().argmax(1, keepdim=True) // 4)
    plain = both[1](x, 0)
    torch.testing.assert_close(x.trunk.dense()[here], plain[here], atol=0.1, rtol=0)


def test_a_masked_model_has_no_cache():
    with pytest.raises(ScidiffError, match="prefix_cache=True needs a network that writes"):
        TokenDenoiser(network(), None, prefix_cache=True)
    assert not TokenDenoiser(network(), None).prefix_cache


def test_memory_is_as_stated_and_refused_where_it_is_not_there(monkeypatch):
    net, B = network(), 7
    s, rng = sampler(2, True, net=net, canvas=FixedCanvas.blank(L, MASK)), seeded(20)
    x = s.init(B, rng)
    for k in range(s.num_steps - 1):
        x = s.step(x, k, rng)
    held = sum(page.values[1:].nbytes for page in x.cache.pages)
    assert held <= B * row_bytes(net, L, torch.float32)
    monkeypatch.setattr(block_cache, "LARGE", 1)
    with pytest.raises(ScidiffError, match=r"rows take up to .* MiB a row.*prefix_cache=False"):
        many = torch.full((1, 1), MASK).expand(10**12, L)  # no memory of its own
        PrefixCache.blank(net, TokenState(many), 2, torch.float32)


@pytest.mark.parametrize("bend", [
    lambda a, b: ClassifierFree(a, b, 2.0), lambda a, b: TokenProduct([a, b], [1.5, -0.5]),
])  # fmt: skip
def test_each_part_of_a_bent_denoiser_keeps_its_own(bend):
    net, told = network(CONDITIONS), torch.tensor([[0.5, 1.0], [-1.0, 4.0]])
    with torch.no_grad():
        torch.nn.init.normal_(net.asked_in.weight, generator=seeded(1))
    kept, plain = (
        bend(*(TokenDenoiser(net, 4, prefix_cache=c, shown=s) for s in (True, False)))
        for c in (True, False)
    )
    blank = FixedCanvas.blank(L, MASK)
    s = MaskedSampler(kept, blank, block_size=4, condition=told)
    x, rng = s.init(8, seeded(21)), seeded(22)
    for k in range(s.num_steps - 1):
        x = s.step(x[torch.randint(0, 8, (8,), generator=rng)], k, rng)
        assert [isinstance(cache, PrefixCache) for cache in x.cache] == [True, True]
        hidden = x.ids == MASK
        here = hidden & (torch.arange(L) // 4 == hidden.int().argmax(1, keepdim=True) // 4)
        whole = plain.log_weights(plain(x, k))[here]
        told_here = kept.log_weights(x.trunk.dense())[here]
        seen = whole > float("-inf")
        torch.testing.assert_close(told_here[seen], whole[seen], atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [1, 4])
def test_a_cached_sampler_keeps_the_contract(size):
    check_sampler(sampler(size, True, canvas=FixedCanvas.blank(L, MASK)))
