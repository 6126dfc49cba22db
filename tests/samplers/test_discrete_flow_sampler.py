"""What the discrete flow sampler does row by row, and what it refuses."""

import pytest
import torch
from flow_targets import FlowOracle

from scidiff.core import seeded
from scidiff.data.graph_tokens import kinds, read
from scidiff.data.tokens import EOS, PAD, TokenState, Vocabulary, encode_rows
from scidiff.guidance.particles import sample
from scidiff.networks.graph_tokens import GraphTokenNetwork, GraphTokenNetworkConfig
from scidiff.processes.discrete_flow import DiscreteFlowProcess, TokenNoise, graph_kinds
from scidiff.samplers.canvas import FixedCanvas, LengthLaw
from scidiff.samplers.discrete_flow import (
    DiscreteFlowSampler,
    FlowRate,
    Posterior,
    TimedDenoiser,
)
from scidiff.testing import chain_table, check_sampler

MASK = 6
LAW = TokenNoise(torch.tensor([[0, 0, 0.5, 0.2, 0.2, 0.1, 0]]), torch.zeros(9, dtype=torch.int64))


class Network:
    """Likes token 4 everywhere, and EOS even more; remembers the times it was asked at."""

    def __init__(self):
        self.times = []

    def bidirectional(self, ids, t):
        self.times.append(t)
        return torch.ones(*ids.shape, 1)

    def log_probs(self, trunk):
        logits = torch.tensor([0.0, 5, 0, 0, 3, 0, -torch.inf])
        return (logits * trunk).log_softmax(-1)


def flow(canvas=None, **options):
    canvas = canvas or LengthLaw([0, 0, 1, 2, 1], MASK)
    return DiscreteFlowSampler(TimedDenoiser(Network(), MASK), canvas, LAW, **options)


def oracle_flow(**options):
    table = chain_table()
    laws = torch.tensor([[0, 0, 0.5, 0.2, 0.3, 0]])
    law = TokenNoise(laws, torch.zeros(4, dtype=torch.int64))
    return DiscreteFlowSampler(
        FlowOracle(table, law), FixedCanvas.blank(4, table.mask_id), law, **options
    )


@pytest.mark.parametrize("kernel", [FlowRate(), Posterior()])
def test_sizes_that_differ_keep_the_contract(kernel):
    check_sampler(flow(kernel=kernel, steps=3))


def test_each_row_can_be_at_its_own_step():
    chain = oracle_flow(steps=5, kernel=FlowRate(eta=1.0))
    x = chain.init(4, seeded(0))
    again = [chain.step(x, k, seeded(1)).ids for k in range(4)]

    class Rowwise(FlowOracle):
        def __call__(self, x, t):
            return self.posterior(x.ids, t.double().expand(len(x))).log()

    chain.denoiser = Rowwise(chain.denoiser.table, chain.law)
    mixed = chain.step(x, torch.arange(4), seeded(1)).ids
    assert torch.equal(mixed, torch.stack([rows[i] for i, rows in enumerate(again)]))
    done = chain.step(x, torch.full((4,), 5), seeded(1))
    assert torch.equal(done.ids, x.ids)


def test_sizes_and_ends_are_given():
    chain = flow(steps=3)
    start, end = chain.init(60, seeded(0)), sample(chain, 60, seeded(0))
    for ids in (start.ids, end.ids):
        size = (ids == EOS).int().argmax(1)
        assert set(size.tolist()) == {2, 3, 4} and ((ids == EOS).sum(1) == 1).all()
        behind = torch.arange(5) > size[:, None]
        assert (ids[behind] == PAD).all() and (ids[~behind & (ids != EOS)] >= 2).all()


def test_the_network_sees_the_grid_of_times():
    chain = flow(steps=4, distortion="polyinc")
    x = sample(chain, 3, seeded(0))
    seen = torch.stack(chain.denoiser.network.times)[:, 0]
    assert torch.allclose(seen, 1 - torch.tensor([0, 0.25, 0.5, 0.75]) ** 2)
    assert x.trunk is None and chain.denoiser.rows == 12


def test_a_guess_keeps_given_tokens_and_draws_the_rest():
    canvas = FixedCanvas(torch.tensor([[5, MASK, MASK, EOS]]), MASK)
    chain = flow(canvas, steps=4)
    x = chain.init(200, seeded(0))
    guess = chain.predict_clean(x, 0, seeded(1)).ids
    assert (guess[:, 0] == 5).all() and (guess[:, 3] == EOS).all()
    assert ((guess[:, 1:3] == 4).double().mean() - 20.0855 / 23.0855).abs() < 0.08


def test_renoising_keeps_given_tokens_and_the_end_of_the_chain_is_the_row():
    canvas = FixedCanvas(torch.tensor([[5, MASK, MASK, EOS]]), MASK)
    chain = flow(canvas, steps=4)
    clean = TokenState(torch.tensor([[5, 4, 4, EOS]]).repeat(50, 1))
    noisy = chain.renoise(clean, 0, seeded(0)).ids
    assert (noisy[:, [0, 3]] == clean.ids[:, [0, 3]]).all() and (noisy != clean.ids).any()
    assert torch.equal(chain.renoise(clean, 4, seeded(0)).ids, clean.ids)


@pytest.mark.parametrize("make, message", [
    (lambda: flow(steps=0), "steps must be at least 1"),
    (lambda: flow(steps=2, distortion="cosine"), "distortion must be one of"),
    (lambda: FlowRate(eta=-1), "must be finite and not negative"),
    (lambda: FlowRate(omega=float("inf")), "must be finite and not negative"),
    (lambda: DiscreteFlowSampler(TimedDenoiser(Network(), 7), LengthLaw([0, 1], 7), LAW, steps=2),
     "over the denoiser's 8 tokens, got 7"),
])  # fmt: skip
def test_impossible_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_graph_network_that_reads_the_time_trains_and_samples():
    vocabulary = Vocabulary(("C", "O", ".", "-"), "graph")
    kind = kinds(vocabulary)
    network = GraphTokenNetwork(
        GraphTokenNetworkConfig(
            tuple(kind), (5,), 3, width=16, edge_width=8, depth=1, heads=2, time=True
        )
    )
    data = TokenState(encode_rows(vocabulary, ["CO-", "CC-O.-", "C", "CC-C--"]))
    law = TokenNoise.marginal(data.ids, graph_kinds(7), len(vocabulary))
    loss = DiscreteFlowProcess(law, (1.0, 5.0)).loss(network, data, seeded(0))
    loss.mean().backward()
    assert loss.shape == (4,) and all(
        p.grad is None or p.grad.isfinite().all() for p in network.parameters()
    )
    canvas = LengthLaw([0, 1, 0, 1, 0, 0, 2], vocabulary.mask_id)
    chain = DiscreteFlowSampler(TimedDenoiser(network, vocabulary.mask_id), canvas, law, steps=5)
    for row in sample(chain, 30, seeded(1)).ids:
        nodes, edges = read(vocabulary.decode(row))
        assert 1 <= len(nodes) <= 3 and (edges == edges.T).all()
