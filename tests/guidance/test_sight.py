"""What searches see: values of particles and ends, each distinct state asked once, results without
weights; and the rules and potentials that go with them."""

import pytest
import torch
from gaussian_targets import chain_law, gaussian

from scidiff.core import seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.certificate import merged
from scidiff.guidance.distinct import Distinct
from scidiff.guidance.lookahead import PosteriorMean, Rollout, Sight, end_values
from scidiff.guidance.particles import current, guided_sample, sample
from scidiff.guidance.search import Redrawn, noise_search, successive_halving
from scidiff.guidance.selection import Replacing, per_parent
from scidiff.rewards.scoring import RewardError, Scores
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.testing import chain_reward, chain_table

TABLE = chain_table()


def masked(**options) -> MaskedSampler:
    return MaskedSampler(TABLE.denoiser(), FixedCanvas.blank(4, TABLE.mask_id), **options)


class Mixed:
    """By the first symbol: scored, invalid, or failed."""

    floor: float | None = -0.5

    def __call__(self, x):
        status = (x.ids[:, 0] - 2).to(torch.int8)
        values = chain_reward(x).masked_fill(status > 0, torch.nan)
        return Scores(values, status)


class Unbounded(Mixed):
    floor = None


# ---------------------------------------------------------------- values


def test_ends_score_their_floor_or_nothing():
    x = TokenState(torch.tensor([[2, 3, 3, 3], [3, 3, 3, 3], [4, 3, 3, 3]]))
    assert end_values(Mixed(), x).tolist() == [float(chain_reward(x)[0]), -0.5, -torch.inf]
    with pytest.raises(RewardError, match="no floor"):
        end_values(Unbounded(), x)
    with pytest.raises(ValueError, match="expected 3 scores, got 2"):
        end_values(lambda x: torch.zeros(2), x)


def test_rows_that_ended_are_asked_of_the_reward_and_others_of_the_value():
    x = TokenState(TABLE.seqs[[0, 80, 40]])
    see = Sight(masked(), chain_reward, lambda x, k, rng: 10.0 + k)
    told = see(x, torch.tensor([4, 2, 3]), seeded(0))
    assert told.tolist() == [float(chain_reward(x)[0]), 12.0, 13.0] and see.finished == 1


def test_looks_without_an_answer_are_the_worst_there_is():
    def value(x, k, rng):
        return Scores(torch.tensor([1.0, torch.nan]).double(), torch.tensor([0, 2]).to(torch.int8))

    see = Sight(masked(), chain_reward, value)
    assert see(TokenState(TABLE.seqs[:2]), 1, seeded(0)).tolist() == [1.0, -torch.inf]


@pytest.mark.parametrize("kind", [PosteriorMean, Rollout])
@pytest.mark.parametrize("draws", [1, 2])
def test_values_of_rows_with_clocks_of_their_own(kind, draws):
    class Strict(MaskedSampler):
        def step(self, x, k, rng):
            assert torch.equal((x.ids == TABLE.mask_id).sum(1), 4 - k)
            return super().step(x, k, rng)

        def predict_clean(self, x, k, rng):
            assert torch.equal((x.ids == TABLE.mask_id).sum(1), 4 - k)
            return super().predict_clean(x, k, rng)

    sampler = Strict(TABLE.denoiser(), FixedCanvas.blank(4, TABLE.mask_id))
    clean = TokenState(TABLE.seqs[[80, 80, 0]])
    x = type(clean).cat([sampler.renoise(clean[torch.tensor([i])], k, seeded(i))
                         for i, k in enumerate((1, 2, 3))])  # fmt: skip
    value = kind(sampler, lambda x: (x.ids != TABLE.mask_id).all(1).double(), draws)
    scores = value(x, torch.tensor([1, 2, 3]), seeded(0))
    assert scores.values.tolist() == [1.0] * 3


def test_a_rollout_from_clocks_has_the_law_of_the_chain():
    oracle = gaussian(mean=0.5, sd=0.5)
    sampler = GaussianSampler(oracle, oracle.canvas, steps=6)
    x, n = sampler.init(4000, seeded(0)), 4000
    clocks = torch.zeros(n, dtype=torch.int64)
    clocks[::2] = 1
    x = type(x).cat([sampler.step(x[torch.arange(0, n, 2)], 0, seeded(1)),
                     x[torch.arange(1, n, 2)]])  # fmt: skip
    k = torch.cat([clocks[::2], clocks[1::2]])
    ends = Rollout(sampler, lambda x: x.parts[0][:, 0])(x, k, seeded(2)).values
    mean, variance = chain_law(oracle, sampler)
    for half in ends.view(2, -1):
        assert float(half.mean()) == pytest.approx(mean, abs=4 * (variance / 2000) ** 0.5)
        assert float(half.var()) == pytest.approx(variance, rel=4 * (2 / 2000) ** 0.5)


# ---------------------------------------------------------------- each distinct state once


