"""Perplexities against sums written out, and their intervals against repeated data."""

import math

import pytest
from tiny_graphs import write_graph_sde
from tiny_models import LENGTH, write_tiny_model

from scidiff.api.entry import load
from scidiff.api.perplexity import perplexity
from scidiff.core import ScidiffError

STRINGS = ["CCO", "CNCC", "OCCCN", "CCF"]


@pytest.fixture(scope="module", params=["masked", "autoregressive"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    return load(write_tiny_model(folder, request.param), device="cpu")


def test_numbers_are_those_of_the_likelihoods(model):
    report = perplexity(model, STRINGS, draws=16, seed=3)
    table = model.log_likelihood(STRINGS, draws=16, seed=3)
    nats = -float((table["log_likelihood"] + table["log_p_size"]).sum())
    assert report["nats"].value == pytest.approx(nats / 4)
    assert report["perplexity"].value == pytest.approx(math.exp(nats / (3 + 4 + 5 + 3 + 4)))
    assert report["perplexity_padded"].value == pytest.approx(math.exp(nats / (4 * LENGTH)))
    assert report["bits_per_character"].value == pytest.approx(nats / 15 / math.log(2))
    # the tiny network says the same everywhere: nats a token vary by rounding only
    assert all(m.low <= m.value + 1e-9 and m.value <= m.high + 1e-9 and m.n == 4 for m in report)
    assert report["nats"].low < report["nats"].value - 0.1


def test_the_length_is_part_of_a_string(model):
    table = model.log_likelihood(STRINGS, draws=4)
    if model.config["process"]["kind"] == "autoregressive":  # it writes the end
        assert table["log_p_size"].tolist() == [0.0] * 4
        assert perplexity(model, STRINGS)["nats"].note == "exact"
    else:  # one row of 3, two of 4, two of 5, one of 6 tokens
        expected = [math.log(c / 6) for c in (1, 2, 2, 1)]
        assert table["log_p_size"].tolist() == pytest.approx(expected)
        report = perplexity(model, [*STRINGS, "C"])
        assert report["nats"].value == math.inf
        assert "1 strings have a length that no training row has" in report["nats"].note


def test_what_has_no_perplexity(model, tmp_path):
    with pytest.raises(ValueError, match="at least 2 strings, got 1"):
        perplexity(model, ["CC"])
    graphs = load(write_graph_sde(tmp_path / "sde"), device="cpu")
    with pytest.raises(ScidiffError, match="has densities of coordinates"):
        perplexity(graphs, ["CO", "CC"])
