"""Discrete flow: its noise laws, what the loss weighs, and what it refuses."""

import pytest
import torch

from scidiff.core import seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.processes.discrete_flow import (
    DISTORTIONS,
    DiscreteFlowProcess,
    TokenNoise,
    distorted,
    graph_kinds,
)

# ids: 2, 3 node types, 4, 5 edge types, 6 MASK; graphs of 3 and of 2 nodes
ROWS = torch.tensor([[2, 2, 4, 3, 5, 4, EOS], [3, 2, 5, EOS, PAD, PAD, PAD]])
KINDS = graph_kinds(7)


class Certain:
    """Says log-probability -c for a node and -10 c for an edge, and remembers what it saw."""

    def __init__(self, c=1.0):
        self.c, self.seen = c, None

    def bidirectional(self, ids, t):
        self.seen = (ids, t)
        return torch.zeros(*ids.shape, 1)

    def log_probs(self, trunk):
        told = torch.full((*trunk.shape[:-1], 7), -self.c)
        told[..., 4:6] = -10 * self.c
        told[..., :2] = float("-inf")
        return told


def process(**options):
    return DiscreteFlowProcess(TokenNoise.marginal(ROWS, KINDS, 7), **options)


def test_positions_of_a_triangle_are_nodes_and_pairs():
    assert graph_kinds(8).tolist() == [0, 0, 1, 0, 1, 1, 0, 0]
    assert torch.equal(graph_kinds(8)[:4], graph_kinds(4))


def test_marginals_count_symbols_by_kind_and_leave_the_end_out():
    law = TokenNoise.marginal(ROWS, KINDS, 7)
    expected = [[0, 0, 3 / 5, 2 / 5, 0, 0, 0], [0, 0, 0, 0, 2 / 4, 2 / 4, 0]]
    assert torch.allclose(law.laws, torch.tensor(expected))


def test_uniform_and_absorbing_laws():
    allowed = torch.tensor([[False, True, True], [True, False, False]])
    assert TokenNoise.uniform(allowed, KINDS).laws.tolist() == [[0, 0.5, 0.5], [1, 0, 0]]
    drawn = TokenNoise.absorbing(6, 7).draw(ROWS, seeded(0))
    assert (drawn == 6).all()


def test_noise_never_draws_what_has_no_probability():
    law = TokenNoise(torch.tensor([[0, 0.3, 0.0, 0.7, 0.0]]), torch.zeros(1, dtype=torch.int64))
    drawn = law.draw(torch.zeros(200_000, 1, dtype=torch.int64), seeded(0))
    assert set(drawn.unique().tolist()) == {1, 3}
    assert abs((drawn == 1).double().mean() - 0.3) < 4 * (0.21 / 200_000) ** 0.5


def test_the_end_and_the_size_stay_and_kinds_do_not_mix():
    many = TokenState(ROWS.repeat(200, 1))
    noisy = process(weights=(1, 5)).noise(many, torch.ones(400), seeded(0)).ids
    kept = many.ids < 2
    assert torch.equal(noisy[kept], many.ids[kept])
    shown = noisy >= 2
    assert torch.equal((noisy >= 4)[shown], (many.ids >= 4)[shown])


def test_the_loss_weighs_means_of_nodes_and_edges():
    network = Certain(0.1)
    loss = process(weights=(1.0, 5.0)).loss(network, TokenState(ROWS), seeded(0))
    assert torch.allclose(loss, torch.full((2,), 0.1 + 5 * 1.0))
    assert network.seen[1].shape == (2,)


def test_training_times_are_stratified_and_distorted():
    plain = process(weights=(1, 1)).times(1000, seeded(0)).sort().values
    expected = (torch.arange(1000) + 0.5) / 1000
    assert ((plain - expected).abs() <= 1e-3 + 1e-6).all()
    near_data = process(weights=(1, 1), distortion="polydec").times(1000, seeded(0))
    assert near_data.mean() < 0.4 < plain.mean()


@pytest.mark.parametrize("name", DISTORTIONS)
def test_distortions_go_from_noise_to_data(name):
    t = distorted(name, torch.linspace(0, 1, 101).double())
    assert torch.isclose(t[0], torch.ones(()).double()) and t[-1].abs() < 1e-12
    assert (t.diff() < 0).all()


def test_a_step_near_the_data_is_small_with_polydec():
    t = distorted("polydec", torch.linspace(0, 1, 11))
    assert t[-2] < 0.011 and distorted("polyinc", torch.linspace(0, 1, 11))[-2] > 0.18


@pytest.mark.parametrize("make, message", [
    (lambda: distorted("polydek", torch.zeros(())), "did you mean 'polydec'"),
    (lambda: process(weights=(1.0,)), "one entry for each of 2 kinds"),
    (lambda: process(weights=(1, 1), distortion="?"), "distortion must be one of"),
    (lambda: TokenNoise(torch.tensor([[0.5, 0.4]]), KINDS), "sum to 1"),
    (lambda: TokenNoise(torch.tensor([[0.5, 0.5]]), KINDS), r"kinds must be \(L,\) in 0..0"),
    (lambda: TokenNoise.marginal(ROWS[:, :1], KINDS, 7), "every kind"),
    (lambda: process(weights=(1, 1)).law.at(torch.zeros(1, 9).long()), "7 positions, got 9"),
])  # fmt: skip
def test_impossible_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
