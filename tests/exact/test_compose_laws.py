"""Classifier-free guidance against the enumerated posterior of a joint law p(x, y)."""

import numpy as np
import pytest
import torch
from flow_targets import FlowOracle
from gaussian_targets import Oracle, Points

from scidiff.core import seeded
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all, nested, smc
from scidiff.processes.discrete_flow import TokenNoise
from scidiff.processes.schedules import VP, alpha
from scidiff.samplers.compose import ClassifierFree
from scidiff.samplers.constraints import Count
from scidiff.samplers.discrete_flow import DiscreteFlowSampler
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.samplers.tempered import Product
from scidiff.testing import GaussianMixture, Table


def joint(length: int) -> tuple[Table, Table]:
    """p(x | y = 0) and p(x) of a random joint law of rows x of 3 symbols and a label y of 2."""
    p = np.random.default_rng(length).dirichlet(np.full(2 * 3**length, 0.7))
    p = torch.from_numpy(p).reshape(2, *[3] * length)
    return Table.of(p[0]), Table.of(p.sum(0))


TOLD, PLAIN = joint(3)
ONE_TOLD, ONE_PLAIN = joint(1)
WEIGHTS = [0.0, 0.5, 1.0, 2.5, -0.5]


def bent(weight, told=TOLD, plain=PLAIN):
    return ClassifierFree(told.denoiser(), plain.denoiser(), weight)


def masked(denoiser, table=PLAIN, **options):
    return MaskedSampler(denoiser, FixedCanvas.blank(table.length, table.mask_id), **options)


def tilted(weight, told=TOLD, plain=PLAIN) -> tuple[torch.Tensor, torch.Tensor]:
    """p(x)^(1 - w) p(x | y)^w, normalised, and its sum: the same as p(x) p(y | x)^w / Z."""
    product = plain.p ** (1 - weight) * told.p**weight
    return product / product.sum(), product.sum()


