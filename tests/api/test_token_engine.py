"""The string engine: likelihoods against laws computed position by position, and settings."""

from itertools import permutations, product

import pytest
import torch
from token_engines import VOCABULARY, L, engine, left_to_right

from scidiff.api.requests import LikelihoodRequest as How
from scidiff.core import ScidiffError, seeded
from scidiff.data.tokens import EOS, PAD, encode_rows
from scidiff.guidance.particles import sample
from scidiff.samplers.paces import Fixed, Scheduled

# ---------------------------------------------------------------- likelihood


def test_blocks_of_one_are_exact():
    e, strings = engine(), ["CNC", "", "NNNNNNN"]
    value, error = e.log_likelihood(strings, How(8))
    ids = encode_rows(VOCABULARY, strings, L)
    exact = torch.stack([left_to_right(e, row)[row != PAD].sum() for row in ids])
    torch.testing.assert_close(value, exact, rtol=1e-5, atol=1e-5)
    assert not error.any()
    assert torch.equal(value, engine("block").log_likelihood(strings, How(8, 1))[0])


def test_the_law_of_a_left_to_right_model_sums_to_what_can_be_written():
    e = engine()
    every = ["".join(s) for n in range(4) for s in product("CN", repeat=n)]
    value, _ = e.log_likelihood(every, How(2))
    first = [left_to_right(e, row) for row in encode_rows(VOCABULARY, every, L)]
    assert 0 < value.exp().sum() < 1
    assert all(v <= f[0] + 1e-6 for v, f in zip(value.tolist(), first, strict=True))


def any_order_bound(e, text):
    ids, n = encode_rows(VOCABULARY, [text], L), len(text)
    total = 0.0
    for order in permutations(range(n)):
        x = ids.clone()
        x[0, :n] = e.network.mask_id
        for i in order:
            told = e.network.log_probs(e.network.bidirectional(x))
            log_p = told[..., 2:].log_softmax(-1)  # a masked model writes symbols alone
            log_p = torch.cat([told[..., :2], log_p], -1)
            total += float(log_p[0, i, ids[0, i]])
            x[0, i] = ids[0, i]
    return total / len(list(permutations(range(n))))


@torch.no_grad()
def test_the_standard_error_covers_a_masked_models_bound():
    e = engine("masked")
    exact = any_order_bound(e, "CNNC")
    runs = [e.log_likelihood(["CNNC", "C"], How(30, None, seed)) for seed in range(40)]
    z = torch.stack([(value[0] - exact) / error[0] for value, error in runs])
    assert abs(float(z.mean())) < 4 / 40**0.5 and 0.65 < float(z.std()) < 1.5
    # one symbol has one order
    assert all(float(error[1]) < 1e-6 for _, error in runs)


def test_likelihoods_do_not_depend_on_company():
    e, strings = engine(), ["CNC"] * 300
    value, _ = e.log_likelihood(strings, How(2))
    assert torch.allclose(value, value[0].expand(300), atol=1e-6)
    a, b = (engine("block").log_likelihood(["CNC", "N"], How(16, None, s))[0] for s in (0, 0))
    assert torch.equal(a, b)
    assert not torch.equal(a, engine("block").log_likelihood(["CNC", "N"], How(16, None, 1))[0])


@torch.no_grad()
@pytest.mark.parametrize("method", ["t", "order"])
def test_other_methods_estimate_the_same_bound(method):
    e = engine("masked")
    exact = any_order_bound(e, "CNNC")
    runs = [e.log_likelihood(["CNNC"], How(64, None, seed, method))[0][0] for seed in range(40)]
    z = (torch.stack(runs).mean() - exact) / (torch.stack(runs).std() / 40**0.5)
    assert abs(float(z)) < 4


@torch.no_grad()
def test_from_left_to_right_a_masked_models_law_sums_to_one():
    e, every = engine("masked"), ["".join(s) for s in product("CN", repeat=3)]
    value, error = e.log_likelihood(every, How(2, method="sequential"))
    assert float(value.exp().sum()) == pytest.approx(1, abs=1e-5) and not error.any()
    lengths = e.length_log_prob(["C", "CN", "CNC"]).exp()
    assert lengths.tolist() == pytest.approx([1 / 4, 1 / 4, 2 / 4])


