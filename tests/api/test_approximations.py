"""Approximate caches and guides as a user asks for them: what they change, record and refuse."""

import json

import pytest
from tiny_models import write_tiny_model

import scidiff as sd
from scidiff.core import ScidiffError


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        kind: write_tiny_model(root / kind, kind, seed=seed)
        for seed, kind in enumerate(("masked", "block", "autoregressive"))
    }


@pytest.fixture(scope="module")
def models(folders):
    return {kind: sd.load(folder) for kind, folder in folders.items()}


def texts(result):
    return [r.text for r in result]


def test_a_cache_that_reads_all_again_changes_nothing(models):
    plain = models["masked"].sample(40, 3)
    again = models["masked"].sample(40, 3, approximate_cache="delayed:1")
    assert texts(plain) == texts(again)
    by_time = {"steps": 12, "schedule": "ancestral"}
    plain = models["masked"].sample(40, 3, **by_time)
    assert texts(plain) == texts(
        models["masked"].sample(40, 3, approximate_cache="periodic:1", **by_time)
    )


def test_an_approximate_cache_reads_less_and_the_result_says_so(models):
    told = models["masked"].sample(30, 3, approximate_cache="delayed")
    assert told.provenance["sampling"]["approximate_cache"] == "delayed"
    assert any(note.startswith("approximate: what the network said") for note in told.notes)
    assert not any("approximate" in note for note in models["masked"].sample(5).notes)
    sampler = models["masked"].sampler(approximate_cache="delayed")
    assert sampler.denoiser.inner.refresh.delayed


def test_designs_say_so_as_well(models):
    how = {"n": 2, "method": "best-of-n", "budget": 8}
    found = sd.design(models["masked"], "qed", approximate_cache="periodic:4", **how)
    assert any(note.startswith("approximate:") for note in found.rows.notes)
    assert not any(
        "approximate:" in note for note in sd.design(models["masked"], "qed", **how).rows.notes
    )


@pytest.mark.parametrize("kind, asked, message", [
    ("masked", "oftn", "approximate_cache must be delayed, delayed:R or periodic:R"),
    ("block", "delayed", r"kept exactly \(prefix_cache=True\)"),
])  # fmt: skip
def test_caches_that_cannot_be_are_refused(models, kind, asked, message):
    with pytest.raises((ValueError, ScidiffError), match=message):
        models[kind].sample(1, approximate_cache=asked)


def test_models_of_graphs_have_no_tokens_to_keep():
    with pytest.raises(ScidiffError, match="GraphTokenNetwork has none of"):
        sd.load("qm9-graph").sampler(approximate_cache="delayed")


@pytest.mark.parametrize("kind", ["masked", "block"])
def test_a_guide_is_a_model_or_its_name(models, folders, kind):
    model, guide = models[kind], models["autoregressive"]
    a = model.sample(40, 3, guide=guide)
    assert texts(a) == texts(model.sample(40, 3, guide=str(folders["autoregressive"])))
    used = a.provenance["sampling"]
    assert used["guide"] == "tiny-autoregressive" and used["order"] == "sequential"
    assert used["guide_sha256"] == guide.config["sha256"]
    assert (used["guide_rule"], used["agreement"], used["tokens_per_step"]) == ("agree", 0.3, 4)
    assert any("tokens of a step were taken as tiny-auto" in note for note in a.notes)
    json.dumps(used)


def test_an_exact_guide_is_no_approximation(models):
    model, guide = models["block"], models["autoregressive"]
    told = model.sample(20, 3, guide=guide, guide_rule="exact", tokens_per_step=3)
    assert "agreement" not in told.provenance["sampling"]
    assert not any("approximate" in note for note in told.notes)
    assert model.sampler(guide=guide, tokens_per_step=3).ahead == 3


def test_a_guided_masked_model_keeps_its_lengths(models):
    lengths = {len(t) for t in texts(models["masked"].sample(60, 3, guide=models["block"]))}
    assert lengths <= {3, 4, 5, 6}
    with pytest.raises(ScidiffError, match="rows of this model .* have theirs given"):
        models["masked"].sample(1, guide=models["block"], guide_rule="exact")


def test_guided_rows_stream_by_the_block(models):
    model, guide = models["block"], models["autoregressive"]
    pieces = list(model.stream(3, 5, guide=guide))
    whole = texts(model.sample(3, 5, guide=guide))
    assert ["".join(p.text for p in pieces if p.row == i) for i in range(3)] == whole
    assert len(pieces) > 3


def test_guides_that_cannot_be_are_refused(models):
    model = models["masked"]
    with pytest.raises(ScidiffError, match="a guide is a model that writes strings from left"):
        model.sample(1, guide=models["masked"])
    with pytest.raises(ValueError, match="unknown guide_rule 'exat'"):
        model.sample(1, guide=models["block"], guide_rule="exat")
    with pytest.raises(ValueError, match="belong to guide"):
        model.sample(1, guide_rule="exact")
    with pytest.raises(ValueError, match="order must be 'sequential'"):
        model.sample(1, guide=models["block"], order="confidence")
    with pytest.raises(ValueError, match="an energy and a guide cannot be asked together"):
        model.sample(1, guide=models["block"], energy=models["block"])
    with pytest.raises(ValueError, match="a guide must be a left-to-right model or its name"):
        model.sample(1, guide=3)
