"""Tokens that are kept although all sees all: exact where they are read again every time, as said
where not, and counted."""

import pytest
import torch
from cached_networks import MASK, L, V, network

from scidiff.core import ScidiffError, Tape, seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.networks.approximate_cache import FORGOTTEN, ApproximateDenoiser, Refresh
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.networks.token_transformer import TokenTransformerConfig
from scidiff.samplers.ancestral import AncestralSampler
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.compose import ClassifierFree
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import Confidence, Random, Sequential
from scidiff.samplers.paces import Scheduled, Threshold
from scidiff.samplers.path_planning import PathSampler
from scidiff.samplers.predictions import evaluate
from scidiff.samplers.remasking import Capped
from scidiff.samplers.token_products import TokenProduct
from scidiff.testing import check_sampler


def ragged():
    """Rows of several lengths, of which parts are given, one of them whole."""
    rows = torch.full((6, L), MASK)
    clean = torch.randint(2, MASK, rows.shape, generator=seeded(1))
    for row, length in enumerate((13, 13, 9, 5, 13, 7)):
        rows[row, length], rows[row, length + 1 :] = EOS, PAD
    rows[1, 3:8], rows[2, :2], rows[4, 10:13], rows[5, :7] = (
        clean[1, 3:8], clean[2, :2], clean[4, 10:13], clean[5, :7]
    )  # fmt: skip
    return rows


class Symbols(TokenDenoiser):
    """A denoiser that draws neither PAD nor EOS."""

    def log_probs(self, trunk):
        log_p = super().log_probs(trunk)
        return log_p.index_fill(-1, torch.tensor([PAD, EOS]), float("-inf")).log_softmax(-1)


def kept(refresh, net=None, **how):
    return ApproximateDenoiser(Symbols(net or network(), **how), Refresh.read(refresh))


def walk(denoiser, seed=2, canvas=None, make=MaskedSampler, **options):
    """Every state of a chain of ragged rows."""
    s, rng = make(denoiser, canvas or FixedCanvas(ragged(), MASK), **options), seeded(seed)
    x = s.init(12, rng)
    yield x
    for k in range(s.num_steps):
        x = s.step(x, k, rng)
        yield x


CHAINS = {
    "one": {}, "three": {"tokens_per_step": 3}, "confident": {"order": Confidence()},
    "threshold": {"tokens_per_step": Threshold(0.3), "order": Confidence()},
    "scheduled": {"tokens_per_step": Scheduled(4), "order": Sequential()},
}  # fmt: skip


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("refresh", ["delayed:1", "periodic:1"])
def test_rows_that_are_always_read_are_exact_bit_for_bit(refresh, chain, compact):
    plain = walk(Symbols(network(), compact=compact), **CHAINS[chain])
    for x, y in zip(walk(kept(refresh, compact=compact), **CHAINS[chain]), plain, strict=True):
        assert torch.equal(x.ids, y.ids) and (x.trunk is None) == (y.trunk is None)
        if x.trunk is not None:
            read = (x.ids == MASK).any(1, keepdim=True) & (x.ids != PAD)
            assert torch.equal(x.trunk.dense()[read], y.trunk.dense()[read])


class Reference:
    """One row, all of whose positions pass through the network, keys and values of kept tokens
    being replaced by what they were when they were last read."""

    def __init__(self, net, refresh):
        self.net, self.refresh, self.age = net, Refresh.read(refresh), 0
        self.ids = self.last = self.told = self.store = None

    def __call__(self, ids):
        if self.last is not None and torch.equal(ids, self.last):
            return self.told
        whole = self.last is None or self.age + 1 == self.refresh.every
        self.age = 0 if whole else self.age + 1
        new = (ids == MASK) | (ids != self.ids) if not whole else torch.ones(L, dtype=torch.bool)
        found = []

        def layer(i):
            def seen(k, v):
                if not whole:
                    k, v = (
                        torch.where(new[:, None], now, then)
                        for now, then in zip((k, v), self.store[i], strict=True)
                    )
                found.append((k, v))
                return k, v

            return seen

        mask, places = (ids != PAD)[None, None, None], torch.arange(L)[None]
        told = self.net.behind(ids[None], places, mask, [layer(0), layer(1)])[0]
        self.told = told if whole else torch.where(new[:, None], told, self.told)
        self.last = ids
        if whole or self.refresh.delayed:
            self.ids, self.store = ids, found
        return self.told


CHAINS["by time"] = {"make": AncestralSampler, "steps": 12}  # rows stand still for some steps


