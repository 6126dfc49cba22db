"""Rare objects: powers of token rows, and the reward that says how rare one is."""

import pytest
import torch
from gaussian_targets import gaussian, tiny_graph_denoiser

from scidiff.core import normal, seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.data.tokens import TokenState
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import smc
from scidiff.processes.schedules import alpha
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.samplers.minority import Surprise, rare
from scidiff.testing import chain_table

TABLE, RUNS, K = chain_table(), 600, 12
BLANK = FixedCanvas.blank(4, TABLE.mask_id)
ROWS = TokenState(TABLE.seqs)


def masked(denoiser=None):
    return MaskedSampler(denoiser or TABLE.denoiser(), BLANK)


def z_score(run, seen, truth):
    """Of the estimate of `truth` by the weights of rows that are `seen`."""
    runs = (run.log_w.exp() * seen).view(RUNS, K).mean(1)
    return float((runs.mean() - truth) / (runs.std() / RUNS**0.5))


@pytest.mark.parametrize("control", [0.04, 0.5, 0.99, 2.25])
def test_rare_rows_have_a_power_of_the_law(control):
    run = guided_sample(masked(rare(TABLE.denoiser(), control)), None, RUNS * K, seeded(0),
                        select=smc(0.5), populations=RUNS)  # fmt: skip
    law = TABLE.p ** (1 - control**0.5)
    for test in (lambda ids: ids[:, 0] > 0, lambda ids: ids[:, 0] == 2,
                 lambda ids: ids[:, 1] == ids[:, 3]):  # fmt: skip
        truth = law @ test(TABLE.seqs).double()
        assert abs(z_score(run, test(run.x.ids).double(), truth)) < 4


def test_without_control_rows_are_the_model_s():
    plain, none = sample(masked(), 50, seeded(0)), sample(masked(rare(TABLE.denoiser(), 0)), 50,
                                                          seeded(0))  # fmt: skip
    assert torch.equal(plain.ids, none.ids)


def test_surprise_of_tokens_is_what_hidden_ones_cost():
    alone = TABLE.log_conditionals[TABLE.index(torch.full((1, 4), TABLE.mask_id))]
    marginal = -alone[0].gather(1, TABLE.seqs.T).mean(0)
    torch.testing.assert_close(Surprise(masked(), 0, draws=1)(ROWS), marginal)
    costs = []
    for position in range(4):
        noisy = TABLE.seqs.clone()
        noisy[:, position] = TABLE.mask_id
        law = TABLE.log_conditionals[TABLE.index(noisy)][:, position]
        costs.append(-law.gather(1, TABLE.seqs[:, [position]])[:, 0])
    last = Surprise(masked(), 3, draws=1)(ROWS)  # one hidden position, the same in all rows
    assert sum(torch.allclose(last, cost) for cost in costs) == 1
    every = Surprise(masked(), 3, draws=400)(ROWS)
    gap = every - torch.stack(costs).mean(0)
    assert (gap.abs() < 4 * torch.stack(costs).std(0) / 400**0.5 + 1e-12).all()


@pytest.mark.parametrize("kind", ["tokens", "graphs"])
def test_an_object_is_worth_the_same_in_any_company(kind):
    if kind == "tokens":
        surprise, x = Surprise(masked(), 1), ROWS
    else:
        canvas = GraphCanvas(NodeCounts(torch.tensor([0.0, 0, 1, 0, 1])), 3)
        chain = GaussianSampler(tiny_graph_denoiser(), canvas, steps=4)
        with torch.no_grad():
            surprise, x = Surprise(chain, 2), sample(chain, 30, seeded(0))
    whole, some = surprise(x), torch.tensor([7, 7, 2])
    torch.testing.assert_close(surprise(x[some]), whole[some])
    assert (whole >= 0).all() and whole.std() > 0


def test_surprise_of_a_gaussian_is_its_squared_error():
    oracle = gaussian(mean=0.3, sd=0.5)
    chain = GaussianSampler(oracle, oracle.canvas, steps=6)
    x = sample(chain, 20, seeded(1))
    schedule, t = oracle.components[0].schedule, chain.times[2]
    level, sigma = alpha(schedule, t), schedule.sigma(t)
    gain = level * 0.25 / (level**2 * 0.25 + sigma**2)
    clean = x.parts[0].double()[:, 0]
    z = normal((1, 1), seeded(9, 0)).double()[0, 0]
    guess = 0.3 + gain * (level * clean + sigma * z - level * 0.3)
    told = Surprise(chain, 2, draws=1, seed=9)(x)
    torch.testing.assert_close(told, (clean - guess) ** 2, rtol=1e-5, atol=1e-6)


def test_surprise_of_graphs_is_a_mean_over_free_coordinates():
    canvas = GraphCanvas(NodeCounts(torch.tensor([0.0, 0, 1, 0, 1])), 3)
    chain = GaussianSampler(tiny_graph_denoiser(), canvas, steps=4)
    with torch.no_grad():
        x = sample(chain, 12, seeded(0))
        surprise = Surprise(chain, 1, draws=1)
        guess = surprise._noised(x, 0).guesses[0]
    nodes = x.mask.sum(1)
    free = 3 * nodes + nodes * (nodes - 1) / 2
    off = ((x.X - guess[0]) ** 2).sum((1, 2)) + ((x.A - guess[1]) ** 2).triu(1).sum((1, 2))
    torch.testing.assert_close(surprise(x), (off / free).double())


def test_designs_by_surprise_have_the_tilted_law_and_are_rarer():
    surprise, strength = Surprise(masked(), 1, draws=2), 0.8
    run = guided_sample(masked(), surprise, RUNS * K, seeded(2), select=smc(0.5),
                        strength=strength, populations=RUNS)  # fmt: skip
    tilt = TABLE.p * (strength * surprise(ROWS)).exp()
    seen = (run.x.ids[:, 0] == 2).double()
    assert abs(z_score(run, torch.ones_like(seen), tilt.sum())) < 4
    assert abs(z_score(run, seen, tilt[TABLE.seqs[:, 0] == 2].sum())) < 4
    typical = TABLE.p @ TABLE.p.log()
    assert tilt / tilt.sum() @ TABLE.p.log() < typical - 0.2


def test_network_rows_of_surprise_are_counted():
    chain = masked()
    Surprise(chain, 2, draws=3)(ROWS)
    assert chain.denoiser.rows == 3 * (len(TABLE.seqs) + 1)  # and one that records the noise


@pytest.mark.parametrize("make, message", [
    (lambda: rare(TABLE.denoiser(), -0.1), "not 1, got -0.1"),
    (lambda: rare(TABLE.denoiser(), float("inf")), "not 1, got inf"),
    (lambda: rare(TABLE.denoiser(), 1.0), "not 1, got 1.0"),
    (lambda: Surprise(masked(), 4), "a step of the chain, 0 .. 3, got 4"),
    (lambda: Surprise(masked(), 0, draws=0), "draws must be at least 1, got 0"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
