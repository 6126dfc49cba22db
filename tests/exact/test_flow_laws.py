"""Discrete flow against enumerated truth: the law of many steps is the table's, for every noise,
rate and time distortion, with an error that falls as 1 / steps."""

import numpy as np
import pytest
import torch
from flow_targets import FlowOracle, final_law

from scidiff.core import seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.particles import sample
from scidiff.processes.discrete_flow import DISTORTIONS, DiscreteFlowProcess, TokenNoise
from scidiff.samplers.discrete_flow import DiscreteFlowSampler, EulerJumps, FlowRate, Posterior
from scidiff.samplers.masked import AncestralSampler, FixedCanvas
from scidiff.testing import Table

TABLE = Table.of(
    torch.from_numpy(np.random.default_rng(3).dirichlet(np.full(27, 0.3))).reshape([3] * 3)
)
KINDS = torch.tensor([0, 1, 1])
SYMBOLS = torch.tensor([[False, False, True, True, True, False]] * 2)
NOISE = {
    "marginal": TokenNoise(
        torch.tensor([[0, 0, 0.2, 0.5, 0.3, 0], [0, 0, 0.1, 0.3, 0.6, 0]], dtype=torch.float64),
        KINDS,
    ),
    "uniform": TokenNoise(TokenNoise.uniform(SYMBOLS, KINDS).laws.double(), KINDS),
    "absorbing": TokenNoise(TokenNoise.absorbing(5, 3).laws.double(), torch.zeros(3).long()),
}
CANVAS = FixedCanvas.blank(3, TABLE.mask_id)


def sampler(noise="marginal", **options):
    law = NOISE[noise]
    return DiscreteFlowSampler(FlowOracle(TABLE, law), CANVAS, law, **options)


def gap(**options) -> float:
    return float((final_law(sampler(**options)) - TABLE.p).abs().sum() / 2)