@pytest.mark.parametrize("chain", ["one", "three", "threshold", "by time"])
@pytest.mark.parametrize("refresh", ["delayed", "delayed:3", "periodic:3", "periodic:100"])
@torch.no_grad()
def test_what_is_read_and_kept_is_as_said(refresh, chain):
    net, references = network(), [Reference(network(), refresh) for _ in range(12)]
    for x in walk(kept(refresh, net), **CHAINS[chain]):
        for row in range(12 if x.trunk is not None else 0):
            if not (x.ids[row] == MASK).any():
                continue
            real = x.ids[row] != PAD
            told = references[row](x.ids[row])[real]
            torch.testing.assert_close(x.trunk.dense()[row][real], told, atol=1e-5, rtol=0)


@pytest.mark.parametrize("refresh", ["delayed", "periodic:4"])
def test_it_is_an_approximation_that_begins_exact(refresh):
    plain, gaps = TokenDenoiser(network()), []
    for x in walk(kept(refresh), canvas=FixedCanvas.blank(L, MASK)):
        if x.trunk is not None:
            hidden = x.ids == MASK
            told = plain(TokenState(x.ids), 0)[hidden]
            gaps.append(float((x.trunk.dense()[hidden] - told).abs().max()))
    assert gaps[0] == 0 and max(gaps) > 0.05
    # a token is kept from its second reading on, so one written token changes nothing yet
    assert gaps[1] < 1e-5


@pytest.mark.parametrize("refresh", ["delayed", "delayed:3", "periodic:3"])
def test_a_row_takes_what_is_kept_with_it(refresh):
    """Rows drawn again and again from their own noise, in other company."""
    s = MaskedSampler(kept(refresh), FixedCanvas(ragged(), MASK), tokens_per_step=2)
    check_sampler(s, n=6)
    x, rng = s.init(12, seeded(4)), seeded(5)
    for k in range(s.num_steps - 1):
        keep, tape = torch.randint(0, 12, (12,), generator=rng), Tape(seeded(6, k))
        y = s.step(x[keep], k, tape)
        for i in torch.arange(12)[:, None]:
            alone = s.step(x[keep[i]], k, tape.rewind()[i])
            assert torch.equal(alone.ids, y.ids[i])
            gap = alone.trunk.dense() - y.trunk.dense()[i]
            assert float(gap.abs().max()) < 1e-5
        x = y
        assert len(x.cache.keys.values) <= 12 + 1


@pytest.mark.parametrize("refresh", ["delayed", "periodic:3"])
def test_a_state_can_be_gone_on_from_twice(refresh):
    s, rng = MaskedSampler(kept(refresh), FixedCanvas(ragged(), MASK)), seeded(6)
    x = s.init(6, rng)
    for k in range(3):
        x = s.step(x, k, rng)
    first, other = s.step(x, 3, seeded(7)), s.step(x, 3, seeded(8))
    s.step(other, 4, rng)
    again = s.step(x, 3, seeded(7))
    assert not torch.equal(first.ids, other.ids)
    assert torch.equal(first.trunk.dense(), again.trunk.dense())