def test_likelihood_errors():
    with pytest.raises(ValueError, match="one of k, t, order, sequential, got 'tt'"):
        engine("masked").log_likelihood(["C"], How(4, method="tt"))
    with pytest.raises(ValueError, match="method of blocks must be one of k, got 't'"):
        engine().log_likelihood(["C"], How(4, method="t"))
    with pytest.raises(ValueError, match="takes no condition"):
        engine().log_likelihood(["C"], How(4, None, 0, None, {"size": 1}))
    with pytest.raises(ValueError, match="block_size must be None, got 2"):
        engine("masked").log_likelihood(["C"], How(4, 2))
    with pytest.raises(ValueError, match="block_size must be at least 1, got 0"):
        engine().log_likelihood(["C"], How(4, 0))
    with pytest.raises(ValueError, match="row 2: unknown token 'O'"):
        engine().log_likelihood(["C", "CO"], How(4))
    with pytest.raises(ValueError, match="row 1 has 9 tokens, the model takes at most 7"):
        engine().log_likelihood(["C" * 9], How(4))


# ---------------------------------------------------------------- samplers


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_masked_model_writes_as_many_symbols_as_its_length_law_says(temperature):
    e = engine("masked", order="confidence", temperature=temperature)
    sampler = e.sampler()
    x = sample(sampler, 500, seeded(0))
    lengths = (x.ids == EOS).int().argmax(1)
    assert ((x.ids > EOS).sum(1) == lengths).all() and ((x.ids == EOS).sum(1) == 1).all()
    assert set(lengths.tolist()) == {1, 2, 3}
    first = sampler.init(500, seeded(1))
    guess = sampler.predict_clean(first, 0, seeded(2)).ids  # what guidance looks at
    assert ((guess == EOS).sum(1) == 1).all()
    assert sampler.denoiser.rows == sampler.denoiser.inner.rows > 0


# ---------------------------------------------------------------- settings


def test_settings_are_the_configs_with_the_users_on_top():
    s = engine("block", temperature=0.5).settings({"temperature": 2.0})
    assert s == {"block_size": 4, "order": "random", "tokens_per_step": 1, "temperature": 2.0}


@pytest.mark.parametrize("where", ["config", "user"])
def test_unknown_settings_are_named(where):
    wrong = {"temprature": 1.0}
    config, overrides = (wrong, {}) if where == "config" else ({}, wrong)
    with pytest.raises(ValueError, match="unknown sampling setting 'temprature'; .*temperature"):
        engine(**config).settings(overrides)


def test_setting_errors():
    with pytest.raises(ValueError, match="order must be one of random, .*got 'best'"):
        engine().sampler(order="best")
    with pytest.raises(ScidiffError, match="writes from left to right: .* got None"):
        engine().sampler(block_size=None)
    with pytest.raises(ScidiffError, match="trained on whole rows .* got 4"):
        engine("masked").sampler(block_size=4)
    with pytest.raises(ScidiffError, match=r"trained with blocks of 1: .* in 1..1, got 2"):
        engine().sampler(block_size=2)
    with pytest.raises(ScidiffError, match=r"trained with blocks of 4: .* in 1..4, got 8"):
        engine("block").log_likelihood(["CN"], How(8, 8))


def test_settings_reach_the_sampler():
    sampler = engine("block", tokens_per_step=2).sampler(order="confidence", temperature=0.0)
    assert (sampler.block_size, sampler.pace, sampler.temperature) == (4, Fixed(2), 0.0)
    assert not sampler.order.stochastic and sampler.num_steps == 4
    lengths = engine("masked").sampler().canvas
    assert lengths.max_masked == 3 and lengths.length == L


def test_a_pace_that_is_asked_for_replaces_the_models_own():
    e = engine("masked", tokens_per_step=4)
    assert e.sampler(steps=2).pace == Scheduled(2, "cosine")
    assert e.settings({"steps": 2})["tokens_per_step"] == 1
    assert e.sampler(temperature=0.5).pace == Fixed(4)
