"""Clean guesses by a preconditioned transformer, and what a stored SDE model gives back."""

import pytest
import torch

from scidiff.core import normal, seeded
from scidiff.data.graphs import GraphCanvas, GraphState, NodeCounts
from scidiff.networks.gdss import GDSSNetwork, GDSSNetworkConfig
from scidiff.networks.graph_score import (
    GraphScoreNetwork,
    GraphScoreNetworkConfig,
    PreconditionedGraphs,
    graph_denoiser,
)
from scidiff.processes.gaussian import GaussianProcess
from scidiff.processes.graph_sde import graph_components
from scidiff.processes.schedules import VE, VP
from scidiff.training.checkpoint import load_network, read_config, save_model

F = 3
SCHEDULES = VP(0.1, 20.0), VE(0.2, 1.0)
CANVAS = GraphCanvas(NodeCounts(torch.tensor([0.0, 1, 0, 1, 1, 1])), F)
SDE = {"x": {"kind": "vp", "min": 0.1, "max": 20.0}, "a": {"kind": "ve", "min": 0.2, "max": 1.0}}


def transformer(seed=0, **changes):
    torch.manual_seed(seed)
    sizes = {"width": 16, "edge_width": 8, "depth": 2, "heads": 2, "walks": 3, **changes}
    network = GraphScoreNetwork(GraphScoreNetworkConfig(F, **sizes))
    for p in network.parameters():  # zero maps would hide what they read
        torch.nn.init.normal_(p, std=0.3)
    return network.eval()


def gdss():
    torch.manual_seed(0)
    return GDSSNetwork(GDSSNetworkConfig(F, 8, 2, 2, c_hidden=4, attention_dim=4, heads=2)).eval()


def noisy(n=6):
    x, rng = CANVAS(n, seeded(7)), seeded(8)
    pairs = zip(graph_components(*SCHEDULES), x.parts, strict=True)
    return x.moved(tuple(c.noise(part, x.mask, rng) for c, part in pairs))


@torch.no_grad()
def test_a_silent_network_scales_its_input():
    """F = 0 leaves D = alpha s^2 / (alpha^2 s^2 + sigma^2) x, the guess for Gaussian data."""
    network, x, t = transformer(), noisy(), torch.tensor(0.3)
    for p in network.parameters():
        p.zero_()
    for part, guess, schedule in zip(x.parts, network.denoiser(*SCHEDULES)(x, t), SCHEDULES,
                                     strict=True):  # fmt: skip
        level, sigma = schedule.log_alpha(t).exp(), schedule.sigma(t)
        gain = level * 0.25 / (level**2 * 0.25 + sigma**2)
        assert torch.allclose(guess, gain.float() * part, atol=1e-6)


@pytest.mark.parametrize("t", [1e-3, 0.3, 1.0])
def test_the_network_reads_and_aims_at_unit_variance(t):
    """For data of the given spread: E (c_in x)^2 = 1 = E ((x0 - c_skip x) / c_out)^2."""
    denoiser, n = transformer(spread_x=0.7).denoiser(*SCHEDULES), 40_000
    rng, at = seeded(0), torch.tensor(t)
    for c, spread in enumerate((0.7, 0.5)):
        x0, z = (s * normal((n,), rng).double() for s in (spread, 1.0))
        scale, skip, out = denoiser.scales(c, at)
        x = denoiser.components[c].perturb(x0, at, z)
        for value in (scale * x, (x0 - skip * x) / out):
            assert abs(value.square().mean() - 1) < 4 * (2 / n) ** 0.5


@torch.no_grad()
def test_guesses_are_symmetric_masked_and_equivariant():
    network, x, t = transformer(), noisy(), torch.rand(6, generator=seeded(2))
    denoiser = network.denoiser(*SCHEDULES)
    X, A = denoiser(x, t)
    pairs = x.mask[:, :, None] & x.mask[:, None] & ~torch.eye(5, dtype=torch.bool)
    assert torch.equal(A, A.mT) and torch.equal(A != 0, pairs)
    assert torch.equal((X != 0).any(-1), x.mask) and denoiser.rows == 6
    order = torch.tensor([3, 0, 4, 2, 1])
    moved = GraphState(x.X[:, order], x.A[:, order][:, :, order], x.mask[:, order])
    X_moved, A_moved = denoiser(moved, t)
    assert torch.allclose(X_moved, X[:, order], atol=1e-5)
    assert torch.allclose(A_moved, A[:, order][:, :, order], atol=1e-5)


@torch.no_grad()
def test_the_time_is_read():
    denoiser, x = transformer().denoiser(*SCHEDULES), noisy()
    said = [denoiser.network(*x.parts, x.mask, torch.full((6,), t))[0] for t in (0.2, 0.8)]
    assert (said[0] - said[1]).abs().max() > 1e-3


def test_training_by_score_matching_lowers_the_loss():
    network = transformer()
    x0 = noisy(32)
    process = GaussianProcess(graph_components(*SCHEDULES))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = process.loss(network.denoiser(*SCHEDULES), x0, seeded(0)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("make", [transformer, gdss])
@torch.no_grad()
def test_a_stored_model_guesses_the_same(tmp_path, make):
    network, x, t = make(), noisy(), torch.tensor(0.4)
    process = {"kind": "graph_sde", "block_size": None, "sde": {**SDE, "nodes": "types"}}
    save_model(tmp_path, network, {"domain": "graph", "process": process}, "card")
    config = read_config(tmp_path)
    back = graph_denoiser(load_network(tmp_path, config), config)
    assert back.components == network.denoiser(*SCHEDULES).components
    for a, b in zip(network.denoiser(*SCHEDULES)(x, t), back(x, t), strict=True):
        assert torch.equal(a, b)


def test_a_spread_of_zero_is_refused():
    with pytest.raises(ValueError, match="spread_x and spread_a must be positive, got 0.0"):
        GraphScoreNetworkConfig(F, spread_x=0.0)
    assert isinstance(transformer().denoiser(*SCHEDULES), PreconditionedGraphs)
