"""Ensemble guidance: populations, masks, what cannot be measured, and what is refused."""

import pytest
import torch
from gaussian_targets import gaussian, tiny_graph_denoiser

from scidiff.core import seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.guidance.ensemble import EnsembleKalman
from scidiff.guidance.particles import sample
from scidiff.samplers.gaussian import GaussianSampler

GRAPHS = GraphCanvas(NodeCounts(torch.tensor([0.0, 0, 0, 0, 1])), 3)  # 4 nodes
SIZES = GraphCanvas(NodeCounts(torch.tensor([0.0, 0, 1, 0, 1])), 3)  # 2 or 4
T = torch.tensor(0.4, dtype=torch.float64)


def edges(x):
    """Black box: the sum of bonds, read outside torch's graph."""
    return torch.from_numpy(x.A.detach().numpy().sum((1, 2)) / 2)[:, None]


def guided(particles=12, observe=edges, y=(4.0,), noise=0.2):
    return EnsembleKalman(tiny_graph_denoiser(), observe, y, noise, particles)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def start(n, canvas=GRAPHS):
    return GaussianSampler(tiny_graph_denoiser(), canvas, steps=4).init(n, seeded(0))


def test_graphs_are_pulled_to_what_was_measured():
    plain = GaussianSampler(tiny_graph_denoiser(), GRAPHS, steps=20)
    pulled = GaussianSampler(guided(), GRAPHS, steps=20)
    off = [float((edges(sample(s, 240, seeded(0))) - 4).abs().mean()) for s in (plain, pulled)]
    assert off[1] < 0.4 * off[0]


def test_a_correction_is_symmetric_and_stays_inside_the_mask():
    x = start(24, SIZES)
    plain, told = tiny_graph_denoiser()(x, T), guided()(x, T)
    absent = ~x.mask
    assert not torch.allclose(plain[0], told[0]) and not torch.allclose(plain[1], told[1])
    assert not told[0][absent].any() and not told[1][absent].any()
    assert torch.equal(told[1], told[1].mT) and not told[1].diagonal(dim1=1, dim2=2).any()


def test_populations_do_not_mix():
    x = start(24)
    whole, half = guided()(x, T), guided()(x[torch.arange(12)], T)
    for a, b in zip(whole, half, strict=True):
        torch.testing.assert_close(a[:12], b)


def test_a_row_that_cannot_be_measured_is_left_alone_and_out():
    x, lost = start(12), torch.tensor([0, 5])

    def patchy(x):
        told = edges(x)
        told[lost] = torch.nan
        return told

    kept = torch.tensor([i for i in range(12) if i not in lost])
    plain, told = tiny_graph_denoiser()(x, T), guided(observe=patchy)(x, T)
    others = guided(particles=10)(x[kept], T)
    for p, ours, theirs in zip(plain, told, others, strict=True):
        assert torch.equal(ours[lost], p[lost])
        torch.testing.assert_close(ours[kept], theirs)


def test_where_nothing_can_be_measured_the_guess_is_plain():
    x = start(12)
    told = guided(observe=lambda x: torch.full((len(x), 1), torch.nan))(x, T)
    for ours, plain in zip(told, tiny_graph_denoiser()(x, T), strict=True):
        assert torch.equal(ours, plain)


def test_network_rows_are_counted_once():
    told = guided()
    told(start(24), T)
    assert told.rows == 24


@pytest.mark.parametrize("make, message", [
    (lambda: guided(y=((1.0,),)), r"y must be \(m,\) and noise a number or \(m,\), got \(1, 1\)"),
    (lambda: guided(noise=(1.0, 1.0)), r"got \(1,\) and \(2,\)"),
    (lambda: guided(noise=0.0), "noise must be positive, got 0.0"),
    (lambda: guided(particles=0), "particles must be at least 1, got 0"),
    (lambda: guided()(start(13), T), "whole populations of 12 particles, got 13"),
    (lambda: guided()(start(12), T.expand(12)), r"at one time, got times of shape \(12,\)"),
    (lambda: guided(observe=lambda x: torch.zeros(len(x)))(start(12), T),
     r"observe must return \(12, 1\), got \(12,\)"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_one_gaussian_coordinate_needs_two_particles():
    oracle = gaussian(mean=0.0, sd=1.0)  # VP: marginal variance 1 at every time
    told = EnsembleKalman(oracle, lambda x: x.parts[0], [2.0], 1.0, 2)
    x = sample(GaussianSampler(told, oracle.canvas, steps=40), 4000, seeded(0)).parts[0]
    assert abs(float(x.mean()) - 1) < 4 * 0.5**0.5 / 4000**0.5
