"""Rows shown while they are written are those that `sample` draws; completions begin with their
prompt and follow the model's law."""

import pytest
import torch
from tiny_models import SYMBOLS, write_tiny_model

from scidiff.api import streaming
from scidiff.api.entry import load
from scidiff.api.products import product
from scidiff.api.streaming import complete, stream
from scidiff.core import ScidiffError
from scidiff.networks.token_denoiser import TokenDenoiser


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    kinds = ("masked", "block", "autoregressive")
    return {k: load(write_tiny_model(folder / k, k, seed=1), device="cpu") for k in kinds}


def together(pieces):
    """The text and the record of every row, by its number."""
    texts, records = {}, {}
    for piece in pieces:
        assert piece.row not in records, "a row goes on behind its last piece"
        texts[piece.row] = texts.get(piece.row, "") + piece.text
        if piece.record is not None:
            records[piece.row] = piece.record
    assert texts.keys() == records.keys()
    return [texts[i] for i in sorted(texts)], [records[i] for i in sorted(records)]


SETTINGS = [
    ("block", {}), ("block", {"block_size": 2, "order": "confidence", "threshold": 0.3}),
    ("block", {"constraints": ["forbid:CC"]}), ("autoregressive", {}), ("masked", {}),
    ("masked", {"steps": 6, "schedule": "ancestral"}), ("masked", {"block_entropy": 0.5}),
    ("block", {"block_entropy": 0.0, "tokens_per_step": 4}),
]  # fmt: skip


@pytest.mark.parametrize("kind, how", SETTINGS)
def test_pieces_make_up_what_is_sampled(models, kind, how, monkeypatch):
    from scidiff.api import model

    monkeypatch.setattr(model, "CHUNK", 15)
    texts, records = together(stream(models[kind], 40, 3, **how))
    drawn = models[kind].sample(40, 3, **how)
    found = [(r.text, r.valid, r.reason) for r in records]
    assert found == [(r.text, r.valid, r.reason) for r in drawn.records]
    assert texts == [r.text for r in records]


def test_blocks_come_as_they_are_finished(models):
    pieces = list(stream(models["block"], 30, 4))
    assert max(len(p.text) for p in pieces) == 4  # symbols of one letter in blocks of four
    assert all(p.text for p in pieces if p.record is None)
    rows = [p.row for p in pieces]
    assert max(map(rows.count, rows)) <= 12 / 4
    assert rows != sorted(rows)  # in turn, not row after row


def test_nothing_is_drawn_before_it_is_asked_for(models, monkeypatch):
    calls = []
    plain = streaming._chunk
    monkeypatch.setattr(streaming, "_chunk", lambda *a: (calls.append(a), plain(*a))[1])
    pieces = stream(models["block"], 5)
    assert not calls
    next(pieces)
    assert len(calls) == 1 and torch.is_grad_enabled()


@pytest.mark.parametrize("kind, prompt", [
    ("masked", "C"), ("masked", "CCNOC"), ("block", "C"), ("block", "CNOCNOC"),
    ("autoregressive", "CCN"),
])  # fmt: skip
def test_completions_begin_with_the_prompt(models, kind, prompt):
    result = complete(models[kind], prompt, 20, 5)
    texts = result.to_frame()["smiles"].tolist()
    assert len(texts) == 20 and all(t.startswith(prompt) for t in texts)
    assert len(set(texts)) > 3
    assert result.provenance["prompt"] == prompt
    again = complete(models[kind], prompt, 20, 5)
    assert texts == again.to_frame()["smiles"].tolist()


def test_a_completion_follows_the_law_given_the_prompt(models):
    """log p(text) of prompt + token, token by token, against how often each token comes next."""
    model, n, prompt = models["autoregressive"], 4000, "CN"
    drawn = [t[2:3] for t in complete(model, prompt, n, 6).to_frame()["smiles"]]
    ids = torch.tensor([[*model.engine.vocabulary.encode(prompt), 0]])
    with torch.no_grad():
        net = model.engine.network
        hidden = torch.full_like(ids, net.mask_id)
        p = net.log_probs(net.two_copy(hidden, ids, 1))[0, 2].exp()
    symbols = p[2:-1].tolist()
    for symbol, chance in zip(SYMBOLS, symbols, strict=True):
        z = (drawn.count(symbol) - n * chance) / (n * chance * (1 - chance)) ** 0.5
        assert abs(z) < 4