KERNELS = [FlowRate(), FlowRate(eta=3.0), Posterior(), EulerJumps()]


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_error_falls_as_one_over_the_steps(noise, kernel):
    errors = [gap(noise=noise, kernel=kernel, steps=n) for n in (40, 80, 160)]
    slopes = [np.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert errors[-1] < 0.012 and all(0.8 < slope < 1.2 for slope in slopes), (errors, slopes)


@pytest.mark.parametrize("distortion", DISTORTIONS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_time_distortions_keep_the_limit(distortion, kernel):
    few, many = (gap(kernel=kernel, steps=n, distortion=distortion) for n in (50, 200))
    assert many < 0.36 * few and many < 0.02


def test_target_guidance_is_biased_and_stays_so():
    few, many = (gap(kernel=FlowRate(omega=0.5), steps=n) for n in (50, 400))
    assert many > 0.03 and abs(few - many) < 0.02


@pytest.mark.parametrize("kernel", [*KERNELS, FlowRate(omega=0.5)])
def test_one_step_draws_the_product_of_the_predictions(kernel):
    # at t = 1 the prediction is the marginal of every position, and the last step draws from it
    one_hot = torch.nn.functional.one_hot(TABLE.seqs, 6).double()
    marginals = torch.einsum("n,nlv->lv", TABLE.p, one_hot)
    product = marginals[torch.arange(3), TABLE.seqs].prod(1)
    assert torch.allclose(final_law(sampler(kernel=kernel, steps=1)), product)


@pytest.mark.parametrize(
    "kernel, noise",
    [(Posterior(), "marginal"), (Posterior(), "absorbing"), (FlowRate(eta=1e9), "marginal"),
     (FlowRate(eta=2.0), "absorbing")],
)  # fmt: skip
def test_given_the_end_a_step_carries_the_marginal_exactly(kernel, noise):
    t, s = torch.tensor(0.7).double(), torch.tensor(0.45).double()
    law = NOISE[noise].at(torch.zeros(1, 3).long())
    for x0 in (2, 3, 4):
        clean = torch.eye(6).double()[x0]
        here, there = (1 - t) * clean + t * law, (1 - s) * clean + s * law
        rows = torch.arange(6)[:, None].expand(6, 3)
        moved = kernel(rows, torch.full((6, 3), x0), t.view(1, 1, 1), s.view(1, 1, 1), law)
        assert torch.allclose(torch.einsum("lx,xlv->lv", here, moved), there)


def test_absorbing_flow_follows_its_rate_exactly():
    rate, posterior, euler = (
        final_law(sampler("absorbing", kernel=kernel, steps=7))
        for kernel in (FlowRate(), Posterior(), EulerJumps())
    )
    assert torch.allclose(rate, posterior, rtol=1e-10)
    assert torch.allclose(euler, posterior, rtol=1e-5)


def test_absorbing_ancestral_flow_is_ancestral_masked_diffusion():
    steps, n = 5, 20_000
    law = final_law(sampler("absorbing", kernel=Posterior(), steps=steps))
    ids = sample(AncestralSampler(TABLE.denoiser(), CANVAS, steps=steps), n, seeded(0)).ids
    assert abs(chi2_z(ids, law)) < 4


def chi2_z(ids, p) -> float:
    observed, expected = TABLE.frequencies(ids.cpu()) * len(ids), p * len(ids)
    keep = expected > 0
    assert not (observed[~keep] > 0).any()
    statistic = ((observed - expected)[keep] ** 2 / expected[keep]).sum()
    freedom = int(keep.sum()) - 1
    return float((statistic - freedom) / (2 * freedom) ** 0.5)


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("kernel", [FlowRate(), FlowRate(eta=3.0, omega=0.2), Posterior()])
def test_the_sampler_draws_its_law(noise, kernel):
    chain = sampler(noise, kernel=kernel, steps=6, distortion="polydec")
    ids = sample(chain, 15_000, seeded(1)).ids
    assert abs(chi2_z(ids, final_law(chain))) < 4


def test_many_steps_draw_the_table():
    ids = sample(sampler(kernel=FlowRate(eta=1.0), steps=200), 3_000, seeded(2)).ids
    assert abs(chi2_z(ids, TABLE.p)) < 4


def test_given_tokens_condition_the_rest():
    given = torch.tensor([[TABLE.mask_id, 3, TABLE.mask_id]])
    law = NOISE["marginal"]

    class Given(FlowOracle):
        def posterior(self, ids, t):  # position 1 is clean, whatever the time
            only = Table(
                self.table.seqs, self.table.p * (self.table.seqs[:, 1] == 3), self.mask_id
            )
            noise = TokenNoise(torch.eye(6, dtype=torch.float64)[3][None], torch.zeros(3).long())
            laws = torch.stack([*self.law.laws, noise.laws[0]])
            inner = FlowOracle(only, TokenNoise(laws, torch.tensor([0, 2, 1])))
            return FlowOracle.posterior(inner, ids, t)

    chain = DiscreteFlowSampler(Given(TABLE, law), FixedCanvas(given, 5), law, steps=150)
    ids = sample(chain, 4_000, seeded(3)).ids
    conditional = TABLE.p * (TABLE.seqs[:, 1] == 3)
    assert (ids[:, 1] == 3).all() and abs(chi2_z(ids, conditional / conditional.sum())) < 4


@pytest.mark.parametrize("noise", NOISE)
def test_noise_and_renoising_have_the_marginal_of_their_time(noise):
    law, n, t = NOISE[noise], 40_000, 0.375
    clean = TokenState(torch.tensor([[2, 3, 4]]).expand(n, 3).contiguous())
    process = DiscreteFlowProcess(law, (1.0,) * len(law.laws))
    drawn = process.noise(clean, torch.full((n,), t), seeded(0)).ids
    again = sampler(noise, steps=8).renoise(clean, 5, seeded(1)).ids
    for ids in (drawn, again):
        for i in range(3):
            p = (1 - t) * torch.eye(6)[clean.ids[0, i]] + t * law.at(clean.ids)[i]
            seen = torch.bincount(ids[:, i], minlength=6) / n
            assert ((seen - p).abs() <= 4 * (p * (1 - p) / n).sqrt()).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_renoising_and_going_on_keeps_the_law(kernel):
    chain = sampler(kernel=kernel, steps=200)
    rows = torch.multinomial(TABLE.p, 3_000, replacement=True, generator=seeded(4))
    x = chain.renoise(TokenState(TABLE.seqs[rows]), 140, seeded(5))
    for k in range(140, 200):
        x = chain.step(x, k, seeded(6, k))
    assert abs(chi2_z(x.ids, TABLE.p)) < 4
