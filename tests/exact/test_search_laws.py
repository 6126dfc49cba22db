"""Searches whose law is known in closed form: best-of-n by noise, budget forcing of one step,
moves of noise that keep its law, refinement that keeps the tilted law."""

import math

import pytest
import torch
from gaussian_targets import gaussian
from token_laws import chi2_z

from scidiff.core import Tape, seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.particles import sample
from scidiff.guidance.search import (
    Blended,
    Redrawn,
    noise_search,
    path_search,
    rollover,
    successive_halving,
)
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.testing import Table, chain_reward, chain_table

TABLE = chain_table()
R = chain_reward(TokenState(TABLE.seqs))


def masked(table=TABLE, **options) -> MaskedSampler:
    return MaskedSampler(table.denoiser(), FixedCanvas.blank(4, table.mask_id), **options)


def best_of_law(p, n):
    """Law of the best of n draws from p, ties broken at random."""
    below = torch.stack([p[v > R].sum() for v in R])
    level = torch.stack([p[v == R].sum() for v in R])
    return p / level * ((below + level) ** n - below**n)


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize("rounds, neighbours", [(0, 1), (1, 4), (3, 2)])
def test_random_search_is_best_of_n(rounds, neighbours):
    runs = 20_000
    g = noise_search(
        masked(), chain_reward, runs, seeded(0), rounds=rounds, neighbours=neighbours,
        move=Redrawn(1.0),
    )  # fmt: skip
    assert abs(chi2_z(TABLE, g.x.ids, best_of_law(TABLE.p, 1 + rounds * neighbours))) < 4
    assert torch.equal(g.scores, chain_reward(g.x))
    assert g.ledger.asked == runs * (1 + rounds * neighbours)
    assert g.certificate.verdict == "improper rule"


@pytest.mark.parametrize("move", [Blended(0.4), Blended(3.0), Redrawn(0.3)])
def test_a_moved_tape_keeps_the_law_and_stays_near(move):
    tape, n = Tape(seeded(1)), 40_000
    first = sample(masked(), n, tape).ids
    near = sample(masked(), n, move(tape, seeded(2))).ids
    assert abs(chi2_z(TABLE, near, TABLE.p)) < 4
    alike, by_chance = (first == near).all(1).double().mean(), float((TABLE.p**2).sum())
    assert alike > by_chance + 0.01


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_blended_noise_is_correlated_as_the_distance_says(kind):
    draw = {"normal": torch.randn, "uniform": torch.rand}[kind]((200_000,), generator=seeded(0))
    moved = Blended(0.75)(Tape(seeded(0), [(kind, draw)]), seeded(1)).draws[0][1]
    z, y = (torch.special.ndtri(v.double()) if kind == "uniform" else v for v in (draw, moved))
    assert float((z * y).mean()) == pytest.approx(1 / math.sqrt(1 + 0.75**2), abs=0.01)
    assert float(y.mean()) == pytest.approx(0, abs=0.01)
    assert float(y.var()) == pytest.approx(1, abs=0.02)
    assert moved.dtype == draw.dtype and (kind == "normal" or 0 <= moved.min() < moved.max() < 1)


def test_the_ends_of_the_uniform_range_stay_inside():
    edge = torch.tensor([0.0, 1 - 2.0**-24]).repeat(1000)
    moved = Blended(0.1)(Tape(seeded(0), [("uniform", edge)]), seeded(1)).draws[0][1]
    assert moved.isfinite().all() and moved.min() >= 0 and moved.max() < 1


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_zero_order_search_climbs_on_continuous_chains(eta):
    oracle = gaussian(mean=0.0, sd=1.0)
    sampler = GaussianSampler(oracle, oracle.canvas, steps=6, eta=eta)

    def far(x):  # best at 3, three standard deviations away
        return -(x.parts[0][:, 0] - 3.0).abs()

    steps = [
        noise_search(sampler, far, 60, seeded(3), rounds=rounds, neighbours=4).scores
        for rounds in (0, 5, 10, 15, 20)
    ]
    assert all((b >= a).all() for a, b in zip(steps, steps[1:], strict=False))
    # twenty moves of .3 travel further than best-of-81 looks (its mean is .6 below the top)
    assert steps[-1].mean() > -0.15 and steps[0].mean() < -2