@pytest.mark.parametrize("prompt, message", [
    ("C" * 11, "the prompt has 11 tokens"),
    ("CX", "unknown token 'X' at character 2 of the prompt 'CX'; the vocabulary"),
    ("X" + "C" * 90, f"at character 1 of the prompt 'X{'C' * 39}..'; the vocabulary"),
    ("C" * 90, f"got '{'C' * 40}..'"),
    ("C[*]N", "use infill for gaps"),
    ("C?N", "a prompt leaves nothing open"),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["masked", "block"])
def test_prompts_that_a_model_cannot_hold(models, kind, prompt, message):
    with pytest.raises(ValueError) as caught:
        stream(models[kind], 2, prompt=prompt)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind, most", [("masked", 6), ("block", 11)])
def test_a_prompt_longer_than_the_window(models, kind, most):
    stream(models[kind], 2, prompt="C" * (most - 1))
    with pytest.raises(ValueError, match=f"has {most} tokens, .* at most {most - 1}"):
        stream(models[kind], 2, prompt="C" * most)


@pytest.mark.parametrize("kind", ["block", "masked"])
@pytest.mark.parametrize("fits", [0, 3])
def test_a_stream_goes_on_where_memory_ran_out(models, kind, fits, monkeypatch):
    """At the first call, or when rows have been shown already."""
    model, many, calls = models[kind], 16, []
    usual, plain = model.sample(many, 3).texts, TokenDenoiser._evaluate

    def small(self, x):
        calls.append(len(x))
        if len(x) > 8 and len(calls) > fits:
            raise torch.OutOfMemoryError("out of memory")
        return plain(self, x)

    monkeypatch.setattr(TokenDenoiser, "_evaluate", small)
    how = {} if kind == "masked" else {"prefix_cache": False}
    with pytest.warns(UserWarning, match="out of memory: now 8 rows a network call"):
        texts, _ = together(stream(model, many, 3, **how))
    assert texts == usual and max(calls[-3:]) <= 8


def test_wrong_settings_are_refused_before_anything_is_drawn(models, tmp_path):
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        stream(models["block"], 0)
    with pytest.raises(ValueError, match="prompt must be text, got "):
        complete(models["block"], 3)
    with pytest.raises(ValueError, match="n must be a whole number, got the text 'CC'"):
        stream(models["block"], "CC")
    with pytest.raises(ValueError, match="unknown sampling setting 'blocksize'"):
        stream(models["block"], 1, blocksize=2)
    with pytest.raises(ValueError, match="writes anywhere in a row, got block_entropy=1"):
        stream(models["masked"], 1, schedule="ancestral", steps=3, block_entropy=1.0)
    with pytest.raises(ScidiffError, match=r"blocks of 4: block_size must be in 1..4, got 13"):
        stream(models["block"], 1, block_size=13)
    with pytest.raises(ScidiffError, match="prefix_cache=True needs a network that writes"):
        stream(models["masked"], 1, prefix_cache=True)
    with pytest.raises(ValueError, match="contradicts constraint 'forbid:CC'"):
        list(stream(models["block"], 1, prompt="CC", constraints=["forbid:CC"]))


def test_a_cache_is_a_setting(models):
    on, off = (models["block"].sample(200, 7, prefix_cache=c) for c in (True, False))
    assert on.to_frame().equals(off.to_frame())
    assert models["block"].sampler(prefix_cache=True).denoiser.prefix_cache
    assert not models["block"].sampler(prefix_cache=False).denoiser.prefix_cache
    assert on.provenance["sampling"]["prefix_cache"] is True


def test_rows_that_are_asked_for_different_things_stream_as_they_are_drawn():
    model = load("utr-rna", device="cpu")
    asked = {"condition": {"rl": [3.0, 8.0, 5.0]}, "tokens_per_step": 10}
    drawn = model.sample(3, 2, **asked)
    texts, _ = together(model.stream(3, 2, **asked))
    assert texts == drawn.texts
    alike = {**asked, "condition": {"rl": 3.0}}
    assert texts != model.sample(3, 2, **alike).texts
    found = model.complete("ACGU", 3, 2, **asked)
    assert list(found.columns["rl"]) == [3.0, 8.0, 5.0]
    assert all(text.startswith("ACGU") for text in found.texts)


def test_models_made_of_several_have_nothing_to_stream(models):
    both = product([models["block"], models["block"]])
    with pytest.raises(ScidiffError, match="made of several models, .* use sample"):
        both.model.stream(1)
