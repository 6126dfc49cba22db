"""The string engine: likelihoods and infillings against laws computed position by position."""

from itertools import permutations, product

import pytest
import torch

from scidiff.api.rows import split_pattern
from scidiff.api.token_engine import TokenEngine, gumbel_top
from scidiff.core import ScidiffError, seeded
from scidiff.data.tokens import EOS, PAD, TokenState, Vocabulary, encode_rows
from scidiff.guidance.particles import sample
from scidiff.networks.token_transformer import (
    TokenDenoiser,
    TokenTransformer,
    TokenTransformerConfig,
)

L = 8
VOCABULARY = Vocabulary(("C", "N"))


def engine(kind="autoregressive", **sampling):
    net = TokenTransformer(TokenTransformerConfig(len(VOCABULARY), L, width=16, depth=1, heads=2))
    rng = seeded(5)
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim == 2:
                p.copy_(torch.randn(p.shape, generator=rng) / p.shape[1] ** 0.5)
        net.own.weight[VOCABULARY.mask_id] = 0
    block = {"masked": None, "autoregressive": 1, "block": 4}[kind]
    config = {
        "process": {"kind": kind, "block_size": block},
        "sampling": {"block_size": block, **sampling},
        "length_counts": [0, 1, 1, 2],
    }
    return TokenEngine(net.eval(), VOCABULARY, config)


def left_to_right(e, ids):
    """log p (L,) of each token given those before it, as the sampler of blocks of one sees it."""
    denoiser, out = TokenDenoiser(e.network, 1), []
    for i in range(L):
        x = TokenState(torch.where(torch.arange(L) < i, ids, e.network.mask_id)[None])
        out.append(denoiser.log_probs(denoiser(x, i))[0, i, ids[i]])
    return torch.stack(out).double()


# ---------------------------------------------------------------- likelihood


def test_blocks_of_one_are_exact():
    e, strings = engine(), ["CNC", "", "NNNNNNN"]
    value, error = e.log_likelihood(strings, 8, None, 0)
    ids = encode_rows(VOCABULARY, strings, L)
    exact = torch.stack([left_to_right(e, row)[row != PAD].sum() for row in ids])
    torch.testing.assert_close(value, exact, rtol=1e-5, atol=1e-5)
    assert not error.any()
    assert torch.equal(value, engine("block").log_likelihood(strings, 8, 1, 0)[0])


def test_the_law_of_a_left_to_right_model_sums_to_what_can_be_written():
    e = engine()
    every = ["".join(s) for n in range(4) for s in product("CN", repeat=n)]
    value, _ = e.log_likelihood(every, 2, None, 0)
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
            log_p = e.network.log_probs(e.network.bidirectional(x))
            total += float(log_p[0, i, ids[0, i]])
            x[0, i] = ids[0, i]
    return total / len(list(permutations(range(n))))


@torch.no_grad()
def test_the_standard_error_covers_a_masked_models_bound():
    e = engine("masked")
    exact = any_order_bound(e, "CNNC")
    runs = [e.log_likelihood(["CNNC", "C"], 30, None, seed) for seed in range(40)]
    z = torch.stack([(value[0] - exact) / error[0] for value, error in runs])
    assert abs(float(z.mean())) < 4 / 40**0.5 and 0.65 < float(z.std()) < 1.5
    # one symbol has one order
    assert all(float(error[1]) < 1e-6 for _, error in runs)


def test_likelihoods_do_not_depend_on_company():
    e, strings = engine(), ["CNC"] * 300
    value, _ = e.log_likelihood(strings, 2, None, 0)
    assert torch.allclose(value, value[0].expand(300), atol=1e-6)
    a, b = (engine("block").log_likelihood(["CNC", "N"], 16, None, s)[0] for s in (0, 0))
    assert torch.equal(a, b)
    assert not torch.equal(a, engine("block").log_likelihood(["CNC", "N"], 16, None, 1)[0])


def test_likelihood_errors():
    with pytest.raises(ValueError, match="block_size must be None, got 2"):
        engine("masked").log_likelihood(["C"], 4, 2, 0)
    with pytest.raises(ValueError, match="block_size must be at least 1, got 0"):
        engine().log_likelihood(["C"], 4, 0, 0)
    with pytest.raises(ValueError, match="row 2: unknown token 'O'"):
        engine().log_likelihood(["C", "CO"], 4, None, 0)
    with pytest.raises(ValueError, match="row 1 has 9 tokens, the model takes at most 7"):
        engine().log_likelihood(["C" * 9], 4, None, 0)


# ---------------------------------------------------------------- infilling


