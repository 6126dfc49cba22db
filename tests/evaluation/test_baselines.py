"""Published values: what ships, and that only equal conventions meet."""

import math

import pytest

from scidiff.evaluation.baselines import TAGS, baselines, beside, comparable, published
from scidiff.evaluation.metric import Metric


def metric(name, value):
    return Metric(name, value, math.nan, math.nan, 100, "")


def test_the_table_is_whole():
    rows = published()
    assert len({(b.suite, b.data, b.model, b.metric) for b in rows}) == len(rows)
    assert {b.suite for b in rows} == {"moses", "guacamol", "fragment", "graph", "3d"}
    assert all(b.tag in TAGS and b.source and b.value >= 0 for b in rows)
    shares = {"valid", "unique", "novelty", "filters", "quality", "vun", "int_div"}
    assert all(b.value <= 1 for b in rows if b.metric in shares)
    (rnn,) = [b for b in baselines("moses", metric="fcd_test") if b.model == "CharRNN"]
    assert (rnn.value, rnn.sd, rnn.n, rnn.tag) == (0.0732, 0.025, 30_000, "read")
    # copied from table to table, and wrong: MOSES measured .914
    assert not [b for b in rows if b.model.startswith("JT-VAE") and b.metric == "novelty"]


def test_neighbours_stand_on_both_sides():
    (head, line) = beside([metric("fcd_test", 0.12)], 30_000, "moses")
    assert head == "published values beside yours:"
    assert line == ("  fcd_test: VAE 0.099 < yours 0.12 < LatentGAN 0.2968 (Train 0.008)")
    (_, line) = beside([metric("fcd_test", 99.0)], 30_000, "moses")
    assert line.endswith("HMM 24.47 < yours 99 (Train 0.008)")


def test_another_split_is_another_metric():
    (rnn,) = [b for b in baselines("moses", metric="fcd_test") if b.model == "CharRNN"]
    assert comparable(metric("fcd_test", 1.0), 30_000, rnn)
    assert not comparable(metric("fcd_testsf", 1.0), 30_000, rnn)
    assert beside([metric("fcd_mine", 1.0)], 30_000, "moses") == []
    assert beside([metric("fcd_test", 1.0)], 30_000, "graph") == []


def test_metrics_that_depend_on_n_are_not_compared_across_n():
    lines = beside([metric("fcd_test", 0.2), metric("valid", 0.9)], 5_000, "moses")
    assert "valid: " in lines[1] and lines[1].count("<") == 2
    assert lines[2].startswith("  not compared: fcd_test depend on the number of rows")
    assert "30,000, here 5,000" in lines[2]


def test_second_hand_values_carry_a_question_mark():
    lines = beside([metric("fcd_testsf", 1.18)], 25_000, "moses")
    assert "DiGress 1.19?" in lines[1] and "CharRNN" not in lines[1]
    assert lines[-1] == "  ? second-hand, not checked against the paper"


@pytest.mark.parametrize("value", [math.nan])
def test_nothing_measured_nothing_beside(value):
    assert beside([metric("fcd_test", value)], 30_000, "moses") == []
