"""Products and powers of token predictors against enumerated products of joint laws: with one
token a step weighted rows have exactly the law prod_i p_i(x)^b_i."""

import numpy as np
import pytest
import torch

from scidiff.core import seeded
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all, nested, smc
from scidiff.samplers.compose import ClassifierFree
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.samplers.token_products import TokenProduct
from scidiff.testing import Table, check_full_graph, check_sampler


def random_table(seed, length=3):
    p = np.random.default_rng(seed).dirichlet(np.full(3**length, 0.7))
    return Table.of(torch.from_numpy(p).reshape([3] * length))


ONE, TWO = random_table(1), random_table(2)
RUNS = 400


def masked(denoiser, **options):
    return MaskedSampler(denoiser, FixedCanvas.blank(3, ONE.mask_id), **options)


def product(*exponents, tables=(ONE, TWO)):
    chosen = tables[: len(exponents)]
    return TokenProduct([t.denoiser() for t in chosen], exponents)


CASES = {
    "product": ((1.0, 1.0), smc(0.7), 1),
    "weighted product": ((0.3, 1.4), smc(0.7), 1),
    "product, branched": ((1.0, 1.0), nested(0.5), 2),
    "anneal": ((2.0,), smc(0.7), 1),
    "heat": ((0.4,), keep_all, 1),
    "classifier-free": ((2.5, -1.5), smc(0.7), 1),
}


@pytest.mark.parametrize("name", CASES)
def test_weighted_rows_have_the_product_law(name):
    exponents, select, branch = CASES[name]
    exact = torch.ones_like(ONE.p)
    for table, b in zip((ONE, TWO), exponents, strict=False):
        exact = exact * table.p**b
    g = guided_sample(
        masked(product(*exponents)), None, RUNS * 20, seeded(0),
        select=select, branch=branch, populations=RUNS,
    )  # fmt: skip
    w = g.log_w.exp().view(RUNS, -1)
    for f in (
        lambda ids: ids[:, 0] == ids[:, 2],
        lambda ids: ids[:, 1] == 3,
        lambda ids: ids[:, 0] > 0,
    ):
        runs = (w * f(g.x.ids).view(RUNS, -1)).mean(1)
        truth = exact @ f(ONE.seqs).double()
        assert abs(runs.mean() - truth) < 4 * runs.std() / RUNS**0.5


def test_unweighted_rows_do_not_and_a_single_token_does():
    ids = sample(masked(product(2.0)), 20_000, seeded(3)).ids
    law = ONE.p**2 / (ONE.p**2).sum()
    assert (ONE.frequencies(ids) - law).abs().sum() / 2 > 0.05
    single = random_table(5, 1)
    sampler = MaskedSampler(
        TokenProduct([single.denoiser()], [2.0]), FixedCanvas.blank(1, single.mask_id)
    )
    drawn = single.frequencies(sample(sampler, 20_000, seeded(4)).ids)
    assert (drawn - single.p**2 / (single.p**2).sum()).abs().max() < 4 * 0.5 / 20_000**0.5


def test_classifier_free_guidance_is_a_product():
    x = masked(ONE.denoiser()).init(4, seeded(0))
    guided = ClassifierFree(ONE.denoiser(), TWO.denoiser(), 2.5)
    both = product(2.5, -1.5)
    finite = guided.log_weights(guided(x, 0)), both.log_weights(both(x, 0))
    assert torch.allclose(*finite)


def test_stacks_and_exponents_that_rows_differ_in():
    inner = product(1.0, 0.5)
    outer = TokenProduct([inner, ONE.denoiser()], [2.0, lambda x, k: torch.tensor([0.0, 1.0])])
    x = masked(ONE.denoiser()).init(2, seeded(0))
    told = outer.log_weights(outer(x, 0))[..., 2:5]
    one, two = (t.log_conditionals[t.index(x.ids)][..., 2:5] for t in (ONE, TWO))
    expected = 2 * one + two + torch.tensor([0.0, 1.0])[:, None, None] * one
    assert torch.allclose(told, expected)
    assert outer.rows == 6


def test_excluded_tokens_stay_excluded_unless_the_exponent_is_zero():
    some = Table.of(torch.tensor([0.0, 0.4, 0.6]))
    every = Table.of(torch.tensor([0.2, 0.3, 0.5]))
    x = MaskedSampler(some.denoiser(), FixedCanvas.blank(1, some.mask_id)).init(1, seeded(0))
    for b in (1.0, -1.0, 0.0):
        bent = TokenProduct([every.denoiser(), some.denoiser()], [1.0, b])
        law = bent.log_probs(bent(x, 0))[0, 0, 2:5].exp()
        assert abs(law.sum() - 1) < 1e-12 and bool(law[0] == 0) == (b != 0)


@pytest.mark.parametrize("zero", [0.0, lambda x, k: torch.zeros(len(x))])
def test_exponents_that_are_all_zero_write_no_mask(zero):
    ids = sample(masked(product(zero, zero)), 2000, seeded(6)).ids
    assert not (ids == ONE.mask_id).any()
    share = float((ids == 3).float().mean())  # of five tokens, PAD and EOS among them
    assert abs(share - 0.2) < 4 * (0.16 / 6000) ** 0.5


def test_the_sampler_keeps_the_contract():
    with torch.no_grad():
        check_sampler(masked(product(1.0, 1.0)))
        check_full_graph(masked(product(1.0, 1.0)))


def test_predictors_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="an exponent for each"):
        TokenProduct([ONE.denoiser()], [1.0, 2.0])
    with pytest.raises(ValueError, match="same mask_id"):
        TokenProduct([ONE.denoiser(), Table.of(torch.ones(2, 2)).denoiser()], [1.0, 1.0])
