"""Superpositions of denoisers: densities followed along the chain against exact ones, the mixture
that OR draws and the line on which AND ends."""

import pytest
import torch
from gaussian_targets import Oracle, Points, tiny_graph_denoiser

from scidiff.core import normal, seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.guidance.particles import sample
from scidiff.processes.schedules import VE, VP, alpha
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.superposition import Superposition, ancestral_table
from scidiff.samplers.tables import multistep_table
from scidiff.samplers.tempered import Product
from scidiff.testing import GaussianMixture, check_full_graph, check_sampler

SCHEDULE = VP(0.1, 20.0)


def mixture(weights, means, sds, schedule=SCHEDULE):
    return Oracle([GaussianMixture(weights, means, sds)], [schedule])


ONE = mixture([0.3, 0.7], [[-2.0], [1.5]], [[0.5], [0.6]])
TWO = mixture([0.6, 0.4], [[-1.5], [2.0]], [[0.6], [0.5]])
ABOVE = mixture([0.5, 0.5], [[1.5, 1.5], [-1.5, 1.5]], [[0.4, 0.4], [0.4, 0.4]])
BELOW = mixture([0.5, 0.5], [[1.5, -1.5], [-1.5, -1.5]], [[0.4, 0.4], [0.4, 0.4]])
GRID = torch.linspace(-8, 8, 4001, dtype=torch.float64)


def nodes(steps, end=1e-3):
    return torch.linspace(1, end, steps + 1, dtype=torch.float64)


def exact(oracles, x, t):
    """log q_i of all at the places of x, (B, M)."""
    level, sigma = alpha(SCHEDULE, t), SCHEDULE.sigma(t)
    return torch.stack([o.targets[0].log_prob(x.parts[0], level, sigma) for o in oracles], 1)


def either(steps, n=4000, **options):
    chain = Superposition([ONE, TWO], ONE.canvas, steps=steps, **options)
    x = sample(chain, n, seeded(0))
    return chain, x


def error(steps):
    chain, x = either(steps, times=nodes(steps), denoise=False)
    gap = chain.log_densities(x) - exact([ONE, TWO], x, chain.times[-1])
    return float(gap.square().mean().sqrt())


# ---------------------------------------------------------------- densities


@pytest.mark.parametrize("how", ["or", "and"])
def test_densities_of_gaussians_of_the_spread_are_exact_at_any_length(how):
    """Two Gaussians that differ in their mean alone, drawn where neither would be."""
    a, b = (mixture([1.0], [[m, 0.0]], [[0.7, 0.7]], VE(0.01, 8.0)) for m in (-0.8, 1.1))
    chain = Superposition([a, b], a.canvas, steps=9, how=how, spread=0.7, denoise=False)
    x, rng = chain.init(50, seeded(0)), seeded(1)

    def true(k):
        sigma = VE(0.01, 8.0).sigma(chain.times[k])
        return torch.stack([o.targets[0].log_prob(x.parts[0], 1.0, sigma) for o in (a, b)], 1)

    began = chain.log_densities(x) - true(0)
    for k in range(9):
        x = chain.step(x, k, rng)
        assert torch.allclose(chain.log_densities(x) - began, true(k + 1), atol=1e-4)


def test_the_error_falls_as_the_square_root_of_the_step():
    coarse, fine = error(60), error(300)
    assert coarse < 0.4 and fine < 0.16 and 1.8 < coarse / fine < 2.8


@pytest.mark.slow
def test_the_error_at_full_length():
    coarse, fine = error(200), error(1000)
    assert coarse < 0.25 and fine < 0.12 and 1.8 < coarse / fine < 2.8