@pytest.mark.parametrize("kind", ["masked", "autoregressive", "block"])
def test_the_text_around_the_gap_is_kept(kind):
    x = engine(kind).infill("CN[*]NNC", 40, range(1, 3), 20, seeded(0))
    assert x.ids.shape == (40, L)
    lengths = set()
    for row in x.ids.tolist():
        n = row.index(EOS, 6)  # behind the shortest gap and the text on both sides
        gap = n - 5
        lengths.add(gap)
        assert row[:2] == [2, 3] and row[n - 3 : n + 1] == [3, 3, 2, EOS]
        assert not any(row[n + 1 :]) and VOCABULARY.mask_id not in row
        text = VOCABULARY.decode(row)
        assert text.startswith("CN") and text.endswith("NNC") and len(text) == n
    assert lengths == {1, 2}


def test_a_left_to_right_infilling_follows_its_posterior():
    e, n = engine(), 400
    x = e.infill("C[*]NC", n, [2], 60, seeded(0))
    fillings = ["".join(s) for s in product("CN", repeat=2)]
    rows = encode_rows(VOCABULARY, [f"C{s}NC" for s in fillings], L)
    log_p = torch.stack([left_to_right(e, row)[1:6].sum() for row in rows])
    p = log_p.softmax(0)
    texts = [VOCABULARY.decode(row)[1:3] for row in x.ids]
    found = torch.tensor([texts.count(s) / n for s in fillings])
    assert found.sum() == pytest.approx(1)
    z = (found - p) / (p * (1 - p) / n).sqrt()
    assert z.abs().max() < 4
    blind = torch.stack([left_to_right(e, row)[1:3].sum() for row in rows]).softmax(0)
    assert (blind - p).abs().max() > 0.1  # the suffix matters here, so the test could fail


@torch.no_grad()
def test_a_masked_infilling_follows_its_conditionals():
    e, n = engine("masked"), 3000
    x = e.infill("C[*]NC", n, [1], 1, seeded(0))
    canvas = torch.tensor([[2, VOCABULARY.mask_id, 3, 2, EOS, PAD, PAD, PAD]])
    p = e.network.log_probs(e.network.bidirectional(canvas))[0, 1].exp()
    assert p[:2].sum() > 0.1  # of EOS and PAD, which would cut off what is given behind the gap
    p[:2] = 0
    p /= p.sum()
    found = x.ids[:, 1].bincount(minlength=len(p)) / n
    assert found[:2].sum() == 0
    z = ((found - p) / (p * (1 - p) / n).sqrt())[2:-1]
    assert z.abs().max() < 4


def test_drafts_are_drawn_at_the_temperature_of_their_weights():
    a, b = (
        engine(temperature=t).infill("C[*]NC", 20, [2], 10, seeded(0)).ids for t in (1.0, 0.2)
    )
    assert torch.equal(a, b)


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


def test_infill_errors():
    e = engine()
    with pytest.raises(ValueError, match=r"exactly one \[\*\] .* got 0 in 'CC'"):
        e.infill("CC", 1, [1], 1, seeded(0))
    with pytest.raises(ValueError, match="gap of 6 tokens has 9 tokens .* at most 8"):
        e.infill("C[*]N", 1, range(1, 7), 1, seeded(0))
    with pytest.raises(ValueError, match="unknown token 'O'"):
        e.infill("O[*]", 1, [1], 1, seeded(0))
    with torch.no_grad():  # a network that always ends at once
        e.network.norm.weight.zero_()
        e.network.head.weight.zero_()
    with pytest.raises(ScidiffError, match="drafts went on to the end of the gap, 30 are needed"):
        e.infill("C[*]N", 30, [5], 1, seeded(0))


def test_patterns_are_cut_at_the_gap():
    assert split_pattern("CC[*]N") == ("CC", "N") and split_pattern("[*]") == ("", "")
    with pytest.raises(ValueError, match="got 2"):
        split_pattern("[*]C[*]")


def test_rows_without_weight_are_never_drawn():
    log_w = torch.tensor([0.0, -1.0, float("-inf"), float("-inf")], dtype=torch.float64)
    for j in range(200):
        assert sorted(gumbel_top(log_w, 2, seeded(j)).tolist()) == [0, 1]
    first = torch.stack([gumbel_top(log_w, 1, seeded(j)) for j in range(2000)]).double().mean()
    p = 1 / (1 + torch.e)
    assert abs(float(first) - p) < 4 * (p * (1 - p) / 2000) ** 0.5


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
    with pytest.raises(ScidiffError, match=r"1..8 .*got 9"):
        engine().sampler(block_size=9)


def test_settings_reach_the_sampler():
    sampler = engine("block", tokens_per_step=2).sampler(order="confidence", temperature=0.0)
    assert (sampler.block_size, sampler.tokens_per_step, sampler.temperature) == (4, 2, 0.0)
    assert not sampler.order.stochastic and sampler.num_steps == 4
    lengths = engine("masked").sampler().canvas
    assert lengths.max_masked == 3 and lengths.length == L
