"""Learning sizes on a table whose best policy is found by listing all of them."""

from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch

from scidiff.core import ScidiffError, seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.size_learning import Drawn, learn_sizes, log_pi, written
from scidiff.networks.size_policy import SizePolicy, SizePolicyConfig, load_size_policy
from scidiff.samplers.block_sizes import LearnedSizes, inside
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.predictions import known
from scidiff.testing import Table, check_full_graph, check_sampler

SIZES = (1, 2, 4)


def pairs():
    """Two free symbols, then two that are always equal: drawn together they differ half the
    time."""
    p = torch.zeros(3, 3, 3, 3, dtype=torch.float64)
    for a, b, c in product(range(2), range(2), range(3)):
        p[a, b, c, c] = 1.0
    return Table.of(p)


TABLE = pairs()


def alike(x):
    return (x.ids[:, 2] == x.ids[:, 3]).double()


def sampler(sizes, **options):
    canvas = FixedCanvas.blank(TABLE.length, TABLE.mask_id)
    return MaskedSampler(TABLE.denoiser(), canvas, sizes=sizes, tokens_per_step=4, **options)


def policy(trunk=0):
    torch.manual_seed(0)
    return SizePolicy(SizePolicyConfig(SIZES, trunk))


def chosen(told):
    """The sizes that a policy takes from the left, as the table is the same for all rows."""
    sizes, x = LearnedSizes(told), None
    s, parts = sampler(sizes), []
    x = s.init(1, seeded(0))
    for k in range(s.num_steps):
        if not (x.ids == TABLE.mask_id).any():
            return tuple(parts)
        first, last = x.memory[1][0].tolist()
        parts.append(min(last, TABLE.length) - first)
        x = s.step(x, k, seeded(1, k))
    return tuple(parts)


def worth(cut, cost):
    """Of a way to cut the row: what is written together is drawn independently, so the pair is
    alike with probability 1/3 in one part and always in two."""
    starts = [sum(cut[:i]) for i in range(len(cut) + 1)]
    together = any(a <= 2 and b == 4 for a, b in pairwise(starts))
    return (1 / 3 if together else 1.0) - cost * len(cut)


CUTS = [cut for n in range(1, 5) for cut in product(SIZES, repeat=n) if sum(cut) == 4]


@pytest.mark.parametrize("cost, fewest", [(0.15, 3), (0.5, 1)])
def test_the_best_cut_of_the_table_is_learnt(cost, fewest):
    told, best = policy(), max(worth(cut, cost) for cut in CUTS)
    rounds = learn_sizes(sampler, told, alike, cost=cost, rounds=100, rows=128, rng=seeded(3))
    found = chosen(told)
    assert worth(found, cost) == best and len(found) == fewest
    assert rounds[-1].reward > rounds[0].reward


def test_the_gradient_is_that_of_the_expected_reward():
    """Against the exact gradient: every cut has a probability and a mean reward of its own."""
    told, cost, n = policy(), 0.1, 20_000
    torch.nn.init.normal_(told.out.weight, std=0.15, generator=seeded(4))
    drawn = Drawn(seeded(5))
    x, steps = written(sampler(LearnedSizes(told, drawn)), n, seeded(6))
    reward = (alike(x) - cost * steps).float()
    pi = log_pi(told, drawn, n)
    rates = (pi.detach().exp() * 1e6).round().long()
    first = [(rates == rate).nonzero()[:, 0] for rate in rates.unique()]
    total = sum(float(pi[rows[0]].detach().exp()) for rows in first)
    assert len(first) > len(CUTS) and total == pytest.approx(1)  # 4 is also all of what is left
    for rows in first:
        p = float(pi[rows[0]].detach().exp())
        assert abs(len(rows) - n * p) < 4 * (n * p * (1 - p)) ** 0.5
    exact = sum(pi[rows[0]].exp() * reward[rows].mean() for rows in first)
    found, wanted = (torch.autograd.grad(v, told.out.weight, retain_graph=True)[0]
                     for v in (((reward - reward.mean()) * pi).mean(), exact))  # fmt: skip
    assert wanted.abs().max() > 0.05
    torch.testing.assert_close(found, wanted, atol=0.01, rtol=0)


