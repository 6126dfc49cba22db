"""`scidiff sample --stream` and `--prompt`: the rows of the same command without, as they come."""

import re

import pandas as pd
import pytest
from tiny_models import write_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("streamed") / "block", "block", seed=1)


def lines(out):
    """Number and text of the rows that were shown."""
    rows = (re.match(r" *(\d+)  (\S+)", line) for line in out.splitlines())
    return {int(row[1]): row[2].strip("-") for row in rows if row}


def test_rows_are_shown_as_they_are_finished(scidiff, model):
    base = ["sample", model, "-n", 30, "--seed", 2]
    drawn = scidiff(*base, "--json").document["rows"]
    shown = scidiff(*base, "--stream").out
    assert lines(shown) == {i: row["smiles"] for i, row in enumerate(drawn)}
    assert list(lines(shown)) != sorted(lines(shown))
    assert re.search(r"^valid ", shown, re.MULTILINE)  # the summary behind the rows


def test_a_single_row_is_shown_by_the_block(scidiff, model):
    drawn = scidiff("sample", model, "-n", 1, "--seed", 5, "--json").document["rows"]
    shown = scidiff("sample", model, "-n", 1, "--seed", 5, "--stream").out
    assert shown.splitlines()[0] == drawn[0]["smiles"]


def test_a_stream_is_one_document_and_one_file_too(scidiff, model, tmp_path):
    base = ["sample", model, "-n", 12, "--seed", 3, "--block-size", 2, "--threshold", 0.9]
    drawn = scidiff(*base, "--json").document
    told = scidiff(*base, "--stream", "--json").document
    assert told["rows"] == drawn["rows"] and told["summary"] == drawn["summary"]
    assert scidiff(*base, "--stream", "-o", tmp_path / "a.csv").code == 0
    saved = pd.read_csv(tmp_path / "a.csv", keep_default_na=False)
    assert saved["smiles"].tolist() == [row["smiles"] for row in drawn["rows"]]


@pytest.mark.parametrize("extra", [[], ["--stream"]])
def test_rows_begin_with_the_prompt(scidiff, model, extra):
    told = scidiff("sample", model, "-n", 9, "--prompt", "CNO", "--json", *extra).document
    texts = [row["smiles"] for row in told["rows"]]
    assert len(texts) == 9 and all(text.startswith("CNO") for text in texts)
    assert told["provenance"]["prompt"] == "CNO"


def test_a_cache_can_be_left_out(scidiff, model):
    base = ["sample", model, "-n", 9, "--json"]
    with_it, without = (scidiff(*base, f"--{no}prefix-cache").document for no in ("", "no-"))
    assert with_it["rows"] == without["rows"]
    assert without["provenance"]["sampling"]["prefix_cache"] is False


@pytest.mark.parametrize("options, message", [
    (["--stream", "--correct"], "--stream shows rows as they are drawn: leave --correct out"),
    (["--stream", "--cluster", "local"], "are drawn: leave --cluster out"),
    (["--prompt", "C", "--cluster", "local"], "are drawn: leave --cluster out"),
    (["--prompt", "C", "--shards", "-o", "x"], "--prompt shows rows as they are drawn"),
    (["--stream", "--block-size", 5], "block_size must be in 1..4, got 5"),
    (["--block-size", 0], "block_size must be in 1..4, got 0"),
    (["--prompt", "C" * 11], "the prompt has 11 tokens"),
    (["--prompt", "CX"], "unknown token 'X'"),
])  # fmt: skip
def test_wrong_input_is_one_line(scidiff, model, options, message):
    assert message in scidiff("sample", model, "-n", 3, *options).one_line()


def test_a_masked_model_has_no_cache(scidiff, tiny_model):
    told = scidiff("sample", tiny_model, "-n", 3, "--prefix-cache").one_line()
    assert "every position sees all others" in told
