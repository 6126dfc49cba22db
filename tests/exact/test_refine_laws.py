"""Refinement against laws in closed form: chains that keep the tilted law, rounds that are
best-of-n."""

import pytest
import torch
from gaussian_targets import gaussian
from token_laws import chi2_z, distance

from scidiff.core import seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.refine import Improve, Metropolis, Restarted, refine
from scidiff.guidance.selection import nested, smc
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.testing import chain_reward, chain_table, check_sampler

TABLE = chain_table()
STRENGTH = 1.2
TARGET = TABLE.tilted(chain_reward, STRENGTH)
R = chain_reward(TokenState(TABLE.seqs))


def masked() -> MaskedSampler:
    return MaskedSampler(TABLE.denoiser(), FixedCanvas.blank(4, TABLE.mask_id))


def drawn(p, n, seed=0) -> TokenState:
    return TokenState(TABLE.seqs[torch.multinomial(p, n, True, generator=seeded(seed))])


def best_of_law(n):
    below = torch.stack([TABLE.p[v > R].sum() for v in R])
    level = torch.stack([TABLE.p[v == R].sum() for v in R])
    return TABLE.p / level * ((below + level) ** n - below**n)


def always(old, new, rng):
    return torch.ones_like(old, dtype=torch.bool)


# ---------------------------------------------------------------- the restarted chain


@pytest.mark.parametrize("first", [0, 1, 3])
def test_a_restarted_chain_is_a_sampler(first):
    check_sampler(Restarted(masked(), drawn(TABLE.p, 5), first))
    oracle = gaussian()
    inner = GaussianSampler(oracle, oracle.canvas, steps=4)
    check_sampler(Restarted(inner, sample(inner, 5, seeded(0)), first))


def test_restarted_rows_undo_as_many_steps_as_said():
    clean = drawn(TABLE.p, 30)
    x = Restarted(masked(), clean, 3).init(90, seeded(0))
    assert ((x.ids == TABLE.mask_id).sum(1) == 1).all()
    kept = x.ids != TABLE.mask_id
    assert torch.equal(x.ids[kept], clean.ids.repeat_interleave(3, 0)[kept])
    with pytest.raises(ValueError, match="multiple of the 30 rows, got 31"):
        Restarted(masked(), clean, 3).init(31, seeded(0))
    with pytest.raises(ValueError, match=r"0 \.\. 3 to start at, got 4"):
        Restarted(masked(), clean, 4)


def test_weights_of_a_restarted_chain_are_those_of_its_own_law():
    """log Z of one row's offspring, against the sum over what its two hidden tokens can become."""
    row = TokenState(TABLE.seqs[7:8])
    own = TABLE.frequencies(sample(Restarted(masked(), row, 2), 200_000, seeded(0)).ids)
    g = guided_sample(
        Restarted(masked(), row, 2), chain_reward, 8000, seeded(1), select=smc(0.5), branch=2,
        strength=STRENGTH, populations=2000,
    )  # fmt: skip
    z, truth = g.log_z.exp(), float(own @ (STRENGTH * R).exp())
    assert abs(z.mean() - truth) < 4 * float(z.std()) / 2000**0.5


# ---------------------------------------------------------------- refinement


@pytest.mark.parametrize("back", [1, 2, 4, (1, 3)])
def test_metropolis_keeps_the_tilted_law(back):
    g = refine(
        masked(), chain_reward, drawn(TARGET.p, 40_000), seeded(1), rounds=2, back=back,
        accept=Metropolis(STRENGTH),
    )  # fmt: skip
    assert abs(chi2_z(TABLE, g.x.ids, TARGET.p)) < 4
    assert torch.equal(g.scores, chain_reward(g.x))


def test_metropolis_walks_to_the_tilted_law():
    start = drawn(TABLE.p, 20_000)
    far = distance(TABLE.p, TARGET.p)
    g = refine(masked(), chain_reward, start, seeded(1), rounds=25, back=(2, 4),
               accept=Metropolis(STRENGTH))  # fmt: skip
    assert far > 0.15 and abs(chi2_z(TABLE, g.x.ids, TARGET.p)) < 4


def test_accepting_everything_keeps_the_models_law():
    g = refine(masked(), chain_reward, drawn(TABLE.p, 40_000), seeded(1), rounds=2, back=2,
               accept=always)  # fmt: skip
    assert abs(chi2_z(TABLE, g.x.ids, TABLE.p)) < 4


@pytest.mark.parametrize("rounds", [1, 3])
def test_refinement_from_scratch_is_best_of_n(rounds):
    g = refine(masked(), chain_reward, drawn(TABLE.p, 20_000), seeded(1), rounds=rounds, back=4)
    assert abs(chi2_z(TABLE, g.x.ids, best_of_law(1 + rounds))) < 4
    assert g.ledger.asked == 20_000 * (1 + rounds)
    assert g.certificate.verdict == "improper rule"


def test_guided_offspring_climb_faster():
    start, best = drawn(TABLE.p, 500), []
    for improve in (None, Improve(branch=4, strength=5.0), Improve(nested(), 4, 4, 5.0)):
        g = refine(masked(), chain_reward, start, seeded(1), rounds=2, back=2, improve=improve)
        assert torch.allclose(g.scores, chain_reward(g.x))
        assert (g.scores >= chain_reward(start)).all()
        best.append(float(g.scores.mean()))
    assert best[0] + 0.1 < best[1] < best[2]
    # a start, and twice one look and one end of 4 x 4 rows a start
    assert g.ledger.asked == 500 * (1 + 2 * 2 * 16)


def test_looks_are_told_the_step_of_the_whole_chain_and_lengths_take_turns():
    looks, places = [], []

    class Watched(MaskedSampler):
        def renoise(self, clean, k, rng):
            places.append(k)
            return super().renoise(clean, k, rng)

    def value(x, k, rng):
        looks.append(k)
        return torch.zeros(len(x))

    sampler = Watched(TABLE.denoiser(), FixedCanvas.blank(4, TABLE.mask_id))
    refine(sampler, chain_reward, drawn(TABLE.p, 5), seeded(1), rounds=3, back=(3, 2),
           improve=Improve(branch=2), value=value)  # fmt: skip
    assert places == [1, 2, 1] and looks == [2, 3, 3, 2, 3]


def test_metropolis_refuses_guided_offspring():
    with pytest.raises(ValueError, match="draws of the sampler itself"):
        refine(masked(), chain_reward, drawn(TABLE.p, 5), seeded(1), rounds=1, back=2,
               accept=Metropolis(1.0), improve=Improve(branch=2))  # fmt: skip


@pytest.mark.parametrize("name", ["particles", "branch", "every", "strength"])
def test_impossible_improvements_are_named(name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        Improve(**{name: 0})


def test_continuous_rows_are_refined():
    oracle = gaussian(mean=0.0, sd=1.0)
    sampler = GaussianSampler(oracle, oracle.canvas, steps=40)

    def near(x):
        return -((x.parts[0][:, 0] - 1.0) ** 2)

    start = sample(sampler, 4000, seeded(0))
    g = refine(sampler, near, start, seeded(1), rounds=30, back=25, accept=Metropolis(1.5))
    # N(0, 1) tilted by exp(-1.5 (x - 1)^2) is N(3/4, 1/4), up to the chain's own small error
    x = g.x.parts[0][:, 0]
    assert float(x.mean()) == pytest.approx(0.75, abs=0.04)
    assert float(x.var()) == pytest.approx(0.25, abs=0.03)