def test_steps_are_counted_until_a_row_is_done():
    always = replace(LearnedSizes(policy()), pick=lambda f, s, new: torch.full((len(f),), 1))
    x, steps = written(sampler(always), 30, seeded(7))
    assert (steps == 2).all() and not (x.ids == TABLE.mask_id).any()


def test_a_part_stands_until_it_is_written():
    """At one token a step: sizes are asked for only where the last part is done."""
    asked = []

    def pick(features, scores, new):
        asked.append(new.clone())
        return torch.full((len(features),), len(asked) % 2)  # 2, 1, 2, ... columns

    canvas = FixedCanvas.blank(TABLE.length, TABLE.mask_id)
    s = MaskedSampler(TABLE.denoiser(), canvas, sizes=LearnedSizes(policy(), pick))
    x = s.init(20, seeded(12))
    for k in range(3):
        part, left = known(x, 1), (x.ids == TABLE.mask_id) & inside(known(x, 1), TABLE.length)
        x = s.step(x, k, seeded(13, k))
        over = left.sum(1) == 1  # this step wrote the last of it
        assert torch.equal(asked[-1], over)
        assert torch.equal(known(x, 1)[~over], part[~over])
    assert len(asked) == 4 and not asked[1].any() and asked[2].all()


def test_a_policy_keeps_the_contract_of_samplers():
    check_sampler(sampler(LearnedSizes(policy(trunk=0))))
    check_full_graph(sampler(LearnedSizes(policy())))
    blocks = sampler(LearnedSizes(policy()), block_size=2)  # parts end with their block
    assert not (written(blocks, 20, seeded(8))[0].ids == TABLE.mask_id).any()


def test_a_policy_is_saved_and_loaded(tmp_path):
    told = policy()
    torch.nn.init.normal_(told.out.weight, generator=seeded(9))
    file = tmp_path / "policies" / "fast.safetensors"
    told.save(file)
    again = load_size_policy(file)
    features = torch.randn(5, 9, generator=seeded(10))
    assert again.config == told.config and torch.equal(again(features), told(features))
    file.write_bytes(b"nothing")
    with pytest.raises(ScidiffError, match=r"fast.safetensors holds no policy of block sizes"):
        load_size_policy(file)


def test_small_parts_may_be_likelier_at_first():
    leaning = SizePolicy(SizePolicyConfig(SIZES, lean=3.0))
    p = leaning(torch.randn(4, 9, generator=seeded(14))).softmax(1)
    e = torch.tensor(3.0).exp()
    torch.testing.assert_close(p, torch.stack([e, e**0, e**0]).expand(4, 3) / (e + 2))


def test_a_policy_of_another_network_is_refused():
    with pytest.raises(ValueError, match="reads 7 channels of a network, got 6: it belongs"):
        sampler(LearnedSizes(policy(trunk=7))).init(3, seeded(0))


@pytest.mark.parametrize("sizes, options, message", [
    ((), {}, "sizes must grow"), ((2, 3), {}, "multiples of the first"),
    ((1, 2), {"trunk": -1}, "trunk must be 0 or more"),
])  # fmt: skip
def test_wrong_policies_are_refused(sizes, options, message):
    with pytest.raises(ValueError, match=message):
        SizePolicyConfig(sizes, **options)


@pytest.mark.parametrize("options", [{"cost": -1.0}, {"cost": 0.1, "rows": 1}])
def test_wrong_learning_is_refused(options):
    with pytest.raises(ValueError, match="cost must be finite and not negative"):
        learn_sizes(sampler, policy(), alike, rng=seeded(0), **options)


def test_a_batch_need_not_be_finished_together():
    """Rows are written at their own pace, and each pays for its own steps."""
    told = LearnedSizes(policy(), pick=lambda f, s, new: torch.arange(len(f)) % 3)
    x, steps = written(sampler(told), 30, seeded(11))
    assert isinstance(x, TokenState) and steps.tolist() == [4.0, 2.0, 1.0] * 10