def test_a_row_that_is_hidden_again_is_read_where_it_changed():
    denoiser = kept("delayed")
    *_, x = walk(denoiser, canvas=FixedCanvas.blank(L, MASK))
    full = TokenState(x.ids)
    shown = full.ids.clone()
    shown[:, 5:] = MASK
    x = evaluate(denoiser, TokenState(shown), 0)
    ids = shown.clone()
    ids[:, 5] = 3
    x = evaluate(denoiser, TokenState(ids, cache=x.cache), 1)
    before = denoiser.positions
    x = evaluate(denoiser, TokenState(shown, cache=x.cache), 2)
    assert denoiser.positions - before == 12 * (L - 5)
    plain = denoiser.inner(TokenState(shown), 0)
    torch.testing.assert_close(x.trunk.dense()[:, 5:], plain[:, 5:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("refresh, reads", [
    # after k written tokens: what is hidden and the one written last; all, at every 5th reading
    ("delayed", lambda k: L - k + 1 if k else L),
    ("delayed:5", lambda k: L - k + 1 if k % 5 else L),
    # what is hidden and all written since the last reading of the whole row
    ("periodic:5", lambda k: L - k + k % 5 if k % 5 else L), ("delayed:1", lambda k: L),
])  # fmt: skip
@pytest.mark.parametrize("compact", [True, False])
def test_positions_are_counted(refresh, reads, compact):
    denoiser = kept(refresh, compact=compact)
    for _ in walk(denoiser, canvas=FixedCanvas.blank(L, MASK)):
        pass
    assert denoiser.positions == 12 * sum(reads(k) for k in range(L))
    assert denoiser.rows == 12 * L


def test_rows_in_which_nothing_changes_are_not_read_and_finished_ones_are_forgotten():
    denoiser, blank = kept("delayed"), FixedCanvas.blank(L, MASK)
    states = list(walk(denoiser, canvas=blank, make=AncestralSampler, steps=60))
    # each step changes few rows: 60 (1 - (1 - 1 / 60)^L) readings a row are expected
    mean = 60 * (1 - (1 - 1 / 60) ** L)
    assert abs(denoiser.rows / 12 - mean) < 4 * (mean / 12) ** 0.5
    done = ~(states[-2].ids == MASK).any(1)
    assert done.any() and (states[-2].cache.age[done] == FORGOTTEN).all()
    assert len(states[-2].cache.keys.values) <= int((~done).sum()) + 1


@pytest.mark.parametrize("make, options", [
    (AncestralSampler, {"steps": 6, "remask": Capped(0.4)}), (PathSampler, {"steps": 6}),
])  # fmt: skip
def test_samplers_that_hide_again_are_exact_where_all_is_read(make, options):
    plain = walk(Symbols(network()), make=make, **options)
    for x, y in zip(walk(kept("delayed:1"), make=make, **options), plain, strict=True):
        assert torch.equal(x.ids, y.ids)


def test_another_condition_forgets_all():
    net, ids = network(((0.0, 1.0),)), ragged()
    denoiser = kept("delayed", net)
    told = [torch.full((6, 1), value) for value in (0.5, -1.0)]
    x = evaluate(denoiser, TokenState(ids, condition=told[0]), 0)
    y = evaluate(denoiser, TokenState(ids, condition=told[1], cache=x.cache), 1)
    plain = TokenDenoiser(net)(TokenState(ids, condition=told[1]), 0)
    left = (ids == MASK).any(1, keepdim=True) & (ids != PAD)
    assert torch.equal(y.trunk.dense()[left], plain[left])
    assert not torch.allclose(x.trunk.dense()[left], plain[left], atol=1e-2)


@pytest.mark.parametrize("bend", [
    lambda told, plain: ClassifierFree(told, plain, 2.0),
    lambda told, plain: TokenProduct([told, plain], [1.0, 0.5]),
])  # fmt: skip
def test_denoisers_made_of_several_keep_for_each(bend):
    net = network(((0.0, 1.0),))
    found = []
    for refresh in ("delayed:1", None, "delayed"):
        each = [TokenDenoiser(net, shown=shown) for shown in (True, False)]
        if refresh:
            each = [ApproximateDenoiser(d, Refresh.read(refresh)) for d in each]
        *_, x = walk(bend(*each), condition=torch.tensor([[0.7]]), tokens_per_step=2)
        found.append((x.ids, sum(d.rows for d in each)))
    assert torch.equal(found[0][0], found[1][0]) and found[0][1] == found[1][1]
    assert not torch.equal(found[2][0], found[1][0])


def test_low_precision_is_kept_in_low_precision():
    net = network()
    denoiser = kept("delayed", net, dtype=torch.bfloat16)
    exact = TokenDenoiser(net, dtype=torch.bfloat16)
    for k, x in enumerate(walk(denoiser, order=Random())):
        if k == 1:
            assert x.cache.keys.values.dtype == torch.bfloat16
            hidden = x.ids == MASK
            gap = (x.trunk.dense() - exact(TokenState(x.ids), 0))[hidden]
            assert 0 < float(gap.square().mean().sqrt()) < 0.1  # of numbers of size 1


@pytest.mark.parametrize("text", ["", "often", "delayed:0", "periodic", "periodic:0", "delayed:x"])
def test_other_settings_are_refused(text):
    with pytest.raises(ValueError, match="approximate_cache must be delayed, delayed:R or perio"):
        Refresh.read(text)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="every 1 or more readings, got 0"):
        Refresh(True, 0)
    with pytest.raises(ValueError, match="needs its period"):
        Refresh(False)


def test_networks_that_have_nothing_to_keep_are_refused():
    with pytest.raises(ScidiffError, match=r"kept exactly \(prefix_cache=True\)"):
        kept("delayed", block_size=4)

    class Other(torch.nn.Module):
        mask_id, max_length = MASK, L
        config = TokenTransformerConfig(V, L)

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

    with pytest.raises(ScidiffError, match="which Other has none of"):
        kept("delayed", Other())