# ---------------------------------------------------------------- rollover budget forcing


def test_a_quota_of_one_takes_every_step():
    g = rollover(masked(), chain_reward, 20_000, seeded(0), quota=1)
    assert abs(chi2_z(TABLE, g.x.ids, TABLE.p)) < 4
    assert torch.equal(g.scores, chain_reward(g.x))


@pytest.mark.parametrize("first", [0.3, 0.95, 9.0])  # .95 is a value that rows have
@pytest.mark.parametrize("quota", [2, 5])
def test_budget_forcing_of_one_step_has_its_closed_law(first, quota):
    """The first of `quota` draws above the value of the start, else the best of them."""
    product = torch.tensor([0.5, 0.3, 0.2]).double()
    p = torch.einsum("a,b,c,d->abcd", *[product] * 4)
    table = Table.of(p)
    below = float(table.p[first >= R].sum())
    law = torch.where(
        first < R,
        table.p * sum(below**j for j in range(quota)),
        best_of_law(table.p, quota),
    )
    g = rollover(
        masked(table, tokens_per_step=4), chain_reward, 20_000, seeded(1), quota=quota,
        value=lambda x, k, rng: torch.full((len(x),), first),
    )  # fmt: skip
    assert float(law.sum()) == pytest.approx(1)
    assert abs(chi2_z(table, g.x.ids, law)) < 4


def test_what_a_row_leaves_rolls_over_to_its_next_steps():
    asked = []

    class Watched(MaskedSampler):
        def step(self, x, k, rng):
            asked.append(k.tolist())
            return super().step(x, k, rng)

    values = iter([[0.0], [1.0], [0.0], [0.0], [0.0], [0.0], [0.5], [2.0], [0.0], [3.0]])
    sampler = Watched(TABLE.denoiser(), FixedCanvas.blank(4, TABLE.mask_id))
    rollover(
        sampler, lambda x: torch.tensor([9.0] * len(x)), 1, seeded(0), quota=3,
        value=lambda x, k, rng: torch.tensor(next(values)),
    )  # fmt: skip
    # 1.0 beats the start at once and leaves two; five tries at step 1 then all fail (the best is
    # taken), 2.0 comes at the first try of step 2
    assert asked == [[0]] + [[1]] * 5 + [[2]] + [[3]]


def test_the_clocks_of_rows_differ():
    clocks = []

    class Watched(MaskedSampler):
        def step(self, x, k, rng):
            clocks.append(len(k.unique()))
            return super().step(x, k, rng)

    sampler = Watched(TABLE.denoiser(), FixedCanvas.blank(4, TABLE.mask_id))
    g = rollover(sampler, chain_reward, 200, seeded(0), quota=4)
    assert max(clocks) > 1 and g.ledger.asked <= 200 * (4 * 4 + 1)
    plain = chain_reward(sample(masked(), 200, seeded(0)))
    assert g.scores.mean() > plain.mean() + 0.3
    alone = rollover(masked(), chain_reward, 200, seeded(0), quota=4).x.ids
    assert torch.equal(g.x.ids, alone) and not (g.x.ids == TABLE.mask_id).any()


def test_budget_forcing_drives_continuous_chains():
    oracle = gaussian(mean=0.0, sd=1.0)
    sampler = GaussianSampler(oracle, oracle.canvas, steps=6)

    def high(x):
        return x.parts[0][:, 0]

    plain = rollover(sampler, high, 1000, seeded(0), quota=1)
    forced = rollover(sampler, high, 1000, seeded(0), quota=6)
    assert abs(float(plain.scores.mean())) < 0.2 and float(forced.scores.mean()) > 1.0
    assert torch.allclose(forced.scores, forced.x.parts[0][:, 0].double())


# ---------------------------------------------------------------- halving and paths


