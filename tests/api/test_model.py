"""A model as a user holds it: what a seed means, what is refused, what is kept."""

import math
from pathlib import Path

import pytest
import torch
from tiny_models import write_tiny_model

import scidiff.api.model as models
import scidiff.api.sources as sources
from scidiff.api.entry import load, sample
from scidiff.api.model import Model, choose_device, find_domain, model_folder
from scidiff.core import ScidiffError


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return load(tiny_model, device="cpu")


# ---------------------------------------------------------------- sampling


def test_more_rows_leave_the_first_ones_as_they_are(model, monkeypatch):
    monkeypatch.setattr(models, "CHUNK", 10)
    few, many = model.sample(10, 3), model.sample(25, 3)
    assert many.texts[:10] == few.texts and model.sample(20, 3).texts == many.texts[:20]
    assert many.texts[10:20] != few.texts  # every chunk has a seed of its own
    assert model.sample(25, 4).texts != many.texts
    rest = [r.text for part in model.chunks(25, 3, first=1) for r in part]
    assert rest == many.texts[10:]


def test_progress_is_told_chunk_by_chunk(model, monkeypatch):
    monkeypatch.setattr(models, "CHUNK", 10)
    seen = []
    result = model.sample(25, on_rows=seen.append, temperature=2.0)
    assert seen == [10, 10, 5] and len(result) == 25
    assert result.provenance["sampling"]["temperature"] == 2.0
    assert "on_rows" not in result.provenance["sampling"]


def test_every_row_is_kept_with_its_reason(model):
    result = model.sample(40)
    assert 0 < result.valid.sum() < 40
    assert all(r.valid == (r.reason == "") for r in result)
    used = {k: result.provenance[k] for k in ("model", "seed", "chunk", "n", "sha256")}
    assert used == {"model": "tiny-masked", "seed": 0, "chunk": 1000, "n": 40,
                    "sha256": model.config["sha256"]}  # fmt: skip


def test_a_model_without_a_filter_says_nothing_of_novelty(model):
    assert model.novelty is None and "novel" not in model.sample(5).to_frame()
    assert str(model.sample(5))


def test_sampling_refusals(model):
    for n in (0, -3):
        with pytest.raises(ValueError, match=f"n must be at least 1, got {n}"):
            model.sample(n)
    with pytest.raises(ValueError, match="unknown sampling setting 'tokens'; .*tokens_per_step"):
        model.sample(1, tokens=3)
    with pytest.raises(ValueError, match="unknown sampling setting 'devise'"):
        sample(model, 1, devise="cpu")


# ---------------------------------------------------------------- infilling, likelihood


@pytest.mark.parametrize("kind", ["masked", "autoregressive", "block"])
def test_infilling_keeps_what_was_given(tmp_path, kind):
    model = load(write_tiny_model(tmp_path / "m", kind), device="cpu")
    result = model.infill("CN[*]OC", 30, seed=1, gap=(1, 4))
    assert len(result) == 30 and len(set(result.texts)) > 5
    assert all(t.startswith("CN") and t.endswith("OC") and 5 <= len(t) <= 8 for t in result.texts)
    assert {len(t) for t in result.texts} == {5, 6, 7, 8}
    assert result.texts == model.infill("CN[*]OC", 30, seed=1, gap=(1, 4)).texts
    assert result.provenance["pattern"] == "CN[*]OC" and result.provenance["gap"] == [1, 4]


def test_infilling_refusals(model):
    with pytest.raises(ValueError, match="got 0 and 64"):
        model.infill("C[*]", 0)
    with pytest.raises(ValueError, match="got 1 and 0"):
        model.infill("C[*]", 1, candidates=0)
    for gap in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match=r"gap must be \(low, high\) with 0 < low <= high"):
            model.infill("C[*]", gap=gap)
    with pytest.raises(ValueError, match="takes at most 12"):
        model.infill("C[*]", gap=(1, 20))


def test_likelihoods_are_a_table(model):
    table = model.log_likelihood(["CCO", "C"], draws=8)
    assert table["text"].tolist() == ["CCO", "C"] and table["tokens"].tolist() == [4, 2]
    # the head of an untrained network is 0: all symbols are equally likely
    expected = [-n * math.log(len(model.engine.vocabulary.symbols)) for n in (3, 1)]
    assert table["log_likelihood"].tolist() == pytest.approx(expected)
    assert table["standard_error"].tolist() == pytest.approx([0, 0], abs=1e-6)


def test_likelihood_refusals(model):
    with pytest.raises(ValueError, match="draws must be at least 2 .*got 1"):
        model.log_likelihood(["C"], draws=1)
    with pytest.raises(ValueError, match="row 2: unknown token 'Br'"):
        model.log_likelihood(["C", "CBr"])
    with pytest.raises(ValueError, match="block_size must be None, got 2"):
        model.log_likelihood(["C"], block_size=2)


# ---------------------------------------------------------------- loading


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "meta", "mps", ""])
def test_unknown_devices(tiny_model, name):
    with pytest.raises(ScidiffError, match="device must be cpu, cuda or cuda:0") as caught:
        load(tiny_model, device=name)
    assert repr(name) in str(caught.value) and "\n" not in str(caught.value)


def test_devices_that_are_not_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device(None) == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ScidiffError, match="torch sees no CUDA device"):
        choose_device("cuda:1")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert choose_device(None).type == "cuda" and choose_device("cuda:1").index == 1
    with pytest.raises(ScidiffError, match="'cuda:2' was asked for, but torch sees 2"):
        choose_device("cuda:2")


def test_precision(tiny_model):
    with pytest.raises(ValueError, match="one of float32, bfloat16, got 'float16'"):
        load(tiny_model, device="cpu", dtype="float16")
    assert load(tiny_model, device="cpu", dtype="bfloat16").engine.dtype == torch.bfloat16


def test_names(model, tiny_model, monkeypatch, tmp_path):
    assert model_folder(tiny_model) == model_folder(tiny_model / "model.safetensors") == tiny_model
    assert repr(model).startswith("<Model tiny-masked: smiles, masked diffusion, 0.")
    with pytest.raises(ScidiffError, match="unknown domain 'smile'; expected one of .*smiles"):
        find_domain("smile")
    monkeypatch.setattr(sources, "SHIPPED", tmp_path)
    write_tiny_model(tmp_path / "small")
    assert sources.shipped_models() == ["small"] and model_folder("small") == tmp_path / "small"
    with pytest.raises(sources.UnknownModel, match="unknown model 'smal'.*nearest: small"):
        model_folder("smal")
