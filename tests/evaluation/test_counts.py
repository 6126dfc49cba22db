"""Valid, unique, novel: one definition each, wherever they are stated."""

import math

import pytest

from scidiff.evaluation.counts import against, novelty, uniqueness, validity
from scidiff.evaluation.description import describe
from scidiff.evaluation.intervals import REPEATS, WILSON
from scidiff.evaluation.novelty import KnownSet, NoveltyFilter
from scidiff.evaluation.rows import as_record


def test_unique_of_all_and_of_the_first_k():
    keys = ["a", "b", "a", "c"]
    assert uniqueness(keys).value == 3 / 4 and uniqueness(keys).name == "unique"
    first = uniqueness(keys, 2)
    assert (first.name, first.value, first.n, first.method) == ("unique@2", 1.0, 2, REPEATS)
    short = uniqueness(keys, 5)
    assert math.isnan(short.value) and "needs 5 valid rows" in short.note and short.method == ""
    assert math.isnan(uniqueness([]).value) and math.isnan(uniqueness([], 0).value)


def test_novelty_names_the_training_set_and_corrects_a_filter():
    known = KnownSet.build(["a", "b"], "mine.csv")
    found = novelty(["a", "c", "c", "d"], known)
    assert found.value == 2 / 3 and found.n == 3 and found.method == WILSON
    assert found.note == "against mine.csv, 2 objects"
    filtered = NoveltyFilter.build(["a", "b"], name="mine")
    assert f"{filtered.false_positive_rate:.2%} false positives" in against(filtered)
    assert novelty(["c"], filtered).value <= 1
    assert math.isnan(novelty([], known).value)


def test_validity():
    assert validity(3, 4).value == 0.75 and math.isnan(validity(0, 0).value)


def test_a_result_says_the_same_as_a_suite():
    rows = [as_record(s) for s in ("CCO", "OCC", "CCN", "C(")]
    known = KnownSet.build(["CCN"], "t")
    keys = ["CCO", "CCO", "CCN"]
    shares = {m.name: m for m in describe(rows, "molecule", known).metrics()}
    assert shares["valid"] == validity(3, 4) and shares["unique"] == uniqueness(keys)
    assert shares["novel"] == novelty(keys, known, "novel")
    assert shares["novel"].value == pytest.approx(0.5)
