"""The loop's edges: refusals, bookkeeping, the certificate, look-aheads and chunks."""

from dataclasses import dataclass
from functools import partial
from itertools import count

import pytest
import torch

from scidiff.core import seeded
from scidiff.data.records import Record
from scidiff.data.tokens import TokenState
from scidiff.guidance.chunks import in_chunks
from scidiff.guidance.lookahead import Decoded, Exact, PosteriorMean, Rollout, Surrogate, combined
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.search import path_search, rollover, successive_halving
from scidiff.guidance.selection import greedy, keep_all, nested, per_parent, smc
from scidiff.rewards.scoring import RewardError, Scorer, Scores, Status
from scidiff.samplers.masked import Confidence, FixedCanvas, MaskedSampler
from scidiff.testing import chain_reward, chain_table, same

TABLE = chain_table()


def masked(**options):
    return MaskedSampler(TABLE.denoiser(), FixedCanvas.blank(4, TABLE.mask_id), **options)


def guide(reward=chain_reward, n=12, sampler=None, **options):
    return guided_sample(
        sampler or masked(), reward, n, seeded(0), **{"select": smc(0.5), **options}
    )


@pytest.mark.parametrize("options, message", [
    ({"n": 0}, "n must be at least 1, got 0"), ({"n": -3}, "n must be at least 1"),
    ({"n": 10, "populations": 3}, "multiple of populations"),
    ({"populations": 0}, "populations must be at least 1"),
    ({"branch": 0}, "branch must be at least 1"), ({"every": 0}, "every must be at least 1"),
    ({"window": (3, 1)}, "window must be"),
    ({"branch": 2, "select": keep_all}, "keep_all takes branch=1"),
])  # fmt: skip
def test_impossible_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        guide(**options)


@pytest.mark.parametrize(
    "options", [{"select": smc(0.5)}, {"select": per_parent, "branch": 2}, {"select": greedy}]
)
def test_a_deterministic_sampler_may_not_branch_or_resample(options):
    frozen = masked(temperature=0, order=Confidence())
    with pytest.raises(ValueError, match="eta > 0.*temperature > 0"):
        guide(sampler=frozen, **options)
    assert len(guide(sampler=frozen, select=keep_all).log_w) == 12
    assert len(guide(sampler=frozen, select=per_parent).log_w) == 12


def test_a_canvas_without_anything_to_generate_is_refused():
    full = MaskedSampler(
        TABLE.denoiser(), FixedCanvas(torch.tensor([[2, 3, 4, 2]]), TABLE.mask_id)
    )
    with pytest.raises(ValueError, match="nothing to generate"):
        guide(sampler=full)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), float("inf")])
def test_a_score_that_is_not_finite_names_its_row(bad):
    def reward(x):
        values = chain_reward(x)
        values[5] = bad
        return values

    with pytest.raises(ValueError, match="row 5"):
        guide(reward)
    with pytest.raises(ValueError, match="row 5"):
        guide(select=keep_all, value=lambda x, k, rng: reward(x))


@pytest.mark.parametrize("answer", [1.0, [0.0] * 12, torch.zeros(12, 2)])
def test_a_reward_of_the_wrong_kind_is_named(answer):
    with pytest.raises(ValueError, match=r"tensor \(B,\) or Scores"):
        guide(lambda x: answer)


def test_a_reward_of_the_wrong_length_is_named():
    with pytest.raises(ValueError, match="expected 12 scores, got 3"):
        guide(lambda x: torch.zeros(3))


def test_invalid_ends_need_a_floor():
    def reward(x):
        return Scores(
            torch.full((len(x),), torch.nan).double(), torch.ones(len(x), dtype=torch.int8)
        )

    with pytest.raises(RewardError, match="no floor"):
        guide(reward)


def test_plain_sampling_is_the_loop_without_a_reward():
    assert same(
        sample(masked(), 9, seeded(4)),
        guided_sample(masked(), None, 9, seeded(4), select=keep_all).x,
    )
    with pytest.raises(ValueError, match="n must be at least 1"):
        sample(masked(), 0, seeded(0))


def test_strength_zero_weighs_nothing():
    guided = guide(strength=0.0)
    assert (guided.log_w == 0).all() and guided.certificate.log_z == 0


def test_the_ledger_counts_rows_and_states():
    guided = guide(n=6, branch=3, select=nested(0.5))
    # init 6 rows; 3 steps of 18 rows; the last step evaluates nothing. 3 looks and the end, 18
    # states each
    assert guided.ledger.network_rows == 6 + 3 * 18
    assert guided.ledger.asked == 4 * 18 and guided.ledger.cache_hits == 0
    assert guided.ledger.seconds > 0 and "60 network rows" in str(guided.ledger)
    assert guide(n=6, value=Exact(TABLE.tilted(chain_reward, 1.0))).ledger.asked == 6