def test_graph_densities_count_free_coordinates():
    """Chains begin where log q is that of the prior, every free coordinate once."""
    canvas = GraphCanvas(NodeCounts(torch.tensor([0.0, 1, 0, 1, 1])), 3)
    one = tiny_graph_denoiser()
    chain = Superposition([one, one], canvas, steps=3)
    x = chain.init(6, seeded(0))
    log_q = chain.log_densities(x)[:, 0]
    for row in range(6):
        n = int(x.mask[row].sum())
        free = torch.cat([x.X[row, :n].flatten(), x.A[row][torch.ones(4, 4).triu(1) > 0]])
        sizes = [3 * n, n * (n - 1) // 2]
        std = torch.tensor([1.0] * sizes[0] + [one.components[1].schedule.prior_std] * sizes[1])
        free = torch.cat([free[: sizes[0]], free[sizes[0] :][free[sizes[0] :] != 0]])
        law = torch.distributions.Normal(0, std)
        assert abs(float(law.log_prob(free).sum() - log_q[row])) < 1e-3


# ---------------------------------------------------------------- OR


def distance_to_mixture(y, log_p):
    cdf = log_p.softmax(0).cumsum(0)
    share = torch.searchsorted(y.sort().values, GRID, right=True) / len(y)
    return float((share - cdf).abs().sum() * (GRID[1] - GRID[0]))


def log_of(*oracles):
    laws = torch.stack([o.targets[0].log_prob(GRID[:, None]) for o in oracles])
    return laws.logsumexp(0)


def test_or_draws_from_the_mixture():
    _, x = either(100)
    y = x.parts[0][:, 0].double()
    assert distance_to_mixture(y, log_of(ONE, TWO)) < 0.06
    assert distance_to_mixture(y, log_of(ONE)) > 0.2


@pytest.mark.slow
def test_or_at_full_length():
    _, x = either(200, 20_000)
    assert distance_to_mixture(x.parts[0][:, 0].double(), log_of(ONE, TWO)) < 0.03


def test_or_does_not_average():
    left, right = (mixture([1.0], [[m]], [[0.5]]) for m in (-2.0, 2.0))
    law = log_of(left, right)

    def away(**options):
        chain = Superposition([left, right], left.canvas, steps=100, **options)
        return distance_to_mixture(sample(chain, 4000, seeded(0)).parts[0][:, 0].double(), law)

    assert away() < 0.12 and away(temperature=0.0) > 1


def test_a_bias_takes_one_of_them():
    _, x = either(100, bias=[0.0, 30.0])
    assert distance_to_mixture(x.parts[0][:, 0].double(), log_of(TWO)) < 0.08


# ---------------------------------------------------------------- AND


def gap(x, t):
    both = exact([ABOVE, BELOW], x, t)
    return float((both[:, 0] - both[:, 1]).abs().median())


def test_and_ends_where_all_are_equally_likely():
    chain = Superposition(
        [ABOVE, BELOW], ABOVE.canvas, steps=100, how="and", times=nodes(100, 2e-3), denoise=False
    )
    x = sample(chain, 500, seeded(1))
    assert gap(x, chain.times[-1]) < 0.05 and x.parts[0][:, 1].abs().mean() < 0.01
    assert x.parts[0][:, 0].abs().median() > 1  # still at the modes
    told = chain.log_densities(x)
    assert (told[:, 0] - told[:, 1]).abs().median() < 1e-4
    plain = GaussianSampler(
        Product([ABOVE, BELOW], [0.5, 0.5]), ABOVE.canvas, steps=100, solver="exp1",
        times=nodes(100, 2e-3), denoise=False,
    )  # fmt: skip
    assert gap(sample(plain, 500, seeded(1)), chain.times[-1]) > 3


def test_and_of_three_is_solved_by_the_same_equations():
    third = mixture([1.0], [[0.0, 0.0, 1.0]], [[0.6] * 3])
    oracles = [
        mixture([1.0], [[1.0, 0.0, 0.0]], [[0.6] * 3]),
        mixture([1.0], [[0.0, 1.0, 0.0]], [[0.6] * 3]),
        third,
    ]
    chain = Superposition(oracles, third.canvas, steps=60, how="and", spread=0.6, denoise=False)
    x = sample(chain, 300, seeded(2))
    told = exact(oracles, x, chain.times[-1])
    assert (told.amax(1) - told.amin(1)).median() < 0.05
    assert (x.parts[0].amax(1) - x.parts[0].amin(1)).median() < 0.03
    x, rng = chain.init(300, seeded(3)), seeded(4)
    for k in range(30):
        x = chain.step(x, k, rng)
    told = chain.log_densities(x)
    assert (told.amax(1) - told.amin(1)).median() < 1e-5


def test_denoisers_that_agree_share_equally():
    chain = Superposition([ABOVE, ABOVE], ABOVE.canvas, steps=5, how="and")
    x = chain.init(4, seeded(0))
    shares = chain._and_shares(x, 0, (normal((4, 2), seeded(1)),))
    assert torch.equal(shares, torch.full((4, 2), 0.5, dtype=torch.float64))
    assert sample(chain, 4, seeded(0)).parts[0].isfinite().all()
    assert chain.denoiser.rows == ABOVE.rows


# ---------------------------------------------------------------- rows and contract


def test_rows_of_a_point_are_the_plain_ancestral_ones():
    times = nodes(20)
    made, plain = ancestral_table(SCHEDULE, times, 1e-9), multistep_table(1, SCHEDULE, times, 1, 1)
    assert torch.allclose(made.b, plain.b) and torch.equal(made.w, plain.w)
    assert (ancestral_table(SCHEDULE, times, 1.0).b > plain.b).all()


@pytest.mark.parametrize("how", ["or", "and"])
def test_the_sampler_keeps_the_contract(how):
    chain = Superposition([ABOVE, BELOW], ABOVE.canvas, steps=4, how=how)
    with torch.no_grad():
        check_sampler(chain)
        check_full_graph(chain)


def test_rows_may_stand_at_different_steps():
    chain = Superposition([ABOVE, BELOW], ABOVE.canvas, steps=3, how="and")
    x = chain.init(3, seeded(0))
    together = chain.step(x, torch.tensor([2, 2, 2]), seeded(1))
    alone = chain.step(x, 2, seeded(1))
    assert torch.allclose(together.parts[0], alone.parts[0])
    assert torch.allclose(chain.log_densities(together), chain.log_densities(alone))
    done = chain.step(together, torch.tensor([3, 3, 3]), seeded(2))
    assert torch.allclose(done.parts[0], together.parts[0])
    assert torch.equal(chain.log_densities(done), chain.log_densities(together))
    assert chain.denoiser.rows > 0


REFUSED = {
    "at least two": dict(denoisers=[ONE]),
    "'or' or 'and'": dict(how="xor"),
    "bias must be": dict(bias=[1.0]),
    "spread must be": dict(spread=-1.0),
    "same components": dict(denoisers=[ONE, tiny_graph_denoiser()]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_makes_no_sense_is_refused(message):
    options = {"denoisers": [ONE, TWO], "canvas": lambda n, rng: Points(()), "steps": 3}
    with pytest.raises(ValueError, match=message):
        Superposition(**{**options, **REFUSED[message]})