def test_halving_finds_the_best_of_n_where_the_way_tells_the_end():
    oracle = gaussian(mean=0.0, sd=1.0)
    sampler = GaussianSampler(oracle, oracle.canvas, steps=6, eta=0.0)

    def high(x):
        return x.parts[0][:, 0]

    ends = high(sample(sampler, 64, seeded(0))).view(4, 16).amax(1)
    oracle.rows = 0
    g = successive_halving(
        sampler, high, 64, seeded(0), rungs=(1, 2, 4), populations=4,
        value=lambda x, k, rng: x.parts[0][:, 0],
    )  # fmt: skip
    assert len(g.x) == 8 and torch.allclose(g.scores.view(4, 2).amax(1), ends.double())
    # 64 rows at the start and after step 1, 32 after step 2, 16 after steps 3 and 4, 8 after
    assert oracle.rows == 64 + 64 + 32 + 16 + 16 + 8 + 8 == g.ledger.network_rows
    assert (g.ancestors.view(4, 2) // 16 == torch.arange(4)[:, None]).all()


def test_paths_without_a_choice_keep_a_law_of_independent_positions():
    p = torch.tensor([0.5, 0.3, 0.2]).double()
    table = Table.of(torch.einsum("a,b,c,d->abcd", *[p] * 4))
    g = path_search(
        masked(table), chain_reward, 20_000, seeded(0), start=2, back=1, forward=2, branch=1,
        populations=20_000,
    )  # fmt: skip
    assert abs(chi2_z(table, g.x.ids, table.p)) < 4


def test_paths_with_a_choice_climb_inside_their_population():
    g = path_search(
        masked(), chain_reward, 60, seeded(0), start=1, back=1, forward=2, branch=4,
        populations=20,
    )  # fmt: skip
    plain = chain_reward(sample(masked(), 60, seeded(0)))
    assert g.scores.mean() > plain.mean() + 0.5
    assert (g.ancestors // 3 == torch.arange(60) // 3).all()
    assert torch.equal(g.scores, chain_reward(g.x)) and g.certificate.verdict == "improper rule"


def test_paths_of_continuous_chains_climb():
    oracle = gaussian(mean=0.0, sd=1.0)
    sampler = GaussianSampler(oracle, oracle.canvas, steps=8)

    def high(x):
        return x.parts[0][:, 0]

    g = path_search(
        sampler, high, 200, seeded(0), start=2, back=2, forward=3, branch=4, populations=50
    )
    assert float(g.scores.mean()) > 1.0


def test_paths_go_back_before_they_go_on():
    places = []

    class Watched(MaskedSampler):
        def renoise(self, clean, k, rng):
            places.append(-k)
            return super().renoise(clean, k, rng)

        def step(self, x, k, rng):
            places.append(k)
            return super().step(x, k, rng)

    sampler = Watched(TABLE.denoiser(), FixedCanvas.blank(4, TABLE.mask_id))
    path_search(sampler, chain_reward, 4, seeded(0), start=3, back=2, forward=3)
    assert places == [0, 1, 2, -1, 1, 2, 3]
    places.clear()
    path_search(sampler, chain_reward, 4, seeded(0), start=1, back=2, forward=3)
    assert places == [0, 0, 0, 1, 2, -1, 1, 2, 3]


@pytest.mark.parametrize(
    "search, message",
    [
        (lambda s: noise_search(s, chain_reward, 0, seeded(0)), "n must be at least 1, got 0"),
        (lambda s: noise_search(s, chain_reward, 2, seeded(0), neighbours=0), "neighbours must"),
        (lambda s: rollover(s, chain_reward, 2, seeded(0), quota=0), "quota must be at least 1"),
        (
            lambda s: path_search(s, chain_reward, 2, seeded(0), start=4, back=1, forward=2),
            "num_steps = 4.*start=4",
        ),
        (
            lambda s: path_search(s, chain_reward, 2, seeded(0), start=2, back=2, forward=2),
            "back < forward",
        ),
        (
            lambda s: successive_halving(s, chain_reward, 2, seeded(0), rungs=(4,)),
            r"rungs in 1 .. 3.*\(4,\)",
        ),
        (
            lambda s: successive_halving(s, chain_reward, 3, seeded(0), rungs=(), populations=2),
            "multiple of populations",
        ),
    ],
)
def test_impossible_searches_are_named(search, message):
    with pytest.raises(ValueError, match=message):
        search(masked())
