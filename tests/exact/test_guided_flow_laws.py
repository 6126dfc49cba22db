"""Classifier-free guidance of a flow with uniform noise, against the product of exact kernels."""

import numpy as np
import pytest
import torch
from flow_targets import FlowOracle, final_law, step_matrix

from scidiff.core import seeded
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all, smc
from scidiff.processes.discrete_flow import TokenNoise
from scidiff.samplers.compose import ClassifierFree
from scidiff.samplers.discrete_flow import DiscreteFlowSampler, FlowRate, Posterior
from scidiff.samplers.guided_flow import GuidedFlow
from scidiff.samplers.masked import FixedCanvas
from scidiff.testing import Table, check_sampler

L, V = 2, 3
P = np.random.default_rng(6).dirichlet(np.full(2 * V**L, 0.8)).reshape(2, V, V)
TOLD, PLAIN = Table.of(torch.from_numpy(P[0])), Table.of(torch.from_numpy(P.sum(0)))
LAW = TokenNoise(
    torch.tensor([[0, 0, 1 / 3, 1 / 3, 1 / 3, 0]], dtype=torch.float64), torch.zeros(L).long()
)
KERNELS = {"posterior": Posterior(), "flow": FlowRate(), "noisy": FlowRate(eta=0.5)}


def flow(denoiser, kernel="posterior", steps=3):
    canvas = FixedCanvas.blank(L, PLAIN.mask_id)
    return DiscreteFlowSampler(denoiser, canvas, LAW, steps=steps, kernel=KERNELS[kernel])


def guided(weight, kernel="posterior", steps=3):
    pair = ClassifierFree(FlowOracle(TOLD, LAW), FlowOracle(PLAIN, LAW), weight)
    return GuidedFlow(flow(pair, kernel, steps))


def sides(kernel, steps):
    """The flows that draw asked and unasked."""
    return flow(FlowOracle(TOLD, LAW), kernel, steps), flow(FlowOracle(PLAIN, LAW), kernel, steps)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_step_is_the_extrapolated_step_of_both(kernel):
    weight, told, plain = 2.5, *sides(kernel, 3)
    chain = guided(weight, kernel)
    for k in range(3):
        x = chain.init(64, seeded(k))
        x = chain.inner.arrive(x, k)
        found = chain.log_kernel(x, k).exp()
        here = PLAIN.index(x.ids)
        for at in range(L):
            marginal = [one_position(side, k, at)[here] for side in (plain, told)]
            expected = marginal[0] ** (1 - weight) * marginal[1] ** weight
            torch.testing.assert_close(found[:, at, 2:5], expected, atol=1e-7, rtol=1e-4)


def one_position(side, k, at):
    """The law (S, V) of position `at` after step k, from the exact kernel of the step."""
    kernel, states = step_matrix(side, k), side.denoiser.table.states
    return torch.stack([kernel[:, states[:, at] == v].sum(1) for v in range(2, 5)], 1)


@pytest.mark.parametrize("weight, which", [(0.0, 1), (1.0, 0)])
@pytest.mark.parametrize("kernel", ["posterior", "noisy"])
def test_weights_zero_and_one_draw_what_the_flow_draws(weight, which, kernel):
    n = 20_000
    x = sample(guided(weight, kernel), n, seeded(0))
    law = final_law(sides(kernel, 3)[which])
    expected = law * n
    seen = PLAIN.frequencies(x.ids) * n
    z = (((seen - expected) ** 2 / expected).sum() - (len(law) - 1)) / (2 * (len(law) - 1)) ** 0.5
    assert abs(z) < 4 and x.log_ratio.abs().max() < 1e-5


@pytest.mark.parametrize("weight", [0.5, 2.0])
@pytest.mark.parametrize("select", [keep_all, smc(0.7)])
def test_weights_are_exact_for_the_product_of_bent_kernels(weight, select):
    run = guided_sample(guided(weight), None, 8_000, seeded(1), select=select, populations=400)
    told, plain = sides("posterior", 3)
    states = PLAIN.states
    mass = LAW.at(states).double()[torch.arange(L), states].prod(1)
    for k in range(3):
        a, b = (
            torch.stack([one_position(side, k, at) for at in range(L)]) for side in (plain, told)
        )
        bent = torch.where(a * b > 0, a ** (1 - weight) * b**weight, 0.0)  # (L, S, V)
        step = torch.zeros(len(states), len(states), dtype=torch.float64)
        for row, seq in enumerate(states):
            if (seq != PLAIN.mask_id).all():
                step[:, row] = bent[torch.arange(L), :, seq - 2].prod(0)
        mass = mass @ step
    target = mass[PLAIN.index(PLAIN.seqs)]
    w = run.log_w.exp().view(400, -1)
    f = (run.x.ids[:, 0] == run.x.ids[:, 1]).double().view(400, -1)
    ends = (PLAIN.seqs[:, 0] == PLAIN.seqs[:, 1]).double()
    for estimate, exact in ((w.mean(1), target.sum()), ((w * f).mean(1), target @ ends)):
        assert abs(estimate.mean() - exact) < 4 * estimate.std() / 20


def test_more_weight_follows_the_condition_further():
    n, ratio = 8_000, (TOLD.p / PLAIN.p).log()
    gained = [PLAIN.frequencies(sample(guided(w, steps=8), n, seeded(2)).ids) @ ratio
              for w in (0.0, 1.0, 3.0)]
    assert gained[0] < gained[1] < gained[2]


def test_the_contract_and_refusals():
    chain = guided(2.0)
    check_sampler(chain)
    assert chain.denoiser.rows > 0
    with pytest.raises(ValueError, match="whose denoiser is ClassifierFree, got FlowOracle"):
        GuidedFlow(flow(FlowOracle(PLAIN, LAW)))