def test_each_distinct_state_is_asked_once():
    seen = []

    def reward(x):
        seen.append(x.ids)
        return Mixed()(x)

    distinct = Distinct(reward)
    x = TokenState(TABLE.seqs[[0, 30, 60, 30, 0]])
    first, again = distinct(x), distinct(TokenState(TABLE.seqs[[60, 1]]))
    direct = Mixed()(x)
    assert torch.equal(first.status, direct.status)
    assert torch.equal(first.values[first.ok], direct.values[first.ok])
    assert [len(ids) for ids in seen] == [3, 1]
    assert distinct.asked == 4 and distinct.cache_hits == 3 and len(again) == 2


def test_a_run_asks_only_where_the_look_ahead_changed():
    distinct, n = Distinct(chain_reward), 60
    a = guided_sample(masked(), distinct, n, seeded(0), select=per_parent, branch=4)
    b = guided_sample(masked(), chain_reward, n, seeded(0), select=per_parent, branch=4)
    assert torch.equal(a.x.ids, b.x.ids) and torch.equal(a.log_w, b.log_w)
    assert a.ledger.asked <= 81 < b.ledger.asked == 4 * 4 * n
    assert a.ledger.asked + a.ledger.cache_hits == b.ledger.asked


def test_continuous_states_are_told_apart_by_all_their_parts():
    oracle = gaussian()
    x = sample(GaussianSampler(oracle, oracle.canvas, steps=4), 5, seeded(0))
    distinct = Distinct(lambda x: x.parts[0][:, 0])
    assert torch.equal(distinct(x).values, x.parts[0][:, 0].double()) and distinct.asked == 5
    assert Distinct(Mixed()).floor == -0.5


# ---------------------------------------------------------------- rules and potentials


def test_replacing_nothing_is_the_local_choice_by_its_own_score():
    log_w = torch.randn(7, 5, 3, generator=seeded(0)).double()
    index, kept = Replacing(0.0)(log_w, seeded(1))
    expected, _ = per_parent(log_w, seeded(1))
    assert torch.equal(index, expected)
    assert torch.equal(kept, log_w.flatten(1).gather(1, expected))


def test_the_worst_share_is_replaced_by_draws_from_all():
    log_w = torch.tensor([0.0, 3.0, -9.0, 2.0, -8.0]).double().expand(4000, 5)[..., None]
    index, kept = Replacing(0.4)(log_w, seeded(0))
    assert (index[:, [0, 1, 3]] == torch.tensor([0, 1, 3])).all()
    new = torch.bincount(index[:, [2, 4]].flatten(), minlength=5) / 8000
    assert torch.allclose(new.double(), log_w[0, :, 0].softmax(0), atol=0.02)
    assert torch.equal(kept, log_w[..., 0].gather(1, index))
    assert torch.equal(Replacing(0.4).final(log_w, seeded(0))[0], torch.arange(5).expand(4000, 5))
    with pytest.raises(ValueError, match=r"in \[0, 1\), got 1"):
        Replacing(1)


def test_svdd_r_gains_reward_and_says_it_is_improper():
    runs = [guided_sample(masked(), chain_reward, 400, seeded(0), select=select, branch=2,
                          strength=4.0) for select in (per_parent, Replacing(0.2))]  # fmt: skip
    plain, replaced = (chain_reward(g.x).mean() for g in runs)
    assert replaced > plain + 0.1
    assert runs[1].certificate.verdict == "improper rule"
    assert torch.allclose(runs[1].log_w, runs[1].scores)
    assert len(runs[1].ancestors.unique()) < 400


def test_the_current_potential_pays_the_score_at_every_look():
    score = torch.tensor([1.0, -2.0])
    paid, carry = current(torch.tensor([5.0, 5.0]), score, None)
    assert torch.equal(paid, score) and carry is None


# ---------------------------------------------------------------- what a search hands back


def test_failed_rows_are_never_chosen_and_are_marked():
    g = noise_search(masked(), Mixed(), 40, seeded(0), rounds=0)
    failed = g.x.ids[:, 0] == 4
    assert 0 < failed.sum() < 40 and torch.equal(g.scored, ~failed)
    searched = noise_search(masked(), Mixed(), 40, seeded(0), rounds=8, move=Redrawn(1.0))
    assert searched.scored.all() and (searched.x.ids[:, 0] != 4).all()


def test_results_of_searches_merge_and_draw():
    parts = [successive_halving(masked(), chain_reward, 24, seeded(0, i), rungs=(2,),
                                populations=3) for i in range(2)]  # fmt: skip
    g = merged(parts, proper=False)
    assert len(g.x) == 24 and g.log_z.tolist() == [0.0] * 6
    assert torch.equal(g.draw(seeded(0)) // 4, torch.arange(6))
    assert g.ancestors[:12].max() < 24 <= g.ancestors[12:].min()
    assert g.ledger.asked == 2 * (24 + 12)
    assert str(g.certificate).startswith("improper rule: a search, its weights estimate nothing")