@dataclass
class Spelled:
    """Decodes rows to words; words that start with 4 are invalid."""

    def decode(self, x):
        words = ["".join(str(i) for i in row) for row in x.ids.tolist()]
        return [
            Record(w, w, True) if w[0] != "4" else Record(w, None, False, "starts with 4")
            for w in words
        ]


class Sum:
    floor = -1.0

    def __call__(self, objects):
        assert not any(o is None for o in objects)
        return [sum(map(int, o)) / 10 for o in objects]


def test_decoded_rewards_see_distinct_valid_objects():
    reward = Decoded(Spelled(), Sum())
    guided = guide(reward, n=60, branch=2, select=nested(0.5), populations=5)
    words = ["".join(str(i) for i in row) for row in guided.x.ids.tolist()]
    for word, score in zip(words, guided.scores.tolist(), strict=True):
        assert score == pytest.approx(-1.0 if word[0] == "4" else sum(map(int, word)) / 10)
    assert guided.ledger.asked == reward.scorer.asked <= 54
    assert guided.ledger.cache_hits > 50
    again = guide(reward, n=60, branch=2, select=nested(0.5), populations=5)
    assert again.ledger.asked == 0 and torch.equal(again.x.ids, guided.x.ids)


def test_a_spent_budget_ends_the_run_gracefully():
    reward = Decoded(Spelled(), Scorer(Sum(), budget=7))
    guided = guide(reward, n=60, branch=2, select=nested(0.5), populations=5)
    assert guided.ledger.asked == 7 and not guided.scored.all()


@pytest.mark.parametrize("look", [PosteriorMean, Rollout])
@pytest.mark.parametrize("branch, select", [(1, smc(0.5)), (2, nested(0.5))])
@pytest.mark.parametrize("more", [0, 3])
def test_a_budget_below_the_looks_still_scores_every_end(look, branch, select, more):
    """Every row is an object of its own here, so the looks on the way alone would spend it."""
    number, budget = count(), 6 * branch + more
    told = Decoded(Spelled(), Scorer(Sum(), key=lambda r: str(next(number)), budget=budget))
    guided = guide(told, n=6, branch=branch, select=select, value=look(masked(), told))
    assert guided.scored.all() and guided.ledger.asked <= budget and told.kept == 0
    assert guided.looks == (1, 2, 3, 4)


def test_look_aheads_are_refused_once_only_the_kept_calls_are_left():
    reward = Decoded(Spelled(), Scorer(Sum(), budget=4))
    states = [TokenState(TABLE.seqs[rows]) for rows in (slice(0, 4), slice(9, 13))]
    with reward.keeping(1), reward.keeping(2):
        first, second = (reward.guess(x).status.tolist() for x in states)
        assert first == [0, 4, 4, 4] and set(second) == {4}
        assert reward(states[1]).status.tolist() == [0, 0, 0, 4]


@pytest.mark.parametrize(
    "make", [lambda r: PosteriorMean(masked(), r, 3, 2.0), lambda r: Rollout(masked(), r, 3, 2.0)]
)
def test_draws_are_combined_for_their_own_particle(make):
    seen = []

    def reward(x):
        seen.append(x)
        return chain_reward(x)

    value = make(reward)
    x = masked().init(5, seeded(0))
    scores = value(x, 0, seeded(1))
    assert len(scores) == 5 and len(seen[0]) == 15 and value.asked == 15
    expected = ((2.0 * chain_reward(seen[0]).view(5, 3)).exp().mean(1)).log() / 2.0
    assert torch.allclose(scores.values, expected)


def test_rollouts_estimate_the_soft_value():
    tilted = TABLE.tilted(chain_reward, 1.5)
    x = masked().step(masked().init(3, seeded(0)), 0, seeded(1))
    estimate = Rollout(masked(), chain_reward, 20_000, 1.5)(x, 1, seeded(2)).values
    assert torch.allclose(estimate, tilted.soft_value(x), atol=0.03)


def test_lost_draws_are_left_out():
    nan = float("nan")
    scores = Scores.of(
        [(1.0, Status.OK), (nan, Status.INVALID), (nan, Status.SKIPPED), (nan, Status.FAILED)]
    )
    merged = combined(scores, 2, 3.0)
    assert merged.status.tolist() == [Status.OK, Status.SKIPPED] and merged.values[
        0
    ] == pytest.approx(1.0)
    assert combined(Scores.of([(1.0, Status.OK), (2.0, Status.OK)]), 2, 0.0).values.tolist() == [
        1.5
    ]


def test_a_surrogate_reads_the_noisy_particle():
    guided = guide(value=Surrogate(lambda x, k: (x.ids == TABLE.mask_id).sum(1) / 10.0))
    assert guided.ledger.asked == 12


def test_draws_must_be_positive():
    with pytest.raises(ValueError, match="draws must be at least 1"):
        PosteriorMean(masked(), chain_reward, 0)