def chi2_z(table, ids, p) -> float:
    observed, expected = table.frequencies(ids) * len(ids), p * len(ids)
    freedom = len(p) - 1
    return float((((observed - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5)


def test_weight_one_samples_the_conditional_law():
    ids = sample(masked(bent(1.0)), 20_000, seeded(0)).ids
    assert abs(chi2_z(PLAIN, ids, TOLD.p)) < 4
    assert abs(chi2_z(PLAIN, ids, PLAIN.p)) > 20


@pytest.mark.parametrize("weight", WEIGHTS)
def test_a_row_of_one_token_is_the_tilted_posterior(weight):
    denoiser = bent(weight, ONE_TOLD, ONE_PLAIN)
    ids = sample(masked(denoiser, ONE_PLAIN), 20_000, seeded(1)).ids
    law, _ = tilted(weight, ONE_TOLD, ONE_PLAIN)
    assert abs(chi2_z(ONE_PLAIN, ids, law)) < 4
    start = masked(denoiser, ONE_PLAIN).init(1, seeded(0))
    told = denoiser.log_probs(start.trunk.dense())[0, 0, 2:5].exp()
    assert torch.allclose(told, law)


@pytest.mark.parametrize("select, branch", [(keep_all, 1), (smc(0.7), 1), (nested(0.5), 2)])
@pytest.mark.parametrize("weight", [0.5, 2.5])
@pytest.mark.parametrize("tokens_per_step", [1])
def test_weighted_rows_have_the_tilted_law_exactly(weight, select, branch, tokens_per_step):
    law, total = tilted(weight)
    sampler = masked(bent(weight), tokens_per_step=tokens_per_step)
    runs = guided_sample(
        sampler, None, 8_000, seeded(2), select=select, branch=branch, populations=400
    )
    weights = runs.log_w.exp().view(400, -1)
    ends = (PLAIN.seqs[:, 0] == PLAIN.seqs[:, 2]).double()
    f = (runs.x.ids[:, 0] == runs.x.ids[:, 2]).double().view(400, -1)
    for estimate, exact in (
        (weights.mean(1), total),
        ((weights * f).mean(1), total * (law @ ends)),
    ):
        assert abs(estimate.mean() - exact) < 4 * estimate.std() / 20


def test_unweighted_rows_do_not_have_that_law():
    ids = sample(masked(bent(2.5)), 20_000, seeded(3)).ids
    assert chi2_z(PLAIN, ids, tilted(2.5)[0]) > 10


def test_with_a_constraint_the_tilted_law_is_restricted():
    law, total = tilted(2.0)
    some = Count([2], PLAIN.vocab_size, least=1, most=1)
    fine = (PLAIN.seqs == 2).sum(1) == 1
    runs = guided_sample(
        masked(bent(2.0), constraints=[some]), None, 8_000, seeded(4),
        select=smc(0.7), populations=400,
    )  # fmt: skip
    assert (runs.x.ids == 2).sum(1).eq(1).all()
    z = runs.log_z.exp()
    assert abs(z.mean() - total * (law @ fine.double())) < 4 * z.std() / 20


def test_a_stack_means_the_product_of_all():
    inner = bent(2.0)
    stack = ClassifierFree(inner, PLAIN.denoiser(), 0.5)  # p_u^(1/2) (p_u^-1 p_c^2)^(1/2)
    z = guided_sample(masked(stack), None, 8_000, seeded(5), select=smc(0.7), populations=400)
    exact = (PLAIN.p**0.5 * (PLAIN.p**-1 * TOLD.p**2) ** 0.5).sum()
    assert abs(z.log_z.exp().mean() - exact) < 4 * z.log_z.exp().std() / 20 + 1e-9
    y = guided_sample(
        masked(ClassifierFree(inner, PLAIN.denoiser(), 1.5)), None, 8_000, seeded(6),
        select=smc(0.7), populations=400,
    ).log_z.exp()  # fmt: skip
    exact = (PLAIN.p**-0.5 * (PLAIN.p**-1 * TOLD.p**2) ** 1.5).sum()
    assert abs(y.mean() - exact) < 4 * y.std() / 20


def test_excluded_tokens_stay_excluded_and_nothing_is_nan():
    told = Table.of(torch.tensor([0.0, 0.4, 0.6]))
    plain = Table.of(torch.tensor([0.2, 0.0, 0.8]))
    for weight in (0.0, 0.5, 1.0, 3.0, -1.0):
        denoiser = bent(weight, told, plain)
        start = masked(denoiser, plain).init(1, seeded(0))
        law = denoiser.log_probs(start.trunk.dense())[0, 0].exp()
        assert not law.isnan().any() and abs(law.sum() - 1) < 1e-12
        expected = {0.0: [0.2, 0, 0.8], 1.0: [0, 0.4, 0.6]}.get(weight, [0, 0, 1])
        assert torch.allclose(law[2:5], torch.tensor(expected, dtype=torch.float64))


# ------------------------------------------- the published defect (reference: graph models, 2025)

FLOW = TokenNoise(
    torch.tensor([[0, 0, 0.2, 0.5, 0.3, 0]], dtype=torch.float64), torch.zeros(3).long()
)


def flow(weight, told, plain, **options):
    denoiser = ClassifierFree(FlowOracle(told, FLOW), FlowOracle(plain, FLOW), weight)
    canvas = FixedCanvas.blank(plain.length, plain.mask_id)
    return DiscreteFlowSampler(denoiser, canvas, FLOW, **options)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_the_last_step_draws_from_the_bent_prediction(weight):
    # a published sampler ends on the unconditional one
    ids = sample(flow(weight, ONE_TOLD, ONE_PLAIN, steps=1), 20_000, seeded(7)).ids
    law = tilted(weight, ONE_TOLD, ONE_PLAIN)[0]
    assert abs(chi2_z(ONE_PLAIN, ids, law)) < 4
    if weight:
        assert chi2_z(ONE_PLAIN, ids, ONE_PLAIN.p) > 20


def test_each_branch_gives_its_own_prediction():
    # a published sampler takes both rates from the conditional one: the weight does nothing
    chain = flow(2.5, TOLD, PLAIN, steps=40)
    x = chain.init(64, seeded(8))
    each, other, _ = chain.denoiser.both(x.trunk.values)
    assert not torch.allclose(each, other)
    told = sample(flow(1.0, TOLD, PLAIN, steps=40), 6_000, seeded(9)).ids
    more = sample(chain, 6_000, seeded(9)).ids
    assert (PLAIN.frequencies(told) - TOLD.p).abs().sum() / 2 < 0.07
    assert (PLAIN.frequencies(more) - TOLD.p).abs().sum() / 2 > 0.15
    gained = PLAIN.frequencies(more) @ (TOLD.p / PLAIN.p).log()
    assert gained > TOLD.p @ (TOLD.p / PLAIN.p).log() > 0


# ---------------------------------------------------------------- continuous


def gaussians(weight):
    """Two labels: p(x | 0) = N(1, .3^2), p(x) = half of it and half N(-1, .5^2)."""
    told = Oracle([GaussianMixture([1.0], [[1.0]], [[0.3]])], [VP(0.1, 20.0)])
    plain = Oracle([GaussianMixture([0.5, 0.5], [[1.0], [-1.0]], [[0.3], [0.5]])], [VP(0.1, 20.0)])
    plain.components = told.components
    return Product([told, plain], [weight, 1 - weight]), told, plain


@pytest.mark.parametrize("weight, mean, sd", [(1.0, 1.0, 0.3), (0.0, 0.0, 1.0823)])
def test_continuous_weights_zero_and_one_draw_their_law(weight, mean, sd):
    denoiser, told, _ = gaussians(weight)
    chain = GaussianSampler(denoiser, told.canvas, steps=100, eta=1.0)
    x = sample(chain, 20_000, seeded(10)).parts[0]
    assert abs(x.mean() - mean) < 4 * sd / 20_000**0.5 + 0.01
    assert abs(x.std() - sd) < 0.02
    assert denoiser.rows == 2 * told.rows


def test_continuous_guidance_adds_scores():
    denoiser, told, plain = gaussians(2.0)
    x, t = Points((torch.linspace(-2, 2, 9).double()[:, None],)), torch.tensor(0.4)
    schedule = denoiser.components[0].schedule
    sigma = schedule.sigma(t)
    a = alpha(schedule, t)
    scores = [o.targets[0].score(x.parts[0], a, sigma) for o in (told, plain)]
    bent_score = (a * denoiser(x, t)[0] - x.parts[0]) / sigma**2
    assert torch.allclose(bent_score, scores[1] + 2 * (scores[0] - scores[1]), atol=1e-6)


# ---------------------------------------------------------------- bookkeeping


def test_rows_of_both_are_counted_and_log_ratio_travels():
    denoiser = bent(2.0)
    x = sample(masked(denoiser), 10, seeded(0))
    assert denoiser.rows == 60 and x.log_ratio.shape == (10,)
    assert torch.equal(x[torch.tensor([3, 3])].log_ratio, x.log_ratio[[3, 3]])


def test_denoisers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="same mask_id"):
        ClassifierFree(TOLD.denoiser(), Table.of(torch.ones(2, 2)).denoiser(), 1.0)
