"""Scaffolds in continuous chains: known entries are at the noise of every step, and end as
given."""

import pytest
import torch
from gaussian_targets import Oracle, tiny_graph_denoiser

from scidiff.core import seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.guidance.particles import sample
from scidiff.processes.schedules import VP
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.inpaint import Scaffold
from scidiff.testing import GaussianMixture, check_sampler

TARGET = GaussianMixture([0.5, 0.5], [[1.0, -1.0], [-1.0, 1.0]], [[0.3, 0.3], [0.3, 0.3]])


def chain(eta=1.0, steps=40, **options):
    oracle = Oracle([TARGET], [VP(0.1, 20.0)])
    known = torch.tensor([[True, False]])
    scaffold = Scaffold(oracle, (torch.tensor([[0.9, 0.0]]),), (known,))
    return GaussianSampler(scaffold, oracle.canvas, steps=steps, eta=eta, **options)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_known_entries_have_the_marginal_of_every_step_and_end_as_given(eta):
    sampler, n = chain(eta), 8_000
    x = sampler.init(n, seeded(0))
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, seeded(1, k))
        if k in (10, 25, 35):
            a, sigma = sampler.levels(k + 1, 0)
            seen = x.parts[0][:, 0]
            assert abs(seen.mean() - a * 0.9) < 4 * sigma / n**0.5 + 0.01
            assert abs(seen.std() - sigma) < 4 * sigma / (2 * n) ** 0.5 + 0.005
    assert torch.allclose(x.parts[0][:, 0], torch.tensor(0.9, dtype=x.parts[0].dtype))


def test_the_rest_nearly_follows_what_is_known():
    # the conditional law is the mode at -1 alone; noisy known entries let 1 in 10 go astray
    x = sample(chain(), 4_000, seeded(2)).parts[0][:, 1]
    there = x[x < 0]
    assert 0.85 < len(there) / 4_000 < 0.97
    assert abs(there.mean() + 1) < 0.1 and abs(there.std() - 0.3) < 0.05


def test_a_graph_keeps_its_scaffold():
    denoiser = tiny_graph_denoiser()
    X, A = torch.zeros(1, 4, 3), torch.zeros(1, 4, 4)
    X[0, 0, 1], A[0, 0, 1], A[0, 1, 0] = 1.0, 2.0, 2.0
    known_x, known_a = torch.zeros(1, 4, 1).bool(), A > 0
    known_x[0, 0] = True
    scaffold = Scaffold(denoiser, (X, A), (known_x, known_a))
    sampler = GaussianSampler(scaffold, GraphCanvas(NodeCounts.fixed(4), 3), steps=3, eta=1.0)
    with torch.no_grad():
        check_sampler(sampler)
        x = sample(sampler, 5, seeded(0))
    assert torch.equal(x.X[:, 0], X[:, 0].expand(5, 3)) and (x.A[:, 0, 1] == 2).all()
    assert torch.equal(x.A, x.A.mT) and not torch.equal(x.A[0], x.A[1])
    assert scaffold.rows == denoiser.rows


@pytest.mark.parametrize("clean, known, message", [
    ((torch.zeros(1, 2),) * 2, (torch.zeros(1, 2).bool(),) * 2, "one part for each of 1"),
    ((torch.zeros(1, 2),), (torch.zeros(1, 2),), r"known must be \(1, ...\) bool"),
    ((torch.zeros(3, 2),), (torch.zeros(1, 2).bool(),), "the same for every row"),
])  # fmt: skip
def test_impossible_scaffolds_are_named(clean, known, message):
    with pytest.raises(ValueError, match=message):
        Scaffold(Oracle([TARGET], [VP(0.1, 20.0)]), clean, known)