def test_the_certificate_judges():
    good = guide(n=400, populations=100, select=nested(0.5), branch=3).certificate
    assert good.verdict == "weights trustworthy" and good.error < 0.2 and good.lineages > 10
    assert "log Z" in str(good) and "effective lineages" in str(good)
    assert guide(n=40, select=smc(1.0), strength=8.0).certificate.verdict == "collapsed"
    assert guide(n=40, select=keep_all, strength=40.0).certificate.verdict == "collapsed"
    assert guide(n=40, select=greedy, branch=2).certificate.verdict == "improper rule"
    assert guide(n=40).certificate.error is None and "no error" in str(guide(n=40).certificate)


def test_the_error_of_log_z_is_its_spread_over_runs():
    runs = [
        guided_sample(masked(), chain_reward, 160, seeded(1, i), select=smc(0.5), populations=40)
        for i in range(60)
    ]
    spread = torch.tensor([g.certificate.log_z for g in runs]).std()
    stated = torch.tensor([g.certificate.error for g in runs]).mean()
    assert 0.7 < float(stated / spread) < 1.4


def test_one_design_is_drawn_from_each_population():
    guided = guide(n=30, populations=6, select=keep_all, strength=50.0)
    rows = guided.draw(seeded(0))
    assert torch.equal(rows // 5, torch.arange(6))
    assert torch.equal(guided.log_w[rows], guided.log_w.view(6, 5).amax(1))


# ---------------------------------------------------------------- chunks


def test_chunks_draw_the_same_wherever_they_run():
    pieces = list(in_chunks(10, 4, 7, lambda size, rng: sample(masked(), size, rng).ids))
    assert [len(p) for p in pieces] == [4, 4, 2]
    resumed = list(in_chunks(10, 4, 7, lambda size, rng: sample(masked(), size, rng).ids, first=1))
    assert all(torch.equal(a, b) for a, b in zip(pieces[1:], resumed, strict=True))
    assert not torch.equal(pieces[0], pieces[1])


class Small:
    """A denoiser whose network call holds at most `room` rows."""

    def __init__(self, room, micro_batch=None):
        self.room, self.micro_batch = room, micro_batch

    def run(self, size, rng):
        if min(size, self.micro_batch or size) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return torch.rand(size, generator=rng)


def test_out_of_memory_halves_the_micro_batch_once_and_says_so():
    small = Small(room=4)
    with pytest.warns(UserWarning, match="out of memory: now 4 rows a network call"):
        pieces = list(in_chunks(20, 8, 0, small.run, denoiser=small))
    assert small.micro_batch == 4
    roomy = list(in_chunks(20, 8, 0, Small(room=100).run))
    assert all(torch.equal(a, b) for a, b in zip(pieces, roomy, strict=True))


@pytest.mark.parametrize("small, given", [(Small(room=3), True), (Small(room=4), False)])
def test_out_of_memory_goes_through_the_second_time(small, given):
    with pytest.warns(UserWarning) if given else pytest.raises(torch.OutOfMemoryError):
        if not given:
            list(in_chunks(8, 8, 0, small.run))
        with pytest.raises(torch.OutOfMemoryError):
            list(in_chunks(8, 8, 0, small.run, denoiser=small))


@pytest.mark.parametrize("n, chunk", [(0, 4), (4, 0), (-1, 2)])
def test_chunks_need_rows(n, chunk):
    with pytest.raises(ValueError, match="n and chunk must be at least 1"):
        list(in_chunks(n, chunk, 0, lambda size, rng: size))


def test_tokens_in_the_state_are_whole():
    guided = guide()
    assert isinstance(guided.x, TokenState) and not (guided.x.ids == TABLE.mask_id).any()


def test_a_rollout_that_ends_invalid_scores_the_floor():
    def invalid(x):  # every end is invalid; the reward declares the floor -2
        values = torch.full((len(x),), -2.0, dtype=torch.float64)
        return Scores(values, torch.full((len(x),), int(Status.INVALID), dtype=torch.int8))

    x = masked().init(3, seeded(0))
    rolled = Rollout(masked(), invalid)(x, 1, seeded(1))
    assert rolled.ok.all() and (rolled.values == -2).all()
    guessed = PosteriorMean(masked(), invalid)(x, 1, seeded(1))
    assert not guessed.ok.any()


@pytest.mark.parametrize("search, budget", [
    (partial(successive_halving, rungs=(1, 2)), 2), (partial(rollover, quota=2), 6),
    (partial(path_search, start=1, back=1, forward=2, branch=1), 1)])  # fmt: skip
def test_searches_leave_calls_for_what_they_finish(search, budget):
    """Every row is an object of its own, and looks alone would spend the budget."""
    number = count()
    told = Decoded(Spelled(), Scorer(Sum(), key=lambda r: str(next(number)), budget=budget))
    guided = search(masked(), told, 6, seeded(0))
    assert guided.scored.all() and guided.ledger.asked <= budget and told.kept == 0
